"""tile_input.cu against float64 and against mattemill.kernels.tile_input."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import on_device, photograph, soft_mask, worst

from mattemill.kernels import tile_input as twin
from mattemill.kernels.crop import Window
from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.tile_input import tile_input


def case(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Photograph, mask, trimap in which whole cells are known, and a guess."""
    rng = np.random.default_rng(height * 1009 + width)
    coarse = rng.choice(np.array([0, 128, 255], np.uint8), (-(-height // 7), -(-width // 7)))
    bands = coarse.repeat(7, 0).repeat(7, 1)[:height, :width].copy()
    return photograph(height, width), soft_mask(height, width), bands, rng.random((height, width), np.float32)


def shown(device: Device, given: tuple[np.ndarray, ...], windows: list[Window], step: int) -> np.ndarray:
    image, soft, bands, guess = given
    views = on_device(device, image), on_device(device, soft)
    return device.download(tile_input(device, *views, device.upload(bands), device.upload(guess), windows, step))


def check_tiles_that_leave_the_frame_are_what_the_numpy_version_makes(device: Device) -> None:
    for shape in [(1, 1), (1, 37), (61, 97), (128, 160)]:
        given = case(*shape)
        image, soft, bands, guess = given
        for step in (1, 2, 3, 6):
            side = 4 * step
            corners = ((-3, -2), (shape[1] // 3, shape[0] // 4), (shape[1] - 2, shape[0] - 1))
            windows: list[Window] = [(x, y, x + 8 * step, y + side) for x, y in corners]
            out = shown(device, given, windows, step)
            for window, planes in zip(windows, out, strict=True):
                part = (window[1], window[0], window[3] - window[1], window[2] - window[0])
                known = twin.cut_out(bands, *part)
                mask = twin.known_and(twin.cut_out(soft, *part), known)
                expected = twin.tile_input(twin.cut_out(image, *part), mask, twin.cut_out(guess, *part), known, step)[0]
                assert worst(planes, expected) < 1e-5, (shape, step, window)


def check_a_value_is_the_mean_of_its_pixels_and_known_only_where_all_of_them_are(device: Device) -> None:
    image, soft, bands, guess = given = case(60, 84)
    step = 3
    out = shown(device, given, [(0, 0, 84, 60)], step)[0]
    mask = np.where(bands == 128, soft, bands == 255)

    def means(plane: np.ndarray) -> np.ndarray:
        return plane.astype(np.float64).reshape(20, step, 28, step).mean((1, 3))

    colours = [np.rint(means(image[..., channel])) / 255 for channel in range(3)]
    known = [means(bands == value) == 1 for value in (255, 0)]
    assert worst(out, np.stack([*colours, *known, means(mask), means(guess)])) < 1e-6
    assert 0 < known[0].mean() < 1
