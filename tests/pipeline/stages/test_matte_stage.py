"""The matte stage: what comes out at full size, in each form, and when it is not good enough."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import ConfigError
from mattemill.pipeline.photo import Photo
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.matte import MatteMaker
from mattemill.pipeline.stages.messages import CropMask, Cut, Detection
from mattemill.pipeline.stages.refine import GuidedRefiner
from mattemill.pipeline.stages.stage import Done, Failed, Stage

_WINDOW = (60, 40, 260, 200)
_DETECTION = Detection(((80.0, 60.0, 240.0, 180.0),), (1.0,))


def _shape(height: int, width: int) -> npt.NDArray[np.bool_]:
    """An ellipse in the window: where the subject really is."""
    y, x = np.mgrid[0:height, 0:width]
    return np.asarray(((x - 160) / 80) ** 2 + ((y - 120) / 60) ** 2 < 1)


@pytest.fixture(scope="module")
def red_on_blue() -> npt.NDArray[np.uint8]:
    """A red ellipse on blue, uint8 (240, 320, 3)."""
    return np.where(_shape(240, 320)[..., None], np.uint8([220, 30, 20]), np.uint8([20, 40, 200])).astype(np.uint8)


@pytest.fixture(scope="module")
def photo(red_on_blue: npt.NDArray[np.uint8], make_photo: Callable[[bytes], Photo]) -> Photo:
    file = io.BytesIO()
    Image.fromarray(red_on_blue).save(file, "PNG")
    return make_photo(file.getvalue())


def _mask(blur: float = 2.5) -> CropMask:
    """The ellipse as a network sees it: coarse, its edge soft and a little off."""
    import cv2

    x0, y0, x1, y1 = _WINDOW
    truth = _shape(240, 320)[y0:y1, x0:x1].astype(np.float32)
    coarse = cv2.resize(cv2.GaussianBlur(truth, (0, 0), blur), (80, 80), interpolation=cv2.INTER_AREA)
    return CropMask(_WINDOW, np.rint(coarse * 255).astype(np.uint8))


def _cut(stage: Stage, photo: Photo, *masks: CropMask) -> npt.NDArray[np.uint8]:
    result = stage([(photo, _DETECTION, list(masks))])[0]
    assert isinstance(result, Done), result
    assert isinstance(result.output, Cut)
    return result.output.pixels


def test_a_matte_follows_the_edge_of_the_photograph_better_than_the_mask(
    load_stage: Callable[..., Stage], photo: Photo
) -> None:
    truth = _shape(240, 320) * 255.0
    errors = {
        refine: np.abs(_cut(load_stage("matte", JobConfig(refine=refine)), photo, _mask()) - truth).mean()
        for refine in ("guided", "none")
    }
    assert errors["guided"] < 0.75 * errors["none"]


def test_what_lies_outside_every_window_is_nought(load_stage: Callable[..., Stage], photo: Photo) -> None:
    full = CropMask(_WINDOW, np.full((80, 80), 255, np.uint8))
    alpha = _cut(load_stage("matte", JobConfig(refine="none")), photo, full)
    assert alpha.dtype == np.uint8
    assert alpha.shape == (240, 320)
    x0, y0, x1, y1 = _WINDOW
    assert (alpha[y0:y1, x0:x1] == 255).all()
    alpha[y0:y1, x0:x1] = 0
    assert not alpha.any()


def test_sure_pixels_are_exactly_in_or_out_and_only_the_band_is_soft(
    load_stage: Callable[..., Stage], photo: Photo
) -> None:
    alpha = _cut(load_stage("matte"), photo, _mask())
    assert alpha[120, 160] == 255
    assert (alpha[100:140, 120:200] == 255).all()
    assert not alpha[:40].any()
    assert not alpha[:, 290:].any()


def test_a_mask_without_an_edge_stays_as_it_is() -> None:
    image = np.zeros((50, 60, 3), np.uint8)
    assert (GuidedRefiner()(image, np.ones((50, 60), np.float32)) == 1).all()
    assert not GuidedRefiner()(image, np.zeros((50, 60), np.float32)).any()


def test_a_cutout_has_the_subjects_own_colours_at_its_edge_and_is_not_premultiplied(
    load_stage: Callable[..., Stage], photo: Photo, red_on_blue: npt.NDArray[np.uint8]
) -> None:
    rgba = _cut(load_stage("matte", JobConfig(output="cutout")), photo, _mask())
    assert rgba.shape == (240, 320, 4)
    alpha = rgba[..., 3]
    np.testing.assert_array_equal(rgba[alpha == 255][:, :3], red_on_blue[alpha == 255])
    edge = rgba[(alpha > 64) & (alpha < 250)]
    assert len(edge) > 50
    assert edge[:, 0].mean() > 180, "red, neither darkened by alpha nor mixed with blue"
    assert edge[:, 2].mean() < 60


def test_a_composite_shows_the_colour_where_nothing_is(load_stage: Callable[..., Stage], photo: Photo) -> None:
    pixels = _cut(load_stage("matte", JobConfig(output="composite", background="#10ff80")), photo, _mask())
    assert pixels.shape == (240, 320, 3)
    assert pixels[5, 5].tolist() == [0x10, 0xFF, 0x80]
    assert pixels[120, 160].tolist() == [220, 30, 20]
    white = _cut(load_stage("matte", JobConfig(output="composite")), photo, _mask())
    assert white[5, 5].tolist() == [255, 255, 255]


def test_a_background_picture_covers_the_frame_and_keeps_its_middle(
    load_stage: Callable[..., Stage], photo: Photo, tmp_path: Path
) -> None:
    # 300 x 50: of 240 x 320 it covers the height, so only its middle 67 columns are seen, all of them green.
    stripe = np.zeros((50, 300, 3), np.uint8)
    stripe[:, :100], stripe[:, 100:200], stripe[:, 200:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(stripe).save(tmp_path / "stripe.png")
    config = JobConfig(output="composite", background=str(tmp_path / "stripe.png"))
    pixels = _cut(load_stage("matte", config), photo, _mask())
    for corner in ((0, 0), (0, 319), (239, 0), (239, 319)):
        assert pixels[corner].tolist() == [0, 255, 0]


def test_a_background_that_is_no_picture_is_told_before_the_first_photograph(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(ConfigError, match=r"background .*notes\.txt: cannot be used"):
        MatteMaker(JobConfig(output="composite", background=str(tmp_path / "notes.txt")))
    with pytest.raises(ConfigError, match=r"background .*missing\.png: cannot be used"):
        MatteMaker(JobConfig(output="composite", background=str(tmp_path / "missing.png")))


def test_fog_is_low_confidence_with_a_preview_and_its_scores(load_stage: Callable[..., Stage], photo: Photo) -> None:
    fog = CropMask(_WINDOW, np.full((80, 80), 120, np.uint8))
    result = load_stage("matte")([(photo, _DETECTION, [fog]), (photo, _DETECTION, [_mask()])])
    assert isinstance(result[0], Failed)
    failure = result[0].failure
    assert failure.reason is Reason.LOW_CONFIDENCE
    assert failure.stage == "matte"
    assert failure.preview is not None
    assert len(failure.preview) <= 10_240
    assert failure.facts.scores["soft_of_subject"] == 1.0
    assert failure.facts.scores["confidence"] < 0.35
    assert isinstance(result[1], Done), "the neighbour is cut"


def test_a_threshold_of_nought_lets_everything_through(load_stage: Callable[..., Stage], photo: Photo) -> None:
    fog = CropMask(_WINDOW, np.full((80, 80), 120, np.uint8))
    result = load_stage("matte", JobConfig(confidence_threshold=0.0))([(photo, _DETECTION, [fog])])[0]
    assert isinstance(result, Done)
    assert result.facts.scores["confidence"] < 0.35
