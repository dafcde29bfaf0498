"""YOLOX and NanoDet: their decoding by hand, and the real networks on real photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import EngineError, ModelError
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.models.coco_boxes import keep_best
from mattemill.pipeline.models.load import load_detector, model_hashes
from mattemill.pipeline.models.nanodet import decode_nanodet
from mattemill.pipeline.models.yolox import decode_yolox

_PERSON, _TIE, _CUP = 0, 27, 41
_FILES = {"yolox": "yolox_nano/yolox_nano.onnx", "nanodet": "nanodet_m/nanodet_m_416.onnx"}


def _rgb(path: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def test_yolox_boxes_grow_from_their_cell_in_strides() -> None:
    raw = np.array([[0.5, 0.25, np.log(2.0), np.log(4.0)]], np.float32)
    box = decode_yolox(raw, np.array([[3, 5]], np.float32), np.array([[16]], np.float32))
    # Centre ((3 + .5) * 16, (5 + .25) * 16) = (56, 84), size (32, 64).
    np.testing.assert_allclose(box, [[40, 52, 72, 116]], rtol=1e-5)


def test_nanodet_sides_are_the_means_of_their_bins() -> None:
    sides = np.full((2, 4, 8), -50.0, np.float32)
    sides[:, :, 3] = 50.0  # all sides 3 cells, for both cells of a row
    sides[1, 0] = -50.0
    sides[1, 0, [1, 2]] = 50.0  # left: halfway between 1 and 2
    boxes = decode_nanodet(sides.reshape(2, 32), (1, 2), 8)
    np.testing.assert_allclose(boxes, [[4 - 24, 4 - 24, 4 + 24, 4 + 24], [12 - 12, 4 - 24, 12 + 24, 4 + 24]], atol=1e-4)


def test_boxes_are_cut_to_the_photograph_and_duplicates_of_a_class_go() -> None:
    boxes = np.array([[-10, 0, 50, 50], [-9, 0, 50, 50], [-9, 0, 50, 50], [60, 60, 60, 90]], np.float32)
    scores = np.zeros((4, 80), np.float32)
    scores[[0, 1, 2, 3], [7, 7, 8, 7]] = [0.9, 0.8, 0.7, 0.95]
    found = keep_best(boxes, scores, (100, 100, 3), score_threshold=0.5, iou_threshold=0.5)
    assert found.classes.tolist() == [7, 8]
    assert found.boxes[0].tolist() == [0, 0, 50, 50]


@pytest.mark.parametrize("family", ["yolox", "nanodet"])
def test_the_real_detectors_find_what_is_in_the_photographs(
    family: str, shared_models: Path, sample_photos: Path
) -> None:
    config = JobConfig(detector=family, detector_model=str(shared_models / _FILES[family]))
    detector = load_detector(config)
    assert detector is not None
    astronaut = detector(_rgb(sample_photos / "astronaut.jpg"))
    assert astronaut.classes[0] == _PERSON
    x0, y0, x1, y1 = astronaut.boxes[0]
    assert x0 < 60
    assert 300 < x1 < 420
    assert y1 > 490
    assert y0 < 120
    assert _CUP in detector(_rgb(sample_photos / "coffee.webp")).classes
    assert _TIE in detector(_rgb(sample_photos / "grace-hopper.jpg")).classes
    assert len(detector(_rgb(sample_photos / "gravel.jpg")).boxes) == 0


def test_a_file_of_another_network_is_an_error_that_names_what_is_missing(shared_models: Path) -> None:
    config = JobConfig(detector="yolox", detector_model=str(shared_models / _FILES["nanodet"]))
    with pytest.raises(EngineError, match=r"no output output.*not the network that the card describes"):
        load_detector(config)


def test_a_detector_file_that_is_not_there_is_named() -> None:
    config = JobConfig(detector="yolox", detector_model="/nowhere/yolox.onnx")
    with pytest.raises(ModelError, match=r"/nowhere/yolox\.onnx: no such file"):
        load_detector(config)


def test_the_fingerprint_follows_the_detectors_own_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.onnx"
    file.write_bytes(b"one")
    config = JobConfig(detector="yolox", detector_model=str(file))
    before = model_hashes(config)
    file.write_bytes(b"another one")
    after = model_hashes(config)
    assert before["detect_coco"] != after["detect_coco"]
    assert config.fingerprint(before) != config.fingerprint(after)
    assert "detect_coco" not in model_hashes(JobConfig())


def test_the_fingerprint_follows_the_matting_network_where_it_refines() -> None:
    assert model_hashes(JobConfig(refine="network"))["matte"] == card_of("mattenet").sha256
    assert "matte" not in model_hashes(JobConfig(refine="guided"))
