"""The segment stage: crops, the pass that is saved, and the choice between two looks."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.models.saliency import SaliencyMap, SaliencyNetwork
from mattemill.pipeline.photo import Photo, Rgb
from mattemill.pipeline.stages.messages import CropMask, Detection
from mattemill.pipeline.stages.segment import Segmenter, agreement, on_crop
from mattemill.pipeline.stages.stage import Done, Stage


@pytest.fixture(scope="module")
def network(u2netp: object) -> SaliencyNetwork:
    card = card_of("u2netp")
    return SaliencyNetwork(card, OnnxRuntimeEngine(u2netp, outputs=card.output.names))  # type: ignore[arg-type]


def _no_pixels() -> Rgb:
    raise AssertionError("the photograph was decoded although its pixels are not needed")


def _disc(size: int, radius: float) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[0:size, 0:size]
    distance = np.hypot(x - (size - 1) / 2, y - (size - 1) / 2)
    return np.clip((radius - distance) * 64 + 128, 0, 255).astype(np.uint8)


def test_a_small_subject_is_looked_at_again_in_its_crop(
    load_stage: Callable[..., Stage], photos: dict[str, Photo]
) -> None:
    photo = photos["flower-rotated"]
    detected = load_stage("detect")([(photo,)])[0]
    assert isinstance(detected, Done)
    result = load_stage("segment")([(photo, detected.output, 0)])[0]
    assert isinstance(result, Done)
    mask = result.output
    assert isinstance(mask, CropMask)
    x0, _, _, y1 = mask.window
    box = detected.output.boxes[0]
    margin = 0.10 * max(box[2] - box[0], box[3] - box[1])
    assert x0 == pytest.approx(box[0] - margin, abs=6)
    assert y1 == pytest.approx(box[3] + margin, abs=6)
    assert mask.mask[160, 160] > 250
    assert result.facts.scores["looks"] == result.facts.scores["looks_believed"] == 2
    assert result.facts.scores["agreement"] > 0.9
    assert mask.evidence["agreement"] == result.facts.scores["agreement"]
    assert result.facts.device == {"segment": "cpu"}


def test_a_crop_that_is_nearly_the_frame_takes_no_second_pass_and_no_pixels(network: SaliencyNetwork) -> None:
    saliency = _disc(320, 150)
    detection = Detection(((10.0, 10.0, 590.0, 390.0),), (1.0,), saliency)
    segmenter = Segmenter(network, margin=0.1, localiser="u2netp", main_share=0.4)
    mask, scores = segmenter(_no_pixels, (400, 600), detection, 0)
    assert mask.window == (0, 0, 600, 400)
    np.testing.assert_allclose(mask.mask, saliency, atol=1)
    assert scores["looks"] == 1
    assert scores["second_pass"] == 0


def test_another_networks_map_is_never_taken_for_the_mask(network: SaliencyNetwork) -> None:
    detection = Detection(((0.0, 0.0, 600.0, 400.0),), (1.0,), _disc(320, 150))
    segmenter = Segmenter(network, margin=0.1, localiser="another")
    with pytest.raises(AssertionError, match="the photograph was decoded"):
        segmenter(_no_pixels, (400, 600), detection, 0)


def test_a_look_at_nothing_does_not_spoil_a_sure_one(network: SaliencyNetwork) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (400, 600, 3), dtype=np.uint8)
    detection = Detection(((200.0, 100.0, 400.0, 300.0),), (1.0,), _disc(320, 60))
    sure, scores = Segmenter(network, margin=0.1, localiser="u2netp")(lambda: noise, (400, 600), detection, 0)
    assert (scores["looks"], scores["looks_believed"]) == (2, 1), "a sharp disc, and fog in the crop of noise"
    assert scores["agreement"] < 0.5
    assert sure.window == (180, 80, 420, 320)
    assert np.count_nonzero((sure.mask > 12) & (sure.mask < 243)) < 0.2 * np.count_nonzero(sure.mask > 12)
    other, scores = Segmenter(network, margin=0.1, localiser="another")(lambda: noise, (400, 600), detection, 0)
    assert scores["looks"] == 1
    assert not np.array_equal(other.mask, sure.mask)


class _Says:
    """A second network that always says the same and counts how often it is asked."""

    def __init__(self, mask: npt.NDArray[np.uint8]) -> None:
        self.mask = mask
        self.asked = 0

    def __call__(self, image: Rgb) -> SaliencyMap:
        self.asked += 1
        return SaliencyMap(self.mask, 1.0, 0.0)


def test_the_second_network_is_asked_only_where_the_first_leaves_doubt(network: SaliencyNetwork) -> None:
    clear = _disc(320, 100)
    second = _Says(clear)

    def segment(saliency: npt.NDArray[np.uint8]) -> tuple[CropMask, dict[str, float]]:
        detection = Detection(((0.0, 0.0, 600.0, 400.0),), (1.0,), saliency)
        segmenter = Segmenter(
            network,
            margin=0.1,
            localiser="u2netp",
            main_share=0.4,
            second=second,  # type: ignore[arg-type]
            second_doubt=0.15,
        )
        return segmenter(lambda: np.zeros((400, 600, 3), np.uint8), (400, 600), detection, 0)

    _, scores = segment(clear)
    assert (second.asked, scores["second_network"]) == (0, 0)
    haze = np.maximum(clear, np.linspace(0, 120, 320).astype(np.uint8))
    mask, scores = segment(haze)
    assert (second.asked, scores["second_network"]) == (1, 1)
    assert mask.mask[0].max() < 5, "the sure second network is believed, not the haze"
    assert mask.evidence["second_network"] == 1


def test_what_is_another_thing_leaves_the_main_subjects_mask(network: SaliencyNetwork) -> None:
    saliency = np.zeros((320, 320), np.uint8)
    saliency[100:220, 100:220] = 255
    saliency[140:170, 280:310] = 255  # far from the middle, and small
    detection = Detection(((0.0, 0.0, 640.0, 640.0),), (1.0,), saliency)
    one, scores = Segmenter(network, margin=0.1, localiser="u2netp", main_share=0.4)(
        _no_pixels, (640, 640), detection, 0
    )
    assert one.window == (176, 176, 464, 464)
    assert scores["dropped"] == pytest.approx(900 / (900 + 14_400), abs=0.001)
    assert 0 < scores["several_subjects"] < 0.05
    both, _ = Segmenter(network, margin=0.1, localiser="u2netp", main_share=0.0)(_no_pixels, (640, 640), detection, 0)
    assert both.window[2] > 600


def test_each_subject_of_all_gets_the_window_of_its_own_box(
    load_stage: Callable[..., Stage], photos: dict[str, Photo]
) -> None:
    photo = photos["coffee"]
    detection = Detection(((90.0, 20.0, 300.0, 200.0), (300.0, 200.0, 500.0, 390.0)), (1.0, 1.0), None)
    stage = load_stage("segment", JobConfig(crop_margin=0.0, subjects="all"))
    results = stage([(photo, detection, 0), (photo, detection, 1)])
    windows = [result.output.window for result in results if isinstance(result, Done)]
    assert windows == [(90, 20, 300, 200), (300, 200, 500, 390)]


def test_the_full_frame_seen_through_a_window_is_that_part_of_it() -> None:
    saliency = _disc(320, 100)
    np.testing.assert_array_equal(on_crop(saliency, (0, 0, 640, 480), (480, 640), (320, 320)), saliency)
    part = on_crop(saliency, (160, 120, 480, 360), (480, 640), (320, 320))
    expected = cv2.resize(saliency[80:240, 80:240], (320, 320), interpolation=cv2.INTER_LINEAR)
    assert np.abs(part[4:-4, 4:-4].astype(int) - expected[4:-4, 4:-4]).max() <= 2


def test_agreement_is_one_for_the_same_and_nought_for_strangers() -> None:
    left, right = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    left[:, :2], right[:, 2:] = 200, 200
    assert agreement(left, left) == 1.0
    assert agreement(left, right) == 0.0
    assert agreement(left, np.full((4, 4), 200, np.uint8)) == 0.5
