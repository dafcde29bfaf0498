"""A photograph's own contact shadow is found on light ground, a drawn one lies where the subject stands."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from finishing_shapes import blurred, distance

from mattemill.kernels.compose import compose_over
from mattemill.kernels.shadow import drawn_shadow, kept_shadow, lay_under


def standing() -> np.ndarray:
    """A box of 120 x 160 that stands at row 300 of a frame of 400 x 400."""
    mask = np.zeros((400, 400), bool)
    mask[140:300, 140:260] = True
    return blurred(mask)


def cast() -> np.ndarray:
    """A soft shadow to the right of its foot: up to 0.45 at the contact."""
    y, x = np.mgrid[0:400, 0:400]
    return (0.45 * np.exp(-(((x - 225) / 70.0) ** 2) - ((y - 302) / 14.0) ** 2)).astype(np.float32)


def shot(shadow: np.ndarray, ground: float = 235.0, noise: float = 1.5) -> np.ndarray:
    """The box on a sweep whose light falls off, with the shadow."""
    y, x = np.mgrid[0:400, 0:400]
    light = ground * (1 - 0.10 * ((x - 170) / 400.0) ** 2 - 0.06 * (y / 400.0))
    back = (light * (1 - shadow))[..., None] * np.array([1.0, 1.0, 0.985])
    alpha = standing()[..., None]
    mixed = alpha * np.array([40, 90, 130]) + (1 - alpha) * back
    return np.clip(mixed + np.random.default_rng(3).normal(0, noise, mixed.shape), 0, 255).astype(np.uint8)


def test_the_photographs_own_shadow_is_found_where_it_is_and_as_dark_as_it_is() -> None:
    found = kept_shadow(shot(cast()), standing())
    seen = (standing() < 0.01) & (cast() > 0.08)
    assert np.abs(found - cast())[seen].mean() < 0.03
    assert found[302, 270] == pytest.approx(cast()[302, 270], abs=0.05)


def test_a_ground_without_a_shadow_gives_none() -> None:
    assert kept_shadow(shot(np.zeros((400, 400), np.float32)), standing()).max() < 0.02


def test_over_the_old_ground_a_kept_shadow_looks_like_the_photograph() -> None:
    photo, alpha = shot(cast(), noise=0.5), standing()
    front, joined = lay_under(photo, alpha, kept_shadow(photo, alpha))
    clean = shot(np.zeros((400, 400), np.float32), noise=0.0)
    laid = compose_over(front, joined, clean)
    ground = alpha < 0.01
    assert np.abs(laid.astype(float) - photo)[ground].mean() < 2.0


def test_the_shadow_goes_on_under_the_soft_edge_without_a_light_line() -> None:
    found = kept_shadow(shot(cast()), standing())
    column = found[292:312, 225]
    assert column.min() > 0.25


@pytest.mark.parametrize("ground", [30.0, 90.0])
def test_a_dark_ground_gives_no_shadow(ground: float) -> None:
    assert not kept_shadow(shot(cast(), ground), standing()).any()


def test_a_busy_ground_gives_no_shadow() -> None:
    patches = np.random.default_rng(0).uniform(60, 255, (12, 12, 3)).astype(np.float32)
    busy = cv2.resize(patches, (400, 400), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    assert not kept_shadow(busy, standing()).any()


def test_a_dark_thing_far_from_the_subject_is_no_shadow_of_it() -> None:
    stain = 0.4 * blurred(distance(400, 400, 370, 380) < 12)
    found = kept_shadow(shot(stain), standing())
    assert found.max() < 0.02


def test_a_kept_shadow_fades_out_at_the_frame() -> None:
    y, x = np.mgrid[0:400, 0:400]
    long = (0.3 * np.exp(-(((y - 302) / 14.0) ** 2)) * (x > 200)).astype(np.float32)
    assert kept_shadow(shot(long), standing())[:, -1].max() < 0.02


def test_a_drawn_shadow_is_darkest_at_the_foot_and_gone_at_the_top() -> None:
    shade = drawn_shadow(standing())
    assert shade[299:302, 160:240].min() > 0.5
    assert shade[299:302, 160:240].min() > 3 * shade[306, 200] > 0.1
    assert not (shade[:200] > 0.02).any()
    assert np.abs(shade[:, 140:260] - shade[:, 140:260][:, ::-1]).max() < 0.03, "as even as the subject"


def test_what_does_not_touch_the_ground_has_a_fainter_shadow_than_what_does() -> None:
    mask = np.zeros((400, 400), bool)
    mask[100:200, 100:300] = True  # a table top
    mask[200:320, 100:116] = True
    mask[200:320, 284:300] = True  # its two legs
    shade = drawn_shadow(blurred(mask))
    assert shade[322, 108] > 1.5 * shade[322, 200]
    assert shade[205, 200] < 0.1, "none right under the table top"


def test_no_subject_has_no_shadow() -> None:
    empty = np.zeros((40, 50), np.float32)
    assert not drawn_shadow(empty).any()
    assert not kept_shadow(np.full((40, 50, 3), 230, np.uint8), empty).any()


def test_a_shadow_lies_under_the_subject_and_is_black() -> None:
    front = np.full((1, 4, 3), 200, np.uint8)
    alpha = np.array([[1.0, 0.5, 0.0, 0.0]], np.float32)
    shadow = np.array([[0.6, 0.6, 0.6, 0.0]], np.float32)
    colours, joined = lay_under(front, alpha, shadow)
    np.testing.assert_allclose(joined, [[1.0, 0.8, 0.6, 0.0]], atol=1e-6)
    assert colours[0, :, 0].tolist() == [200, 125, 0, 200]
    on_white = compose_over(colours, joined, np.uint8([255, 255, 255]))[0, :, 0]
    assert on_white.tolist() == [200, 151, 102, 255]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (10, 3000), (3000, 10)])
def test_every_size_is_finite(shape: tuple[int, int]) -> None:
    alpha = np.ones(shape, np.float32)
    alpha[:, : shape[1] // 2] = 0
    for out in (drawn_shadow(alpha), kept_shadow(np.full((*shape, 3), 230, np.uint8), alpha)):
        assert out.shape == shape
        assert np.isfinite(out).all()
