"""The comparison that an engine must pass, with the real networks in ONNX Runtime standing in for engines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.engines.parity import Case, Tensors, cases_of, check_parity, read_photographs
from mattemill.pipeline.errors import EngineError, UsageError
from mattemill.pipeline.models.cache import cached_file
from mattemill.pipeline.models.cards import card_of

Array = npt.NDArray[np.float32]


class Doubling:
    """An 'engine' with errors to order."""

    device = "cpu"
    batch_limit = 4

    def __init__(self, error: float = 0.0, only_in_batches: bool = False) -> None:
        self._error, self._only_in_batches = error, only_in_batches
        self.batches: list[int] = []

    def run(self, inputs: Mapping[str, Array]) -> Tensors:
        out = 2 * inputs["x"]
        self.batches.append(len(out))
        if len(out) > 1 or not self._only_in_batches:
            out[-1] += np.float32(self._error)
        return {"y": out}


def _cases(*shapes: tuple[int, ...], scale: float = 1.0) -> list[Case]:
    made = []
    for seed, shape in enumerate(shapes):
        x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * np.float32(scale)
        made.append(Case({"x": x}, {"y": 2 * x}))
    return made


def test_an_engine_that_agrees_passes_alone_and_in_batches_of_every_shape() -> None:
    engine = Doubling()
    parity = check_parity(engine, _cases((1, 3, 4), (1, 3, 4), (1, 5, 4)), gpu="none", name="net")
    assert (parity.mean_error, parity.worst_error, parity.inputs) == (0.0, 0.0, 3)
    assert engine.batches == [1, 1, 1, 4, 4]


def test_an_engine_that_is_off_is_an_error_that_says_by_how_much() -> None:
    with pytest.raises(EngineError, match=r"model net: .*by 0\.\d+ on average"):
        check_parity(Doubling(0.05), _cases((1, 3, 4)), gpu="none", name="net")


def test_an_engine_that_is_off_only_in_a_batch_does_not_pass() -> None:
    with pytest.raises(EngineError, match="differs"):
        check_parity(Doubling(0.05, only_in_batches=True), _cases((1, 3, 4)), gpu="none", name="net")


def test_errors_are_measured_in_units_of_large_outputs() -> None:
    parity = check_parity(Doubling(0.05), _cases((1, 30, 40), scale=100.0), gpu="none", name="net")
    assert 1e-4 < parity.mean_error < 1e-3


def test_an_output_that_is_not_a_number_does_not_pass() -> None:
    with pytest.raises(EngineError, match="differs"):
        check_parity(Doubling(float("nan")), _cases((1, 3, 4)), gpu="none", name="net")


def test_an_output_of_another_shape_is_an_error() -> None:
    case = Case({"x": np.zeros((1, 3), np.float32)}, {"y": np.zeros((1, 4), np.float32)})
    with pytest.raises(EngineError, match=r"output y: the engine gives \(1, 3\), ONNX Runtime \(1, 4\)"):
        check_parity(Doubling(), [case], gpu="none", name="net")


def test_the_cases_of_a_network_are_what_the_real_code_asks_it(u2netp: Path, sample_photos: Path) -> None:
    photographs = read_photographs(sample_photos, 2)
    cases = cases_of(card_of("u2netp"), u2netp, photographs)
    assert [case.inputs["input.1"].shape for case in cases] == [(1, 3, 320, 320)] * 2
    assert [list(case.outputs) for case in cases] == [["1959"]] * 2
    engine = OnnxRuntimeEngine(u2netp, outputs=["1959"])
    assert check_parity(engine, cases, gpu="none", name="u2netp").worst_error < 1e-6


def test_the_cases_of_the_matting_network_are_tiles_of_several_shapes(u2netp: Path, sample_photos: Path) -> None:
    card = card_of("mattenet")
    cases = cases_of(card, cached_file(card), read_photographs(sample_photos, 1))
    shapes = {case.inputs[card.input.name].shape for case in cases}
    assert len(shapes) > 1
    assert all(side % 32 == 0 for shape in shapes for side in shape[2:])


def test_a_damaged_photograph_is_left_out_and_a_folder_without_any_is_an_error(
    sample_photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "damaged.jpg").write_bytes((sample_photos / "temple-cut-off.jpg").read_bytes())
    with pytest.raises(UsageError, match="--photos"):
        read_photographs(tmp_path)
    (tmp_path / "whole.png").write_bytes((sample_photos / "cat.png").read_bytes())
    assert [photo.shape for photo in read_photographs(tmp_path)] == [(300, 451, 3)]
