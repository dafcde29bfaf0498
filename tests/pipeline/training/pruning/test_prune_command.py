"""`mattemill prune`: from a file and folders to a judged network with its sidecar, or to none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mattemill.cluster.cli.main import main
from mattemill.cluster.cli.prune import share
from mattemill.pipeline.models.card import ModelCard


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three bright discs and their masks."""
    folder = tmp_path / "discs"
    rows, columns = np.mgrid[:96, :96]
    for kind in ("image", "mask"):
        (folder / kind).mkdir(parents=True)
    for i in range(3):
        inside = np.hypot(rows - 40 - 5 * i, columns - 48) < 20 + 4 * i
        Image.fromarray(np.where(inside[..., None], (240, 230, 60 * i), (20, 60, 90)).astype(np.uint8)).save(
            folder / "image" / f"{i}.png"
        )
        Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)).save(folder / "mask" / f"{i}.png")
    return folder


@pytest.fixture
def command(
    tmp_path: Path,
    photographs: Path,
    dataset: Path,
    network: Callable[..., Any],
    card: ModelCard,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Of a small network with a card of its own in the place of u2netp's; without a ratio."""
    pytest.importorskip("torch", reason="pruning needs the extra [train]: torch is missing")
    onnx = pytest.importorskip("onnx", reason="pruning needs the extra [train]: onnx is missing")
    file = tmp_path / "small.onnx"
    onnx.save(network(5), str(file))
    monkeypatch.setattr("mattemill.cluster.cli.prune.card_of", lambda name: card)
    words = ["prune", "u2netp", "--file", file, "--photographs", photographs, "--evaluate", dataset]
    return [str(word) for word in (*words, "--output", tmp_path / "out.onnx", "--threads", "1", "--json")]


def test_what_passes_is_written_with_a_sidecar_that_says_how_it_came_about(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = ["--steps", "1", "--batch", "1"]
    assert main([*command, "--ratio", "30%", "--tolerance", "99%", *steps]) == 0
    told = json.loads(capsys.readouterr().out)
    sidecar = json.loads((tmp_path / "out.json").read_text())
    assert sidecar["file_sha256"] == hashlib.sha256((tmp_path / "out.onnx").read_bytes()).hexdigest()
    assert sidecar["verdict"]["passed"]
    assert sidecar["verdict"]["photographs"] == 3
    assert sidecar["multiply_adds_gone"] == told["multiply_adds_gone"] >= 0.3
    assert sidecar["parameters"][1] < sidecar["parameters"][0]
    assert (tmp_path / "out.onnx").stat().st_size < (tmp_path / "small.onnx").stat().st_size
    assert main([*command, "--ratio", "30%", *steps]) == 2
    assert "--resume goes on" in capsys.readouterr().err


def test_what_does_not_pass_is_not_written_and_the_figures_are_told(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--ratio", "60%", "--tolerance", "0", "--steps", "0"]) == 1
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert not verdict["passed"]
    assert verdict["iou_loss"]["mean"] > 0 or verdict["sad_rise"]["mean"] > 0
    assert not (tmp_path / "out.onnx").exists()
    assert not (tmp_path / "out.json").exists()


def test_a_dry_run_says_what_would_go_and_leaves_nothing(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    assert main([*command, "--ratio", "30%", "--dry-run"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["layers"]
    assert "verdict" not in told
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_is_pruned_that_cannot_be_judged(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "u2netp", "--ratio", "30%", "--photographs", str(photographs)]) == 2
    assert "--evaluate" in capsys.readouterr().err


def test_a_network_that_makes_no_mask_is_refused(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "yolox_nano", "--ratio", "30%", "--photographs", str(photographs), "--dry-run"]) == 2
    assert "coco_detection" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "value"), [("30%", 0.3), ("0.25", 0.25), ("0", 0.0)])
def test_a_share_is_a_percentage_or_a_fraction(text: str, value: float) -> None:
    assert share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["100%", "-3%", "30", "much"])
def test_what_is_no_share_is_wrong_use(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["prune", "u2netp", f"--ratio={text}", "--photographs", "x", "--dry-run"])
    assert stop.value.code == 2
    assert "no share" in capsys.readouterr().err
