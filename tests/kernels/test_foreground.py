from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mattemill.kernels.foreground import estimate_foreground

EVALDATA = Path(__file__).parents[3] / "shared" / "evaldata"


def disc(height: int = 240, width: int = 320, soft: float = 6.0) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    distance = np.hypot(x - width / 2, y - height / 2) - 0.3 * height
    return np.clip(0.5 - distance / (2 * soft), 0, 1).astype(np.float32)


def mix(front: np.ndarray, back: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.rint(alpha[..., None] * front + (1 - alpha[..., None]) * back).astype(np.uint8)


def error(found: np.ndarray, truth: np.ndarray, alpha: np.ndarray) -> float:
    """Mean grey levels by which a pixel of the band is off once it is laid over something."""
    band = (alpha > 0.02) & (alpha < 0.98)
    return float((np.abs(found.astype(np.float64) - truth).mean(axis=2) * alpha)[band].mean())


def test_plain_colours_are_found_to_within_two_levels() -> None:
    alpha = disc()
    front = np.empty((240, 320, 3))
    front[:] = (190, 40, 30)
    back = np.empty_like(front)
    back[:] = (30, 160, 220)
    found = estimate_foreground(mix(front, back, alpha), alpha)
    visible = alpha > 0.2
    assert np.abs(found - front)[visible].max() < 12
    assert error(found, front, alpha) < 2


def test_where_alpha_is_1_the_photograph_stays_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    alpha = disc()
    assert np.array_equal(estimate_foreground(image, alpha)[alpha == 1], image[alpha == 1])


def test_beyond_the_edge_lie_the_subjects_colours_and_not_the_backgrounds() -> None:
    alpha = disc()
    front, back = np.full((240, 320, 3), 200.0), np.full((240, 320, 3), 20.0)
    found = estimate_foreground(mix(front, back, alpha), alpha)
    just_outside = (alpha == 0) & (cv2.dilate(alpha, np.ones((9, 9), np.uint8)) > 0)
    assert found[just_outside].min() > 150


@pytest.mark.parametrize("scale", [1, 5])
def test_the_fringe_is_much_smaller_than_without_an_estimate(scale: int) -> None:
    """Colours that vary on both sides, at a size that is solved whole and at one that is solved smaller."""
    rng = np.random.default_rng(2)
    height, width = 240 * scale, 320 * scale
    alpha = disc(height, width, 8.0 * scale)

    def texture() -> np.ndarray:
        return cv2.resize(rng.integers(0, 256, (4, 5, 3)).astype(np.float32), (width, height)).clip(0, 255)

    front, back = texture(), texture()
    image = mix(front, back, alpha)
    assert error(estimate_foreground(image, alpha), front, alpha) < 0.35 * error(image, front, alpha)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_an_alpha_without_edges_gives_finite_colours(value: float) -> None:
    image = np.random.default_rng(3).integers(0, 256, (33, 17, 3)).astype(np.uint8)
    out = estimate_foreground(image, np.full((33, 17), value, np.float32))
    assert out.shape == image.shape
    if value == 1.0:
        assert np.array_equal(out, image)


def hair(height: int = 400, width: int = 500) -> np.ndarray:
    """A disc with strands of hair of one to two pixels."""
    rng = np.random.default_rng(11)
    canvas = (disc(height, width, 2.0) * 255).astype(np.uint8)
    for turn in rng.uniform(0, 2 * np.pi, 150):
        reach = rng.uniform(0.36, 0.46) * height
        ends = [(width / 2 + r * np.cos(turn), height / 2 + r * np.sin(turn)) for r in (0.28 * height, reach)]
        (x0, y0), (x1, y1) = ((round(x * 16), round(y * 16)) for x, y in ends)
        cv2.line(canvas, (x0, y0), (x1, y1), int(rng.uniform(100, 255)), int(rng.integers(1, 3)), cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / 255


@pytest.mark.slow  # numba compiles for 10 to 30 seconds where its cache is cold
@pytest.mark.parametrize("scale", [1, 3])
def test_colours_are_as_near_to_the_truth_as_pymattings_multi_level_ones(scale: int) -> None:
    """Germer et al.'s own code on the same photograph and alpha, at a size solved whole and at one solved smaller."""
    pymatting = pytest.importorskip("pymatting", reason="needs pymatting (pip install 'mattemill[dev]')")
    rng = np.random.default_rng(4)
    for alpha in (disc(240 * scale, 320 * scale, 8.0 * scale), hair(400 * scale, 500 * scale)):
        height, width = alpha.shape
        front, back = (
            cv2.resize(rng.integers(0, 256, (6, 8, 3)).astype(np.float32), (width, height)).clip(0, 255)
            for _ in range(2)
        )
        image = mix(front, back, alpha)
        theirs = pymatting.estimate_foreground_ml(image / 255.0, alpha.astype(np.float64)) * 255
        ours = estimate_foreground(image, alpha)
        assert error(ours, front, alpha) < 1.25 * error(theirs, front, alpha)
        band = (alpha > 0.02) & (alpha < 0.98)
        apart = np.abs(ours.astype(np.float64) - theirs).mean(axis=2) * alpha
        assert apart[band].mean() < 5, "and near to each other"


@pytest.mark.skipif(not EVALDATA.is_dir(), reason="needs the evaluation data in ../shared/evaldata")
def test_real_mattes_over_known_colours_have_less_than_a_third_of_the_fringe() -> None:
    """Real alphas (hair, fur), the colours of other photographs before and behind them, so that the truth is known."""
    alphas = sorted((EVALDATA / "alphamatting27" / "alpha").glob("*.png"))[:6]
    photographs = sorted((EVALDATA / "am2k_samples" / "image").iterdir())
    with_estimate, without = [], []
    for number, path in enumerate(alphas):
        alpha = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        size = alpha.shape[::-1]
        front = cv2.GaussianBlur(cv2.resize(cv2.imread(str(photographs[number])), size), (0, 0), 3)
        back = cv2.resize(cv2.imread(str(photographs[number - 1])), size)
        image = mix(front.astype(np.float64), back.astype(np.float64), alpha)
        with_estimate.append(error(estimate_foreground(image, alpha), front, alpha))
        without.append(error(image, front, alpha))
    assert np.mean(with_estimate) < 0.3 * np.mean(without)
