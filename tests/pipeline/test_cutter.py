"""One photograph in, its cut and scores out, without Ray."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.cutter import CutFailedError, Cutter
from mattemill.pipeline.errors import ImageError
from mattemill.pipeline.reasons import Reason


@pytest.fixture(scope="module")
def cutter(u2netp: Path) -> Cutter:
    return Cutter()


def _png(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_the_encoded_file_holds_the_pixels_and_the_facts_say_what_was_done(cutter: Cutter, sample_photos: Path) -> None:
    cutting = cutter.cut((sample_photos / "coffee.webp").read_bytes())
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(cutting.encoded))), cutting.pixels)
    assert cutting.pixels.shape == (400, 600)
    assert (cutting.facts.width, cutting.facts.height, cutting.facts.format) == (600, 400, "webp")
    assert cutting.facts.scores["confidence"] > 0.8
    assert 0.4 < (cutting.pixels >= 128).mean() < 0.55


def test_a_webp_cutout_comes_back_with_its_colours(sample_photos: Path, u2netp: Path) -> None:
    cutting = Cutter(JobConfig(output="cutout", format="webp")).cut((sample_photos / "coffee.webp").read_bytes())
    read = Image.open(io.BytesIO(cutting.encoded))
    assert read.format == "WEBP"
    np.testing.assert_array_equal(np.asarray(read), cutting.pixels)


def test_the_same_photograph_gives_the_same_bytes(cutter: Cutter, sample_photos: Path) -> None:
    data = (sample_photos / "rocket-cmyk.jpg").read_bytes()
    loose = Cutter(JobConfig(confidence_threshold=0.0))
    assert loose.cut(data).encoded == loose.cut(data).encoded


@pytest.mark.parametrize(
    ("name", "reason"), [("gravel.jpg", Reason.NO_SUBJECT), ("temple-cut-off.jpg", Reason.TRUNCATED)]
)
def test_a_photograph_that_cannot_be_cut_raises_its_reason(
    name: str, reason: Reason, cutter: Cutter, sample_photos: Path
) -> None:
    with pytest.raises(ImageError) as failed:
        cutter.cut((sample_photos / name).read_bytes())
    assert failed.value.reason is reason


def test_the_error_keeps_the_failure_through_a_pickle(cutter: Cutter, sample_photos: Path) -> None:
    with pytest.raises(CutFailedError) as failed:
        cutter.cut((sample_photos / "gravel.jpg").read_bytes())
    again = pickle.loads(pickle.dumps(failed.value))
    assert again.failure == failed.value.failure
    assert again.failure.preview


def test_what_is_no_image_or_too_large_is_refused_by_its_header(cutter: Cutter, u2netp: Path) -> None:
    with pytest.raises(ImageError) as failed:
        cutter.cut(b"a text that pretends")
    assert failed.value.reason is Reason.UNSUPPORTED_TYPE
    small = Cutter(JobConfig(max_pixels=99))
    with pytest.raises(ImageError) as failed:
        small.cut(_png(np.zeros((10, 10, 3), np.uint8)))
    assert failed.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("shape", [(1, 1), (10, 30_000), (30_000, 10), (1, 500), (2, 2)])
def test_absurd_shapes_have_a_defined_end(shape: tuple[int, int], u2netp: Path) -> None:
    loose = Cutter(JobConfig(subject_threshold=0.0, confidence_threshold=0.0, output="cutout"))
    pixels = np.full((*shape, 3), 240, np.uint8)
    pixels[shape[0] // 3 : 2 * shape[0] // 3 + 1, shape[1] // 3 : 2 * shape[1] // 3 + 1] = (200, 20, 20)
    ended: object
    try:
        ended = loose.cut(_png(pixels)).pixels.shape
    except CutFailedError as failed:
        ended = failed.reason
    assert ended in ((*shape, 4), Reason.NO_SUBJECT)
