"""`mattemill train matting`: a few steps on generated samples, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mattemill.cluster.cli.main import main


def test_wrong_settings_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="training needs the extra [train]: torch is missing")
    pytest.importorskip("onnx", reason="training needs the extra [train]: onnx is missing")
    assert main(["train", "matting", "--folder", str(tmp_path), "--size", "100"]) == 2
    assert "size = 100" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_an_error_and_not_a_slow_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="training needs the extra [train]: torch is missing")
    pytest.importorskip("onnx", reason="training needs the extra [train]: onnx is missing")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert main(["train", "matting", "--folder", str(tmp_path), "--device", "cuda"]) == 2
    assert "no GPU" in capsys.readouterr().err


def test_what_is_missing_is_said_with_how_to_install_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert main(["train", "matting", "--folder", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "onnx" in error
    assert "[train]" in error


@pytest.mark.slow
def test_two_steps_leave_a_checkpoint_a_log_curves_and_a_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="training needs the extra [train]: torch is missing")
    pytest.importorskip("onnx", reason="training needs the extra [train]: onnx is missing")
    command = ["train", "matting", "--folder", str(tmp_path), "--batch", "2", "--size", "64", "--steps", "2"]
    assert (
        main([*command, "--check-every", "1", "--workers", "0", "--threads", "1", "--validation", "2", "--json"]) == 0
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["step"] for line in lines[:-1]] == [1, 2]
    for name in ("checkpoint.pt", "log.jsonl", "curves.png", "matting.onnx"):
        assert (tmp_path / name).stat().st_size > 100, name
