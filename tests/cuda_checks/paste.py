"""paste.cu against float64 and against mattemill.kernels.paste."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_checks.tools import area_matrix, cubic_matrix, on_device, photograph, resized, worst

from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.paste import paste_masks
from mattemill.kernels.paste import paste_masks as numpy_paste_masks

Window = tuple[int, int, int, int]


def masks_and_windows() -> list[tuple[np.ndarray, Window]]:
    """Enlarged, reduced, as it is, one pixel, stretched one way and squeezed the other; some overlap."""
    sizes = [(20, 30), (64, 64), (9, 5), (1, 1), (60, 7)]
    windows = [(3, 4, 70, 60), (30, 20, 50, 90), (0, 0, 5, 9), (96, 0, 97, 101), (60, 60, 95, 70)]
    return [(photograph(*size, channels=1), window) for size, window in zip(sizes, windows, strict=True)]


def check_masks_are_resized_as_in_float64(device: Device) -> None:
    for mask, (x0, y0, x1, y1) in masks_and_windows():
        out = device.download(paste_masks(device, [(on_device(device, mask), (x0, y0, x1, y1))], (101, 97)))
        shape = (y1 - y0, x1 - x0)
        shrinks = shape[0] * shape[1] < mask.size
        if shrinks and (shape[0] > mask.shape[0] or shape[1] > mask.shape[1]):
            continue  # OpenCV's own mixture: see the check against the NumPy version
        truth = np.zeros((101, 97))
        truth[y0:y1, x0:x1] = np.clip(resized(mask / 255.0, shape, area_matrix if shrinks else cubic_matrix), 0, 1)
        assert worst(out, truth) < 1e-5, (mask.shape, shape)


def check_many_masks_agree_with_the_numpy_version(device: Device) -> None:
    given = masks_and_windows()
    out = device.download(paste_masks(device, [(on_device(device, m), w) for m, w in given], (101, 97)))
    assert worst(out, numpy_paste_masks(given, (101, 97))) < 2e-3


def check_no_masks_are_an_empty_alpha(device: Device) -> None:
    assert not device.download(paste_masks(device, [], (5, 7))).any()


def check_a_window_that_leaves_the_photograph_is_refused(device: Device) -> None:
    mask = device.upload(photograph(4, 4, channels=1))
    with pytest.raises(ValueError, match="leaves the photograph of 7x5"):
        paste_masks(device, [(mask, (0, 0, 8, 5))], (5, 7))
