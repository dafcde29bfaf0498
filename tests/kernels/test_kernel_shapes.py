"""Every kernel on sizes that break careless code: one pixel, odd, a strip, views that are not contiguous."""

from __future__ import annotations

import numpy as np
import pytest

from mattemill.kernels.alpha_stats import alpha_stats
from mattemill.kernels.components import components
from mattemill.kernels.compose import alpha_bytes, compose_over, compose_rgba
from mattemill.kernels.foreground import estimate_foreground
from mattemill.kernels.guided_filter import guided_filter
from mattemill.kernels.letterbox import letterbox
from mattemill.kernels.network_input import network_input
from mattemill.kernels.paste import paste_masks
from mattemill.kernels.png_up import png_up
from mattemill.kernels.trimap import trimap

SHAPES = [(1, 1), (1, 7), (7, 1), (2, 2), (4, 1), (33, 47), (10, 30_000), (30_000, 10)]


def inputs(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A photograph and an alpha with soft, sure and empty parts."""
    rng = np.random.default_rng(height * 100_003 + width)
    alpha = np.clip(rng.random((height, width)) * 2 - 0.5, 0, 1).astype(np.float32)
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8), alpha


def everything(image: np.ndarray, alpha: np.ndarray) -> dict[str, np.ndarray]:
    """What every kernel makes of it, by name."""
    height, width = alpha.shape
    as_bytes = alpha_bytes(alpha)
    return {
        "letterbox": letterbox(image, (64, 96), 114)[0],
        "lanczos": network_input(image, (32, 32), divisor=None, mean=(0.5,) * 3, std=(0.2,) * 3),
        "linear": network_input(image, (32, 32), divisor=255, mean=(0.5,) * 3, std=(0.2,) * 3, resample="linear"),
        "area": network_input(image, (32, 32), divisor=255, mean=(0.5,) * 3, std=(0.2,) * 3, resample="area"),
        "paste": paste_masks([(as_bytes[:64, :64], (0, 0, width, height))], (height, width)),
        "trimap": trimap(alpha, 3),
        "wide_trimap": trimap(alpha, 0.01 * max(height, width) + 20),
        "guided_grey": guided_filter(image[..., 0], alpha, 4, 1e-4),
        "guided_colour": guided_filter(image, alpha, 9, 1e-4, subsample=4),
        "foreground": estimate_foreground(image, alpha),
        "rgba": compose_rgba(image, alpha),
        "over": compose_over(image, alpha, np.array([1, 2, 3], np.uint8)),
        "up": png_up(image),
        "bytes": as_bytes,
        "stats": np.array(list(alpha_stats(alpha).values())),
        "components": np.array([[*box, mass, peak] for box, mass, peak in components(alpha[:99, :99], 0.5, 0.0)]),
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_every_size_gives_finite_results_of_the_right_shape(shape: tuple[int, int]) -> None:
    image, alpha = inputs(*shape)
    results = everything(image, alpha)
    assert all(np.isfinite(result).all() for result in results.values())
    for name in ("paste", "trimap", "wide_trimap", "guided_grey", "guided_colour", "bytes"):
        assert results[name].shape == shape, name
    assert results["foreground"].shape == results["over"].shape == (*shape, 3)
    assert results["rgba"].shape == (*shape, 4)


@pytest.mark.parametrize("turn", ["flipped", "every second", "crop", "read-only"])
def test_views_give_what_their_contiguous_copies_give(turn: str) -> None:
    image, alpha = inputs(90, 70)
    if turn == "flipped":
        image, alpha = image[:, ::-1, ::-1], alpha[:, ::-1]
    elif turn == "every second":
        image, alpha = image[::2, ::2], alpha[::2, ::2]
    elif turn == "crop":
        image, alpha = image[11:60, 13:62], alpha[11:60, 13:62]
    else:
        image.flags.writeable = alpha.flags.writeable = False
    copies = everything(np.array(image, order="C"), np.array(alpha, order="C"))
    for name, result in everything(image, alpha).items():
        assert np.array_equal(result, copies[name]), name
