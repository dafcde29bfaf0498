from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from mattemill.kernels.network_input import network_input, resize_for_network

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(height: int, width: int) -> np.ndarray:
    """Noise of two sizes, a little blurred as photographs are."""
    rng = np.random.default_rng(1)
    fine = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3)).astype(np.float32), (0, 0), 1.0)
    coarse = cv2.resize(rng.integers(0, 256, (9, 9, 3)).astype(np.float32), (width, height))
    return np.clip(0.25 * fine + 0.75 * coarse, 0, 255).astype(np.uint8)


def test_it_is_what_rembg_feeds_to_u2net() -> None:
    image = noise(350, 500)
    small = np.asarray(Image.fromarray(image).resize((320, 320), Image.Resampling.LANCZOS)).astype(np.float64)
    scaled = small / max(small.max(), 1e-6)
    expected = np.stack([(scaled[..., c] - MEAN[c]) / STD[c] for c in range(3)])[None]
    out = network_input(image, (320, 320), divisor=None, mean=MEAN, std=STD)
    assert out.dtype == np.float32
    assert out.shape == (1, 3, 320, 320)
    assert out.flags.c_contiguous
    assert np.abs(out - expected).max() < 1e-5


def test_bgr_swaps_the_channels_and_mean_and_std_follow_the_networks_order() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:] = (10, 20, 30)
    out = network_input(image, (8, 8), divisor=1.0, mean=(1, 2, 3), std=(2, 4, 8), bgr=True, resample="linear")
    assert out[0, :, 0, 0].tolist() == [(30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8]


def test_an_all_black_image_is_finite() -> None:
    out = network_input(np.zeros((50, 60, 3), np.uint8), (16, 16), divisor=None, mean=MEAN, std=STD)
    assert np.allclose(out[0, :, 0, 0], [-m / s for m, s in zip(MEAN, STD, strict=True)])


@pytest.mark.parametrize("shape", [(1224, 1632), (1223, 1631), (3000, 4000), (967, 331)])
def test_a_large_reduction_stays_within_half_a_grey_level_of_plain_lanczos(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    plain = np.asarray(Image.fromarray(image).resize((320, 320), Image.Resampling.LANCZOS)).astype(np.int16)
    ours = resize_for_network(image, (320, 320)).astype(np.int16)
    assert np.abs(ours - plain).mean() < 0.6
    assert abs(float((ours - plain).mean())) < 0.25


def test_a_large_reduction_does_not_shift_the_picture() -> None:
    # Sizes that blocks do not divide: a ramp keeps its values where the geometry is kept.
    ramp = np.linspace(0, 255, 2047)[None, :, None].repeat(997, axis=0).repeat(3, axis=2)
    ramp = np.rint(ramp).astype(np.uint8)
    out = resize_for_network(ramp, (320, 320))[160, :, 0].astype(np.float64)
    expected = ((np.arange(320) + 0.5) / 320 * 2047 - 0.5) / 2046 * 255
    assert np.abs(out - expected)[4:-4].max() < 1.1


def test_area_is_the_mean_of_what_a_pixel_covers() -> None:
    image = noise(64, 64)
    out = resize_for_network(image, (16, 16), "area")
    expected = image.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(out - expected).max() <= 0.51
