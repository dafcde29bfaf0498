"""Exit codes, and errors as one line that says what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mattemill.cluster.cli import main as main_module
from mattemill.pipeline.errors import MattemillError, SourceError, UsageError

WRONG_USE = [
    [],
    ["frobnicate"],
    ["run"],
    ["run", "only-a-source"],
    ["run", "a", "b", "--limit", "0"],
    ["run", "a", "b", "--retry-failed", "boredom"],
    ["run", "a", "b", "--set", "no_such=1"],
    ["run", "a", "b", "--config", "missing.toml"],
    ["run", "gopher://x", "b"],
    ["cut", "missing.jpg"],
    ["failures", "sink", "--reason", "boredom"],
    ["models", "fetch", "no-such-network"],
    ["demo", "--photos", "missing"],
]


def one_error_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("mattemill: error: ")
    return lines[0]


@pytest.mark.parametrize("arguments", WRONG_USE, ids=" ".join)
def test_wrong_use_ends_with_2_and_one_line(
    here: Callable[..., int], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert here(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    one_error_line(captured.err)


def test_a_source_that_is_not_there_ends_with_1_and_is_named(
    here: Callable[..., int], capsys: pytest.CaptureFixture[str], default_model: Path
) -> None:
    assert here("run", "no-such-folder", "sink") == 1
    assert "no-such-folder" in one_error_line(capsys.readouterr().err)
    assert not Path("sink").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("u"), 2), (SourceError("s\nsecond line"), 1), (MattemillError("m"), 1), (ValueError("v"), 1)],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_error_has_its_code_and_debug_shows_it_whole(
    here: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: int,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("mattemill.cluster.cli.status.status", fail)
    assert here("status", "sink") == code
    assert str(error).split("\n")[0] in one_error_line(capsys.readouterr().err)
    with pytest.raises(type(error)):
        here("status", "sink", "--debug")


def test_a_second_ctrl_c_ends_with_130(here: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mattemill.cluster.cli.status.status", interrupt)
    assert here("status", "sink") == 130


def test_the_version_is_that_of_the_package(here: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert here("--version") == 0
    assert capsys.readouterr().out == f"mattemill {main_module.version()}\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    listing = subprocess.Popen(
        [sys.executable, "-m", "mattemill.cluster.cli.main", "models", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.close()
    assert listing.stderr.read() == b""
    assert listing.wait() == 0
    listing.stderr.close()


def test_the_light_commands_import_neither_ray_nor_a_network_runtime() -> None:
    code = (
        "import sys; from mattemill.cluster.cli.main import build_parser; build_parser(); "
        "print(sorted({'ray', 'onnxruntime', 'cv2', 'boto3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
