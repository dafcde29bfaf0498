"""`mattemill engines`: build, list, verify, prune."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mattemill.cluster.cli import engines
from mattemill.pipeline.engines.gpus import DriverFound

Here = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine cache of its own, and no GPU whatever the machine has."""
    monkeypatch.setenv("MATTEMILL_ENGINES", str(tmp_path / "engines"))
    return tmp_path / "engines"


def test_an_empty_cache_is_said_to_be_empty_and_where_it_would_be(
    here: Here, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("engines", "list") == 0
    text = capsys.readouterr().out
    assert "mattemill engines build" in text
    assert str(folder) in text
    assert here("engines", "verify") == 0
    assert here("engines", "prune") == 0
    assert "0 engines of 0 removed" in capsys.readouterr().out


def test_where_nothing_can_build_it_is_an_error_that_names_both_ways(
    here: Here, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find_gpus", lambda: DriverFound(None, (), "no NVIDIA driver"))
    for backend in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, backend, None)
    assert here("engines", "build") == 1
    said = capsys.readouterr().err
    assert "tensorrt: no NVIDIA driver" in said
    assert "pip install tensorrt-rtx" in said
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("u3net",), "known are birefnet_general"),
        (("yolox_nano", "--backend", "tensorrt_rtx"), "say which with --file"),
        (("u2netp", "mattenet", "--file", "x.onnx"), "--file is the file of one network"),
        (("--precision", "int3"), "invalid choice"),
    ],
)
def test_what_makes_no_sense_is_wrong_use(
    arguments: tuple[str, ...], says: str, here: Here, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("engines", "build", *arguments) == 2
    assert says in capsys.readouterr().err


def test_an_engine_is_built_listed_verified_found_damaged_and_pruned(
    here: Here, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx, which is not installed")
    pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    if engines.find_gpus().gpus:
        pytest.skip("this machine has a GPU: tests/gpu builds and runs engines there")
    assert here("engines", "build", "mattenet", "--backend", "tensorrt_rtx") == 0
    said = capsys.readouterr()
    assert "mattenet: compiling" in said.err
    assert "not compared yet: it was built without a GPU" in said.out
    (plan,) = folder.glob("mattenet-fp16-tensorrt_rtx-*.engine")

    assert here("engines", "list", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["engine"] == str(plan)
    assert entry["sidecar"]["parity"] is None
    assert here("engines", "verify") == 0
    assert here("engines", "prune") == 0
    assert "0 engines of 1 removed" in capsys.readouterr().out

    plan.write_bytes(plan.read_bytes()[:-1])
    assert here("engines", "verify", "--json") == 1
    assert "bytes" in json.loads(capsys.readouterr().out)[0]["problem"]
    assert here("engines", "prune", "--dry-run") == 0
    assert "would go" in capsys.readouterr().out
    assert plan.exists()
    assert here("engines", "prune", "--json") == 0
    assert [gone["removed"] for gone in json.loads(capsys.readouterr().out)] == [True]
    assert list(folder.glob("mattenet*")) == []
