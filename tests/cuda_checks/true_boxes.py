"""true_boxes.cu against NumPy."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import SIZES

from mattemill.kernels.crop import Window
from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.true_boxes import true_boxes


def expected(mask: np.ndarray, window: Window) -> Window | None:
    x0, y0, x1, y1 = window
    rows, columns = np.nonzero(mask[y0:y1, x0:x1])
    if not len(rows):
        return None
    return (
        x0 + int(columns.min()),
        y0 + int(rows.min()),
        x0 + int(columns.max()) + 1,
        y0 + int(rows.max()) + 1,
    )


def check_a_box_holds_a_windows_true_pixels_and_no_row_or_column_more(device: Device) -> None:
    for height, width in [*SIZES, (300, 2)]:
        rng = np.random.default_rng(height * 1009 + width)
        windows: list[Window] = [(0, 0, width, height), (0, 0, 0, 0), (width, height, width, height)]
        for _ in range(6):
            x, y = np.sort(rng.integers(0, width + 1, 2)), np.sort(rng.integers(0, height + 1, 2))
            windows.append((int(x[0]), int(y[0]), int(x[1]), int(y[1])))
        for share in (0.0, 0.001, 0.2):
            mask = (rng.random((height, width)) < share).astype(np.uint8) * np.uint8(7)
            found = true_boxes(device, device.upload(mask), windows)
            assert found == [expected(mask, window) for window in windows], (height, width, share)


def check_one_true_pixel_is_found_wherever_it_is(device: Device) -> None:
    for x, y in ((0, 0), (69, 0), (0, 130), (69, 130), (33, 66)):
        mask = np.zeros((131, 70), np.uint8)
        mask[y, x] = 1
        assert true_boxes(device, device.upload(mask), [(0, 0, 70, 131)]) == [(x, y, x + 1, y + 1)]
