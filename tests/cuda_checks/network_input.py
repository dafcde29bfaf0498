"""network_input.cu against float64 and against mattemill.kernels.network_input."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import SIZES, lanczos_matrix, linear_matrix, on_device, photograph, resized, worst

from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.network_input import crop_resize, network_input
from mattemill.kernels.network_input import network_input as numpy_network_input

PLAIN = {"divisor": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
IMAGENET = {"divisor": None, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def check_lanczos_agrees_with_float64(device: Device) -> None:
    for size in [(48, 40), (23, 29)]:
        photographs = [photograph(*shape) for shape in [(1, 1), (1, 37), (41, 1), (61, 97), (64, 80)]]
        out = device.download(network_input(device, [on_device(device, p) for p in photographs], size, **PLAIN))
        for image, tensor in zip(photographs, out, strict=True):
            if max(image.shape[0] / size[0], image.shape[1] / size[1]) >= 3:
                continue  # means of blocks come first: see the next check
            truth = np.clip(resized(image, size, lanczos_matrix), 0, 255).transpose(2, 0, 1)
            # Two roundings to whole grey levels, the first one through weights whose magnitudes sum to under 1.6.
            assert worst(tensor, truth) < 1.31, image.shape


def check_every_filter_agrees_with_the_numpy_version(device: Device) -> None:
    for size in [(48, 40), (23, 29)]:
        photographs = [photograph(*shape) for shape in [*SIZES, (257, 331)]]
        sources = [on_device(device, image) for image in photographs]
        # Of pixels that differ, by one grey level: OpenCV's linear weights have 11 bits, its area ones are floats.
        for resample, share in (("lanczos", 0.002), ("area", 0.15), ("linear", 0.15)):
            out = device.download(network_input(device, sources, size, resample=resample, **PLAIN))
            for image, tensor in zip(photographs, out, strict=True):
                twin = numpy_network_input(image, size, resample=resample, **PLAIN)[0]
                assert worst(tensor, twin) <= 1, (resample, image.shape)
                assert (tensor != twin).mean() <= share, (resample, image.shape)


def check_linear_agrees_with_float64(device: Device) -> None:
    photographs = [photograph(*shape) for shape in SIZES]
    sources = [on_device(device, image) for image in photographs]
    out = device.download(network_input(device, sources, (45, 33), resample="linear", **PLAIN))
    for image, tensor in zip(photographs, out, strict=True):
        truth = resized(image, (45, 33), linear_matrix).transpose(2, 0, 1)
        assert worst(tensor, truth) < 0.51, image.shape


def check_each_picture_is_divided_by_its_own_maximum(device: Device) -> None:
    dark = (photograph(61, 97) // 4).astype(np.uint8)
    black = np.zeros((30, 40, 3), np.uint8)
    pictures = [photograph(61, 97), dark, black]
    out = network_input(device, [device.upload(p) for p in pictures], (32, 32), dtype=np.float16, **IMAGENET)
    for image, tensor in zip(pictures, device.download(out), strict=True):
        twin = numpy_network_input(image, (32, 32), **IMAGENET)[0].astype(np.float64)
        assert worst(tensor, twin) < 2.1e-2  # one grey level of a dark picture is 4 of 255


def check_many_windows_of_many_images_in_one_launch(device: Device) -> None:
    images = [photograph(61, 97), photograph(128, 160), photograph(1, 37)]
    windows = [
        (0, (3, 5, 60, 50)),
        (1, (0, 0, 160, 128)),
        (2, (7, 0, 8, 1)),
        (1, (159, 0, 160, 128)),
        (0, (96, 0, 97, 61)),
    ]
    sources = [on_device(device, image) for image in images]
    for bgr in (False, True):
        out = device.download(crop_resize(device, sources, windows, (24, 20), bgr=bgr, **PLAIN))
        assert out.shape == (5, 3, 24, 20)
        for (index, (x0, y0, x1, y1)), tensor in zip(windows, out, strict=True):
            twin = numpy_network_input(images[index][y0:y1, x0:x1], (24, 20), bgr=bgr, **PLAIN)[0]
            assert worst(tensor, twin) <= 1
            assert (tensor != twin).mean() <= 0.002


def check_no_windows_are_an_empty_batch(device: Device) -> None:
    assert device.download(crop_resize(device, [], [], (24, 20), **PLAIN)).shape == (0, 3, 24, 20)
