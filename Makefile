# Two commands for a new user: `make demo` and `make test`. Both make .venv and install what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.demo
	$(BIN)/mattemill demo

lint: $(VENV)/.dev
	mkdir -p build/ns && ln -sfn ../.. build/ns/mattemill
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=build/ns $(BIN)/mypy -p mattemill.kernels -p mattemill.pipeline -p mattemill.cluster

test: lint
	$(BIN)/pytest

clean:
	rm -rf $(VENV) build demo-out
