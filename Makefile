# Two commands for a new user: `make demo` and `make test`. Both make .venv and install what they need.
VENV ?= .venv
BIN := $(VENV)/bin
OURS := mattemill.kernels mattemill.pipeline mattemill.cluster

# The first Python that is new enough; `make PYTHON=/path/to/python demo` to choose another.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then echo $$p; break; fi; done)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint clean

$(BIN)/python:
	@$(or $(PYTHON),false) -c '$(NEW_ENOUGH)' 2>/dev/null || { echo "mattemill needs Python 3.11 or newer; found:" \
		"$$($(or $(PYTHON),python3) --version 2>&1 | head -1). Install one, or say which: make PYTHON=/path/to/python3.12 demo" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "no virtual environment could be made; on Debian and Ubuntu:" \
		"apt-get install python3-venv, then try again" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing mattemill into $(VENV) (about 310 MB to download)"
	@started=$$(date +%s); $(PIP_INSTALL) -e '.[demo]' && echo "installed in $$(($$(date +%s) - started)) s"
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/mattemill demo

lint: $(VENV)/.dev
	@mkdir -p build/ns && ln -sfn ../.. build/ns/mattemill
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=build/ns $(BIN)/mypy $(addprefix -p ,$(OURS))

test: lint
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) build demo-out
