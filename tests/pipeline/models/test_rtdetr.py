"""RT-DETR: its decoding by hand, and the whole of it over ONNX files of the published contract.

The published weights were not at hand: the files here are small networks that are made in the test.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from small_networks import DOG, write_rtdetr

from mattemill.pipeline.engines.catalogue import recipe_of
from mattemill.pipeline.engines.compile_engine import compile_engine
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.engines.parity import cases_of
from mattemill.pipeline.engines.prepare import prepare
from mattemill.pipeline.engines.recipe import PRECISIONS, Precision
from mattemill.pipeline.errors import EngineError
from mattemill.pipeline.models.gpu_cards import RTDETR_V2_R18
from mattemill.pipeline.models.rtdetr import RtdetrDetector, decode_rtdetr

_FAR = -30.0  # the logit of 'certainly not'
_CUP = 41

Floats = npt.NDArray[np.float32]


def _logits(*given: tuple[int, int, float], queries: int = 5) -> Floats:
    """(query, class, logit) of those that are something."""
    out = np.full((queries, 80), _FAR, np.float32)
    for query, of_class, logit in given:
        out[query, of_class] = logit
    return out


def _boxes(*given: tuple[float, float, float, float], queries: int = 5) -> Floats:
    out = np.full((queries, 4), 0.5, np.float32)
    out[: len(given)] = np.reshape(given, (-1, 4))
    return out


def test_a_box_is_a_fraction_of_the_photograph_around_its_centre() -> None:
    found = decode_rtdetr(_logits((0, _CUP, 2.0)), _boxes((0.5, 0.25, 0.2, 0.1)), (200, 1000, 3), score_threshold=0.5)
    np.testing.assert_allclose(found.boxes, [[400, 40, 600, 60]], atol=1e-3)
    assert found.classes.tolist() == [_CUP]
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-6)


def test_the_best_come_first_and_those_under_the_threshold_are_dropped() -> None:
    logits = _logits((0, 3, 0.1), (1, 4, 3.0), (2, 5, -0.1), (4, 6, 1.0))
    found = decode_rtdetr(logits, _boxes(), (100, 100), score_threshold=0.5)
    assert found.classes.tolist() == [4, 6, 3]
    assert (np.diff(found.scores) < 0).all()


def test_a_query_that_is_sure_of_two_classes_gives_both_and_nothing_suppresses_the_other() -> None:
    logits = _logits((1, DOG, 3.0), (1, _CUP, 2.0), (2, DOG, 2.5))
    found = decode_rtdetr(logits, _boxes(), (100, 100), score_threshold=0.5)
    assert found.classes.tolist() == [DOG, DOG, _CUP]


def test_no_more_than_the_given_number_of_pairs_is_taken() -> None:
    logits = np.full((50, 80), 2.0, np.float32)
    assert len(decode_rtdetr(logits, _boxes(queries=50), (9, 9), score_threshold=0.5).boxes) == 300
    assert len(decode_rtdetr(logits, _boxes(queries=50), (9, 9), score_threshold=0.5, most=7).boxes) == 7


def test_boxes_are_cut_to_the_photograph_and_those_outside_it_go() -> None:
    logits = _logits((0, 1, 5.0), (1, 2, 4.0), (2, 3, 3.0))
    boxes = _boxes((0.0, 0.5, 0.5, 2.0), (1.5, 0.5, 0.5, 0.5), (0.5, 0.5, 0.0, 0.4))
    found = decode_rtdetr(logits, boxes, (40, 80), score_threshold=0.5)
    assert found.boxes.tolist() == [[0, 0, 20, 40]]
    assert found.classes.tolist() == [1]


def test_extreme_logits_make_no_warning_and_no_nan() -> None:
    logits = _logits((0, 0, 1e4), (1, 0, -1e4))
    with np.errstate(all="raise"):
        found = decode_rtdetr(logits, _boxes(), (10, 10), score_threshold=0.5)
    assert found.scores.tolist() == [1.0]


def _detector(path: Path) -> RtdetrDetector:
    card = RTDETR_V2_R18
    return RtdetrDetector(card, OnnxRuntimeEngine(path, outputs=card.output.names, name=card.name))


def test_a_file_of_the_contract_finds_its_box_in_red_photographs_only(tmp_path: Path) -> None:
    detect = _detector(write_rtdetr(tmp_path / "rtdetr.onnx"))
    image = np.zeros((300, 500, 3), np.uint8)
    image[..., 0] = 204  # .8: not .8 of 255 in blue, nor after subtracting a mean
    found = detect(image)
    assert found.classes.tolist() == [DOG]
    np.testing.assert_allclose(found.boxes, [[50, 75, 450, 225]], atol=0.5)
    assert len(detect(image[..., ::-1].copy()).boxes) == 0


def test_the_photograph_is_shown_whole_and_stretched_to_the_cards_size(tmp_path: Path) -> None:
    path = write_rtdetr(tmp_path / "rtdetr.onnx")
    seen: list[Floats] = []

    class Looking(OnnxRuntimeEngine):
        def run(self, inputs: Any) -> Any:
            seen.append(inputs["pixel_values"])
            return super().run(inputs)

    card = RTDETR_V2_R18
    image = np.zeros((100, 2000, 3), np.uint8)
    image[:, 1000:] = 255
    RtdetrDetector(card, Looking(path, outputs=card.output.names))(image)
    (tensor,) = seen
    assert tensor.shape == (1, 3, 640, 640)
    assert tensor[0, :, :, :318].max() == 0.0
    assert tensor[0, :, :, 322:].min() == pytest.approx(1.0)


def test_fine_stripes_are_averaged_and_not_sampled(tmp_path: Path) -> None:
    """Antialiasing, as the authors' preparation has it: every fourth column alone would be all black or all white."""
    detect = _detector(write_rtdetr(tmp_path / "rtdetr.onnx"))
    image = np.zeros((640, 2560, 3), np.uint8)
    image[:, ::4, 0], image[:, 1::4, 0], image[:, 2::4, 0] = 255, 255, 255
    box = detect(image).boxes[0]
    assert (box[2] - box[0]) / 2560 == pytest.approx(0.75, abs=0.01)


def test_another_number_of_classes_is_an_error_that_says_so(tmp_path: Path) -> None:
    detect = _detector(write_rtdetr(tmp_path / "other.onnx", classes=91))
    with pytest.raises(EngineError, match=r"rtdetr_v2_r18: outputs are \(1, 6, 91\).*not an RT-DETR for COCO"):
        detect(np.zeros((50, 60, 3), np.uint8))


def test_an_export_with_the_decoding_inside_is_refused_by_its_outputs(tmp_path: Path) -> None:
    card = RTDETR_V2_R18
    wanted = dataclasses.replace(card, output=dataclasses.replace(card.output, names=("labels", "boxes", "scores")))
    path = write_rtdetr(tmp_path / "rtdetr.onnx")
    with pytest.raises(EngineError, match=r"no output labels, boxes, scores.*not the network that the card describes"):
        OnnxRuntimeEngine(path, outputs=wanted.output.names, name=card.name)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensorrt_builds_the_file_with_its_free_sizes_at_the_cards_size(precision: Precision, tmp_path: Path) -> None:
    path = write_rtdetr(tmp_path / "rtdetr.onnx")
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx, which is not installed")
    recipe = recipe_of(RTDETR_V2_R18, path, "tensorrt_rtx", precision)
    ((sizes,),) = recipe.profiles
    assert sizes.smallest == sizes.largest == (1, 3, 640, 640)
    assert len(compile_engine(rtx, prepare(path, recipe), recipe).plan) > 1000


def test_an_engine_is_compared_on_what_the_detector_asks(tmp_path: Path) -> None:
    path = write_rtdetr(tmp_path / "rtdetr.onnx")
    (case,) = cases_of(RTDETR_V2_R18, path, [np.zeros((90, 120, 3), np.uint8)])
    assert case.inputs["pixel_values"].shape == (1, 3, 640, 640)
    assert set(case.outputs) == {"logits", "pred_boxes"}
