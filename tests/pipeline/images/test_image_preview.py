from __future__ import annotations

import io

import numpy as np
import pytest
from odd_images import photograph, subject_mask
from PIL import Image

from mattemill.pipeline.images.preview import MAX_PREVIEW_BYTES, preview_jpeg


@pytest.mark.parametrize("shape", [(1, 1), (360, 480), (3000, 4000), (10, 30_000), (30_000, 10), (257, 255)])
@pytest.mark.parametrize("kind", ["noise", "photograph"])
def test_a_preview_is_a_small_jpeg_of_the_right_shape_whatever_the_picture(shape: tuple[int, int], kind: str) -> None:
    height, width = shape
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    rgb = noise if kind == "noise" else photograph(width, height)
    for alpha in (None, np.full(shape, 0.5, np.float32)):
        data = preview_jpeg(rgb, alpha)
        image = Image.open(io.BytesIO(data))
        image.load()
        assert len(data) <= MAX_PREVIEW_BYTES
        assert image.format == "JPEG"
        assert max(image.size) == min(256, max(shape)) or kind == "noise"
        assert image.width * height == pytest.approx(image.height * width, abs=max(shape))


def test_noise_that_no_quality_makes_small_is_made_smaller() -> None:
    noise = np.random.default_rng(1).choice(np.array([0, 255], np.uint8), (256, 256, 3))
    assert len(preview_jpeg(noise)) <= MAX_PREVIEW_BYTES


def test_with_an_alpha_the_cut_is_shown_on_magenta() -> None:
    alpha = (subject_mask() > 0).astype(np.float32)
    pixels = np.asarray(Image.open(io.BytesIO(preview_jpeg(photograph(), alpha))).convert("RGB")).astype(int)
    assert np.abs(pixels[5, 5] - [255, 0, 255]).max() < 12
    assert np.abs(pixels[pixels.shape[0] * 7 // 10, pixels.shape[1] // 2] - [196, 44, 40]).max() < 25
