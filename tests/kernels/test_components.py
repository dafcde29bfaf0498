from __future__ import annotations

import numpy as np
import pytest

from mattemill.kernels.components import components


def two_parts() -> np.ndarray:
    soft = np.zeros((20, 30), np.float32)
    soft[2:6, 3:9] = 0.6  # 24 px, mass 14.4
    soft[10:18, 15:25] = 0.9  # 80 px, mass 72
    soft[12, 20] = 1.0
    return soft


def test_parts_come_as_boxes_with_mass_and_peak_largest_first() -> None:
    first, second = components(two_parts(), 0.5, 0.0)
    assert first[0] == (15, 10, 25, 18)
    assert first[1] == pytest.approx(72.1, abs=1e-3)
    assert first[2] == 1.0
    assert second[0] == (3, 2, 9, 6)
    assert second[1] == pytest.approx(14.4, abs=1e-3)
    assert second[2] == pytest.approx(0.6)


def test_dust_is_left_out_by_its_share_of_the_mass() -> None:
    assert len(components(two_parts(), 0.5, 0.16)) == 2
    assert len(components(two_parts(), 0.5, 0.17)) == 1


def test_bytes_count_as_value_over_255() -> None:
    soft = two_parts()
    as_bytes = np.rint(soft * 255).astype(np.uint8)
    for (box, mass, peak), (byte_box, byte_mass, byte_peak) in zip(
        components(soft, 0.5, 0.0), components(as_bytes, 0.5, 0.0), strict=True
    ):
        assert byte_box == box
        assert byte_mass == pytest.approx(mass, rel=0.01)
        assert byte_peak == pytest.approx(peak, abs=0.002)


def test_nothing_over_the_threshold_is_no_part() -> None:
    assert components(np.full((8, 8), 0.4, np.float32), 0.5, 0.0) == []


def test_pixels_that_touch_at_a_corner_are_one_part() -> None:
    soft = np.eye(6, dtype=np.float32)
    assert [part[0] for part in components(soft, 0.5, 0.0)] == [(0, 0, 6, 6)]


def test_a_peak_is_that_of_the_part_and_not_of_a_neighbour_in_its_box() -> None:
    soft = np.zeros((9, 9), np.float32)
    soft[0, :] = soft[:, 0] = 0.6  # an L whose box holds everything
    soft[4, 4] = 1.0
    assert [part[2] for part in components(soft, 0.5, 0.0)] == pytest.approx([0.6, 1.0])
