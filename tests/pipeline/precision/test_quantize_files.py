"""What `mattemill quantize` writes, and when it writes nothing; on a small network of u2netp's contract."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mattemill.cluster.cli.main import main
from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.precision.lowered import card_of_file, sidecar_of

pytest.importorskip("onnx", reason="the onnx package rewrites networks")

MakeNetwork = Callable[..., Path]


def quantize(network: Path, discs: Path, output: Path, *more: str) -> int:
    given = ["quantize", "u2netp", "--to", "int8", "--calibrate", str(discs), "--file", str(network)]
    return main([*given, "--output", str(output), *more])


def test_what_passes_is_written_with_a_sidecar_that_describes_it(
    make_network: MakeNetwork, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    network, output = make_network(), tmp_path / "small.onnx"

    assert quantize(network, discs, output, "--json") == 0

    told = json.loads(capsys.readouterr().out)
    sidecar = json.loads(sidecar_of(output).read_text())
    assert told["passed"]
    assert told["sha256"] == sidecar["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert sidecar["source_sha256"] == hashlib.sha256(network.read_bytes()).hexdigest()
    assert sidecar["bytes"] == output.stat().st_size
    assert sidecar["kept_in_float32"] == []
    assert sidecar["gate"]["passed"]
    photographs = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (discs / "image").iterdir()}
    assert {each["sha256"] for each in sidecar["calibration"]} <= photographs
    assert len(sidecar["calibration"]) + sidecar["gate"]["photographs"] == 8
    assert sorted(tmp_path.glob(".small*")) == []


@pytest.mark.usefixtures("bad_in_eight_bits")
def test_what_the_gate_refuses_leaves_no_file_and_an_old_one_alone(
    make_network: MakeNetwork, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "small.onnx"
    output.write_bytes(b"of yesterday")

    assert quantize(make_network(), discs, output, "--keep", "0") == 1

    assert output.read_bytes() == b"of yesterday"
    assert not sidecar_of(output).exists()
    out = capsys.readouterr().out
    assert "nothing is written" in out
    assert "bad" in next(
        line for line in out.splitlines() if line.strip().startswith(("bad", "first", "second", "last"))
    )


@pytest.mark.usefixtures("bad_in_eight_bits")
def test_the_worst_layer_is_left_in_float_within_the_budget_and_told(
    make_network: MakeNetwork, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "small.onnx"

    assert quantize(make_network(), discs, output) == 0

    assert json.loads(sidecar_of(output).read_text())["kept_in_float32"] == ["bad"]
    assert "1 of 4 layers in float32: passed" in capsys.readouterr().out


def test_light_layers_stay_in_float_when_asked_and_are_told(
    make_network: MakeNetwork, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "small.onnx"

    assert quantize(make_network(), discs, output, "--light", "50%") == 0

    sidecar = json.loads(sidecar_of(output).read_text())
    assert (sidecar["light_in_float32"], sidecar["layers"], sidecar["recipe"]["light"]) == (["second"], 3, 0.5)
    out = capsys.readouterr().out
    assert "1 layer with next to no multiplications in float32" in out
    assert "all others in int8: passed" in out


def test_a_dry_run_writes_nothing(make_network: MakeNetwork, discs: Path, tmp_path: Path):
    output = tmp_path / "small.onnx"

    assert quantize(make_network(), discs, output, "--dry-run") == 0

    assert not output.exists()
    assert not sidecar_of(output).exists()


def test_the_file_has_a_card_of_its_own_and_a_changed_one_has_none(
    make_network: MakeNetwork, discs: Path, tmp_path: Path
):
    output = tmp_path / "small.onnx"
    assert quantize(make_network(), discs, output) == 0

    card = card_of_file(output)
    assert (card.name, card.family, card.input.name) == ("small", "u2net", "input.1")
    assert card.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()
    output.write_bytes(output.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="make it again"):
        card_of_file(output)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nonsense", "--to", "int8"], "is not known"),
        (["mattenet", "--to", "int8"], "makes none of"),
        (["u2netp", "--to", "int8", "--output", "nowhere/at/all.onnx"], "there is no folder"),
        (["u2netp", "--to", "int8", "--tolerance", "7"], "share such as 5%"),
    ],
)
def test_wrong_use_is_one_line(given: list[str], said: str, discs: Path, capsys: pytest.CaptureFixture[str]):
    try:
        code = main(["quantize", *given, "--calibrate", str(discs)])
    except SystemExit as stopped:
        code = int(str(stopped.code))

    assert code == 2
    assert said in capsys.readouterr().err
