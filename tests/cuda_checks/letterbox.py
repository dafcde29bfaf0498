"""letterbox.cu against float64 and against mattemill.kernels.letterbox."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import SIZES, area_matrix, linear_matrix, on_device, photograph, resized, worst

from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.letterbox import letterbox
from mattemill.kernels.letterbox import letterbox as numpy_letterbox

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def check_a_batch_of_all_sizes_agrees_with_float64(device: Device) -> None:
    for size in [(64, 96), (53, 31)]:
        photographs = [photograph(*shape) for shape in SIZES]
        out, placed = letterbox(device, [on_device(device, image) for image in photographs], size)
        tensors = device.download(out)
        assert tensors.shape == (len(SIZES), 3, *size)
        for image, tensor, (scale, (dx, dy)) in zip(photographs, tensors, placed, strict=True):
            twin, twin_scale, twin_at = numpy_letterbox(image, size)
            assert (scale, (dx, dy)) == (twin_scale, twin_at)
            shape = tuple(min(s, max(1, round(side * scale))) for s, side in zip(size, image.shape[:2], strict=True))
            truth = np.full((*size, 3), 114.0)
            picture = resized(image, shape, area_matrix if scale < 1 else linear_matrix)
            truth[dy : dy + shape[0], dx : dx + shape[1]] = picture
            # The filter is exact to 1e-3; the rest is the rounding to whole grey levels.
            assert worst(tensor, truth.transpose(2, 0, 1)) < 0.51, image.shape
            assert worst(tensor, twin.transpose(2, 0, 1)) <= 1, image.shape


def check_halves_and_floats_are_normalised_alike(device: Device) -> None:
    for size in [(24, 32), (17, 23)]:  # whole groups of four pixels, and not
        image = photograph(61, 97)
        source = [on_device(device, image)]
        plain = device.download(letterbox(device, source, size, align="corner")[0]).astype(np.float64)
        for dtype, tolerance in ((np.float32, 1e-6), (np.float16, 1.1e-3)):
            out, _ = letterbox(
                device, source, size, align="corner", divisor=255.0, mean=MEAN, std=STD, bgr=True, dtype=dtype
            )
            mean, std = np.array(MEAN).reshape(3, 1, 1), np.array(STD).reshape(3, 1, 1)
            truth = (plain[:, ::-1] / 255 - mean) / std
            got = device.download(out)
            assert got.dtype == dtype
            assert worst(got, truth) < tolerance * max(1.0, np.abs(truth).max())


def check_the_filling_is_the_one_that_was_asked_for(device: Device) -> None:
    out, [(_, (dx, dy))] = letterbox(device, [device.upload(photograph(40, 10))], (20, 20), 7, align="centre")
    tensor = device.download(out)[0]
    assert (dx, dy) == (7, 0)
    assert (tensor[:, :, :7] == 7).all()
    assert (tensor[:, :, 12:] == 7).all()


def check_no_images_are_an_empty_batch(device: Device) -> None:
    out, placed = letterbox(device, [], (20, 20))
    assert device.download(out).shape == (0, 3, 20, 20)
    assert placed == []
