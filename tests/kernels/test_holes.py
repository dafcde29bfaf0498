"""False holes are filled whole; rings, letters and mesh keep theirs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from finishing_shapes import RED, WHITE, blurred, distance, photograph

from mattemill.kernels.holes import fill_holes


def ring(height: int = 240, width: int = 320, inner: float = 40) -> np.ndarray:
    away = distance(height, width, width / 2, height / 2)
    return blurred((away < 80) & (away > inner))


def disc(height: int = 240, width: int = 320) -> np.ndarray:
    return blurred(distance(height, width, width / 2, height / 2) < 80)


def letters() -> np.ndarray:
    canvas = np.zeros((200, 560), np.uint8)
    cv2.putText(canvas, "BODega8", (20, 140), cv2.FONT_HERSHEY_DUPLEX, 4, 255, 12, cv2.LINE_AA)
    return blurred(canvas > 127)


def mesh(cell: int) -> np.ndarray:
    y, x = np.mgrid[0:240, 0:320]
    threads = (x % cell < 3) | (y % cell < 3)
    inside = (np.abs(x - 160) < 120) & (np.abs(y - 120) < 90)
    frame = inside & ((np.abs(x - 160) > 108) | (np.abs(y - 120) > 78))
    return blurred((threads & inside) | frame, 0.7)


@pytest.mark.parametrize("inner", [3, 12, 40, 70])
def test_a_ring_keeps_its_hole(inner: float) -> None:
    alpha = ring(inner=inner)
    out, filled = fill_holes(photograph(alpha), alpha)
    assert filled == 0
    assert out is alpha


@pytest.mark.parametrize("inner", [3, 12, 40])
def test_a_hole_through_which_the_subject_shows_is_filled_whole(inner: float) -> None:
    out, filled = fill_holes(photograph(disc()), ring(inner=inner))
    assert filled == 1
    assert (out[distance(240, 320, 160, 120) < 75] > 0.9999).all()
    edge = distance(240, 320, 160, 120) > 78
    assert np.array_equal(out[edge], ring(inner=inner)[edge]), "the outer edge is as it was"


def test_letters_keep_their_counters() -> None:
    alpha = letters()
    assert fill_holes(photograph(alpha), alpha)[1] == 0


@pytest.mark.parametrize("cell", [7, 12, 30])
def test_a_mesh_stays_a_mesh(cell: int) -> None:
    alpha = mesh(cell)
    assert fill_holes(photograph(alpha, subject=(60, 60, 65)), alpha)[1] == 0


def test_of_a_real_and_a_false_hole_in_one_subject_only_the_false_one_is_filled() -> None:
    real = blurred((distance(240, 320, 160, 120) < 100) & (distance(240, 320, 120, 120) > 20))
    matte = real * (1 - blurred(distance(240, 320, 210, 120) < 20))
    out, filled = fill_holes(photograph(real), matte)
    assert filled == 1
    assert out[120, 210] == 1
    assert out[120, 120] < 0.01


def test_a_hole_in_a_white_body_on_white_is_filled_when_nothing_is_seen_there() -> None:
    image = photograph(disc(), subject=(236, 236, 236), ground=WHITE)
    assert fill_holes(image, ring())[1] == 1


def test_the_hole_of_a_white_ring_on_white_is_kept_when_its_rim_is_seen() -> None:
    alpha = ring()
    image = photograph(alpha, subject=(222, 222, 225), ground=WHITE)
    assert fill_holes(image, alpha)[1] == 0


def test_the_ground_in_the_shadow_of_a_handle_is_still_the_ground() -> None:
    alpha = ring()
    ground = np.where(distance(240, 320, 160, 120)[..., None] < 60, 0.8, 1.0) * np.array(WHITE)
    image = (alpha[..., None] * np.array(RED) + (1 - alpha[..., None]) * ground).astype(np.uint8)
    assert fill_holes(image, alpha)[1] == 0


def test_a_textured_body_is_filled_and_its_textured_background_is_not_taken_for_it() -> None:
    rng = np.random.default_rng(5)
    coarse = rng.uniform(0, 1, (30, 40, 1)).astype(np.float32)
    spots = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)[..., None]
    fabric = np.clip(np.array([30, 60, 140]) + 60 * spots, 0, 255)
    leaves = np.clip(np.array([60, 110, 40]) + 80 * spots, 0, 255)

    def shot(alpha: np.ndarray) -> np.ndarray:
        return np.clip(alpha[..., None] * fabric + (1 - alpha[..., None]) * leaves, 0, 255).astype(np.uint8)

    assert fill_holes(shot(disc()), ring())[1] == 1
    assert fill_holes(shot(ring()), ring())[1] == 0


def test_what_the_frame_cuts_off_is_no_hole() -> None:
    away = distance(240, 320, 160, 0)
    arch = blurred((away < 100) & (away > 40))
    assert fill_holes(photograph(np.ones_like(arch)), arch)[1] == 0


def test_without_any_background_only_what_nothing_separates_is_filled() -> None:
    alpha = 1 - blurred(distance(240, 320, 160, 120) < 30)
    assert fill_holes(photograph(np.ones_like(alpha)), alpha)[1] == 1
    assert fill_holes(photograph(alpha), alpha)[1] == 0


def test_the_input_is_not_changed() -> None:
    alpha = ring()
    before = alpha.copy()
    fill_holes(photograph(disc()), alpha)
    assert np.array_equal(alpha, before)
