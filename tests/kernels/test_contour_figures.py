"""Where a contour lies: on edges or off them, between unlike or like colours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mattemill.kernels.contour_figures import contour_figures


def _square(left: int = 60, side: int = 80) -> npt.NDArray[np.bool_]:
    inside = np.zeros((200, 200), np.bool_)
    inside[60:140, left : left + side] = True
    return inside


def _photo(colour: tuple[int, int, int], ground: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    return np.where(_square()[..., None], np.uint8(colour), np.uint8(ground)).astype(np.uint8)


def test_a_contour_on_the_edges_is_supported_and_a_shifted_one_less() -> None:
    photo = _photo((200, 30, 30), (20, 20, 120))
    on = contour_figures(photo, _square().astype(np.float32))
    off = contour_figures(photo, _square(left=40, side=140).astype(np.float32))
    assert on["edge_support"] > 0.95
    assert off["edge_support"] < on["edge_support"] - 0.05
    assert on["low_contrast"] < 0.01
    assert off["low_contrast"] > 0.4


def test_white_on_white_has_little_contrast() -> None:
    mask = _square().astype(np.float32)
    low = contour_figures(_photo((250, 250, 250), (246, 246, 246)), mask)
    high = contour_figures(_photo((250, 250, 250), (20, 20, 20)), mask)
    assert low["contrast"] < 5 < 100 < high["contrast"]
    assert (low["low_contrast"], high["low_contrast"]) == (1.0, 0.0)


def test_what_is_soft_deep_inside_is_told_from_a_soft_edge() -> None:
    photo = _photo((200, 30, 30), (20, 20, 120))
    glass = _square() * np.float32(0.6)
    edge = _square().astype(np.float32)
    edge[60:63], edge[137:140] = edge[60:63] * 0.6, edge[137:140] * 0.6
    assert contour_figures(photo, glass)["translucent"] > 0.7
    assert contour_figures(photo, edge)["translucent"] < 0.1


def test_fragments_are_what_lies_outside_the_largest_part() -> None:
    mask = _square().astype(np.float32)
    mask[150:190, 60:100] = 1.0
    assert abs(contour_figures(_photo((9, 9, 9), (90, 9, 9)), mask)["fragments"] - 1600 / 8000) < 1e-6


def test_without_a_contour_there_is_nothing_to_see() -> None:
    photo = _photo((9, 9, 9), (90, 9, 9))
    for mask in (np.zeros((200, 200), np.float32), np.ones((200, 200), np.float32)):
        assert contour_figures(photo, mask)["edge_support"] == 0.0
        assert contour_figures(photo, mask)["low_contrast"] == 1.0
