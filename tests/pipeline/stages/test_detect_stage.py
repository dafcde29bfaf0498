"""The detect stage on real photographs: one article, several, none; and COCO boxes where saliency agrees."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.models.coco_boxes import CocoBoxes
from mattemill.pipeline.models.saliency import SaliencyNetwork
from mattemill.pipeline.photo import Photo, Rgb
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.detect import SubjectFinder
from mattemill.pipeline.stages.messages import Detection
from mattemill.pipeline.stages.stage import Done, Failed, Stage


@pytest.fixture(scope="module")
def pair(sample_photos: Path, make_photo: Callable[[bytes], Photo]) -> Photo:
    """Two flowers apart from each other on white, as a pair of articles is shown."""
    flower = np.asarray(Image.open(sample_photos / "flower-rotated.jpg").convert("RGB"))
    y, x = np.mgrid[0 : flower.shape[0], 0 : flower.shape[1]]
    inside = np.hypot(x - 219, y - 333) < 132  # the flower's head, as stored
    head = np.where(inside[..., None], flower, 255).astype(np.uint8)[201:465, 87:351]
    canvas = np.full((420, 800, 3), 255, np.uint8)
    canvas[78:342, 60:324] = head
    canvas[78:342, 476:740] = head
    file = io.BytesIO()
    Image.fromarray(canvas).save(file, "PNG")
    return make_photo(file.getvalue())


def _detection(stage: Stage, photo: Photo) -> tuple[Detection, Done]:
    result = stage([(photo,)])[0]
    assert isinstance(result, Done), result
    return result.output, result


def test_a_cup_gets_one_box_around_it_with_its_saliency(
    load_stage: Callable[..., Stage], photos: dict[str, Photo]
) -> None:
    detection, done = _detection(load_stage("detect"), photos["coffee"])
    assert len(detection.boxes) == 1
    assert done.fan_out == 1
    x0, y0, x1, y1 = detection.boxes[0]
    assert 60 < x0 < 110
    assert 470 < x1 < 500
    assert 5 < y0 < 40
    assert 370 < y1 <= 400
    assert detection.saliency is not None
    assert detection.saliency.shape == (320, 320)
    assert done.facts.boxes == detection.boxes
    assert done.facts.scores["saliency_peak"] > 0.9
    assert done.facts.seconds["detect"] > 0
    assert done.facts.device == {"detect": "cpu"}


def test_boxes_are_in_pixels_of_the_photograph_as_a_viewer_shows_it(
    load_stage: Callable[..., Stage], photos: dict[str, Photo]
) -> None:
    photo = photos["flower-rotated"]
    assert photo.header.orientation == 6
    (x0, y0, x1, y1) = _detection(load_stage("detect"), photo)[0].boxes[0]
    assert 0 <= x0 < x1 <= photo.header.shown_size[0] == 640
    assert 0 <= y0 < y1 <= photo.header.shown_size[1] == 427
    assert abs((x1 - x0) - (y1 - y0)) < 40, "the flower is round"


def test_a_pair_is_one_main_subject(load_stage: Callable[..., Stage], pair: Photo) -> None:
    detection, done = _detection(load_stage("detect"), pair)
    assert len(detection.boxes) == 1
    assert detection.boxes[0][0] < 150
    assert detection.boxes[0][2] > 650
    assert done.facts.scores["parts"] == 2


def test_of_a_pair_all_subjects_are_two(load_stage: Callable[..., Stage], pair: Photo) -> None:
    detection, done = _detection(load_stage("detect", JobConfig(subjects="all")), pair)
    assert done.fan_out == len(detection.boxes) == len(detection.scores) == 2
    left, right = sorted(detection.boxes)
    assert left[2] < 400 < right[0]


def test_gravel_has_no_subject_and_shows_itself_in_the_failure(
    load_stage: Callable[..., Stage], photos: dict[str, Photo]
) -> None:
    result = load_stage("detect")([(photos["gravel"],)])[0]
    assert isinstance(result, Failed)
    assert result.failure.reason is Reason.NO_SUBJECT
    assert result.failure.stage == "detect"
    assert result.failure.preview is not None
    assert result.failure.preview.startswith(b"\xff\xd8\xff")
    assert result.failure.facts.scores["saliency_peak"] < 0.3


def test_the_threshold_decides_what_counts_as_a_subject(
    load_stage: Callable[..., Stage], photos: dict[str, Photo]
) -> None:
    strict = load_stage("detect", JobConfig(subject_threshold=1.0))
    assert isinstance(strict([(photos["rocket-cmyk"],)])[0], Failed)
    assert isinstance(load_stage("detect")([(photos["rocket-cmyk"],)])[0], Done)


def test_a_damaged_photograph_fails_alone_and_its_neighbours_are_done_in_order(
    load_stage: Callable[..., Stage], photos: dict[str, Photo]
) -> None:
    results = load_stage("detect")([(photos[name],) for name in ("coffee", "temple-cut-off", "cat")])
    assert [type(result) for result in results] == [Done, Failed, Done]
    assert isinstance(results[1], Failed)
    assert results[1].failure.reason is Reason.TRUNCATED
    assert results[1].failure.preview is None
    assert isinstance(results[2], Done)
    assert results[2].facts.boxes[0][3] == pytest.approx(300, abs=2), "the cat's, not the cup's"


@pytest.mark.parametrize(
    ("family", "file"), [("yolox", "yolox_nano/yolox_nano.onnx"), ("nanodet", "nanodet_m/nanodet_m_416.onnx")]
)
def test_a_coco_box_that_holds_the_saliency_takes_its_place(
    family: str, file: str, load_stage: Callable[..., Stage], photos: dict[str, Photo], shared_models: Path
) -> None:
    config = JobConfig(detector=family, detector_model=str(shared_models / file))
    detection, done = _detection(load_stage("detect", config), photos["cat"])
    assert done.facts.scores["coco_boxes_used"] == 1
    x0, y0, x1, y1 = detection.boxes[0]
    assert (x1 - x0) * (y1 - y0) > 0.9 * 451 * 300, "the detectors see the cat in the whole frame"


class _FixedBoxes:
    """A detector that always says the same; to reach both sides of the rule with one photograph."""

    device = "cpu"

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        count = len(boxes)
        self._said = CocoBoxes(np.array(boxes, np.float32), np.ones(count, np.float32), np.zeros(count, np.int64))

    def __call__(self, image: Rgb) -> CocoBoxes:
        return self._said


def _cup(sample_photos: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(cv2.imread(str(sample_photos / "coffee.webp")), cv2.COLOR_BGR2RGB), np.uint8)


def test_a_coco_box_with_less_than_most_of_the_saliency_is_not_believed(u2netp: Path, sample_photos: Path) -> None:
    card = card_of("u2netp")
    network = SaliencyNetwork(card, OnnxRuntimeEngine(u2netp, outputs=card.output.names))
    image = _cup(sample_photos)
    own = SubjectFinder(network, None, subjects="main", threshold=0.5)(image).detection.boxes
    spoon = (400.0, 60.0, 500.0, 330.0)
    found = SubjectFinder(network, _FixedBoxes(spoon), subjects="main", threshold=0.5)(image)
    assert found.detection.boxes == own
    assert found.scores["coco_boxes_used"] == 0
    table = (10.0, 5.0, 590.0, 395.0)
    found = SubjectFinder(network, _FixedBoxes(spoon, table), subjects="main", threshold=0.5)(image)
    assert found.detection.boxes == (table,)
    assert found.scores["coco_boxes_used"] == 1
