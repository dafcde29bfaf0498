"""The CUDA kernels: bytes moved over time against the copy bandwidth of the same run, and what one calls instead.

    python benchmarks/cuda_kernels.py --driver cpu     # the emulation: says nothing of a GPU's speed
    python benchmarks/cuda_kernels.py --driver gpu     # needs a GPU and pycuda; not yet run on one

On a GPU each operation, all its launches together, runs between two events, many times, on one photograph of 12 MP,
whose pixels are more than an H200's cache holds; the bytes are those that must be moved at least, each input read once
and each output written once. Gaps between launches count. CuPy and CV-CUDA, where they are
installed, do what they have an operation for. On the CPU driver OpenCV's time stands beside the emulation's, to show
that the emulation is for correctness alone. Each result is compared with the NumPy version before it is timed, and
the calls that were made are counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from bench import finish, machine, machine_line, median, parser, say

from mattemill.kernels import alpha_stats as stats_twin
from mattemill.kernels import closed_form as closed_twin
from mattemill.kernels import colour_lines as lines_twin
from mattemill.kernels import compose as compose_twin
from mattemill.kernels import foreground as foreground_twin
from mattemill.kernels import guided_filter as guided_twin
from mattemill.kernels import letterbox as letterbox_twin
from mattemill.kernels import network_input as input_twin
from mattemill.kernels import png_up as png_twin
from mattemill.kernels import tile_input as tile_twin
from mattemill.kernels import trimap as trimap_twin
from mattemill.kernels import unsure as unsure_twin
from mattemill.kernels.cuda.alpha_stats import alpha_stats
from mattemill.kernels.cuda.closed_form import closed_form_lines
from mattemill.kernels.cuda.colour_lines import draw_colour_lines
from mattemill.kernels.cuda.compose import compose_over, compose_rgba
from mattemill.kernels.cuda.cpu_driver import CpuDriver
from mattemill.kernels.cuda.device import Device, DeviceArray
from mattemill.kernels.cuda.driver import Driver
from mattemill.kernels.cuda.foreground import estimate_foreground
from mattemill.kernels.cuda.guided_filter import guided_filter
from mattemill.kernels.cuda.letterbox import letterbox
from mattemill.kernels.cuda.mix import mix
from mattemill.kernels.cuda.network_input import network_input
from mattemill.kernels.cuda.png_up import png_up
from mattemill.kernels.cuda.tile_blend import TileLines, blend_tiles
from mattemill.kernels.cuda.tile_input import tile_input
from mattemill.kernels.cuda.trimap import trimap
from mattemill.kernels.cuda.unsure import unsure_around
from mattemill.kernels.trimap import FOREGROUND, UNKNOWN

PLAIN = {"divisor": 255.0, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@dataclass(frozen=True)
class Kernel:
    """One operation on one photograph. bytes: the least that it must move. within: of the largest difference.

    solver: it takes steps one after another on a small copy, which is another time than that of its bytes.
    """

    name: str
    run: Callable[[], Any]
    numpy: Callable[[], Any]
    bytes: int
    within: float
    solver: bool = False


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--driver", choices=("cpu", "gpu"), default="cpu")
    arguments.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="pixels; default 240 320, GPU 3000 4000"
    )
    arguments.add_argument("--repeats", type=int, help="timed calls of each; default 3, GPU 50")
    given = arguments.parse_args()
    on_gpu = given.driver == "gpu"
    height, width = given.size or ((3000, 4000) if on_gpu else (240, 320))
    repeats = given.repeats or (50 if on_gpu else 3)
    cv2.setNumThreads(1)
    driver = _driver(given.driver)
    device = Device(driver)
    image, alpha = _photograph(height, width)
    copy = _copy_bandwidth(driver, device, repeats, on_gpu)
    rows = []
    for kernel in _kernels(device, image, alpha):
        say(kernel.name)
        worst = _difference(device, kernel.run(), kernel.numpy())
        if worst > kernel.within:
            raise SystemExit(f"{kernel.name}: off by {worst}, allowed {kernel.within}")
        calls, milliseconds = _timed(driver, kernel.run, repeats)
        if calls != repeats:
            raise SystemExit(f"{kernel.name}: {calls} calls were made, not {repeats}")
        twin_calls, twin = _timed_on_host(kernel.numpy, 3)
        if twin_calls != 3:
            raise SystemExit(f"{kernel.name}: {twin_calls} calls of the NumPy version were made, not 3")
        rate = kernel.bytes / milliseconds / 1e6
        row: dict[str, Any] = {
            "kernel": kernel.name,
            "calls": calls,
            "bytes": kernel.bytes,
            "ms": round(milliseconds, 4),
        }
        row |= {"gb_per_s": round(rate, 2), "numpy_opencv_ms": round(twin, 3), "largest_difference": round(worst, 6)}
        if on_gpu and not kernel.solver:
            row["share_of_copy"] = round(rate / copy, 3)
        rows.append(row)
    found = machine()
    result = {
        "machine": found,
        "device": driver.name,
        "meaning": "timed on the device" if on_gpu else "the CPU driver emulates a GPU: correctness only, not speed",
        "photograph": [height, width],
        "copy_gb_per_s": round(copy, 1),
        "kernels": rows,
    }
    if on_gpu:
        result["peers"] = _peers(image, repeats)
    lines = [machine_line(found), f"{driver.name}; {width} x {height}; copy {copy:.1f} GB/s; {result['meaning']}"]
    for row in rows:
        share = f"  {row['share_of_copy']:.0%} of copy" if "share_of_copy" in row else ""
        lines.append(
            f"{row['kernel']:22} {row['ms']:10.3f} ms  {row['gb_per_s']:9.2f} GB/s{share}   "
            f"NumPy/OpenCV {row['numpy_opencv_ms']:9.3f} ms   off by {row['largest_difference']}"
        )
    finish(f"cuda_kernels_{given.driver}", result, given, lines)


def _driver(which: str) -> Driver:
    if which == "cpu":
        return CpuDriver()
    from mattemill.kernels.cuda.pycuda_driver import PycudaDriver

    return PycudaDriver()


def _photograph(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * 200 / width, y * 200 / height, (x + y) * 100 / (height + width)], axis=-1)
    image = (image + rng.integers(0, 40, image.shape)).astype(np.uint8)
    distance = np.hypot(y - height / 2, x - width / 2)
    alpha = np.clip((0.3 * height - distance) / (0.02 * height) + 0.5, 0, 1).astype(np.float32)
    return image, alpha


def _kernels(device: Device, image: np.ndarray, alpha: np.ndarray) -> list[Kernel]:
    picture, mask = device.upload(image), device.upload(alpha)
    bands = trimap_twin.trimap(alpha, 16)
    marks = device.upload(bands)
    rgba = compose_rgba(device, picture, mask)
    on_host = device.download(rgba)
    pixels = alpha.size
    size, grey = (320, 320), 1 / 255 / 0.224 * 1.01  # one grey level after normalisation
    tensor = 3 * size[0] * size[1] * 4

    def boxed() -> np.ndarray:
        out = letterbox_twin.letterbox(image, size)[0].astype(np.float32).transpose(2, 0, 1)[None]
        mean, std = (np.array(PLAIN[name], np.float32).reshape(1, 3, 1, 1) for name in ("mean", "std"))
        return np.asarray((out / np.float32(255) - mean) / std)

    return [
        Kernel("letterbox", lambda: letterbox(device, [picture], size, **PLAIN)[0], boxed, 3 * pixels + tensor, grey),
        Kernel(
            "network_input lanczos",
            lambda: network_input(device, [picture], size, **PLAIN),
            lambda: input_twin.network_input(image, size, **PLAIN),
            3 * pixels + tensor,
            grey,
        ),
        Kernel(
            "guided_filter / 4",
            lambda: guided_filter(device, picture, mask, 16, 1e-4, 4),
            lambda: guided_twin.guided_filter(image, alpha, 16, 1e-4, 4),
            11 * pixels + 3 * pixels,  # the guide is read twice
            5e-3,
        ),
        Kernel(
            "trimap", lambda: trimap(device, mask, 16), lambda: trimap_twin.trimap(alpha, 16), 4 * pixels + pixels, 0
        ),
        Kernel(
            "closed_form_lines / 8",
            lambda: closed_form_lines(device, picture, marks, 8),
            lambda: closed_twin.closed_form_lines(image, bands, 8),
            4 * pixels + 20 * pixels // 64,
            2e-3,  # of a slope; of alpha a tenth of that
            solver=True,
        ),
        Kernel(
            "estimate_foreground",
            lambda: estimate_foreground(device, picture, mask),
            lambda: foreground_twin.estimate_foreground(image, alpha),
            7 * pixels + 3 * pixels,
            3,
        ),
        Kernel(
            "compose_rgba",
            lambda: compose_rgba(device, picture, mask),
            lambda: compose_twin.compose_rgba(image, alpha),
            7 * pixels + 4 * pixels,
            0,
        ),
        Kernel(
            "compose_over",
            lambda: compose_over(device, picture, mask, (255, 255, 255)),
            lambda: compose_twin.compose_over(image, alpha, np.array([255, 255, 255], np.uint8)),
            7 * pixels + 3 * pixels,
            1,
        ),
        Kernel(
            "png_up", lambda: png_up(device, rgba), lambda: png_twin.png_up(on_host), 8 * pixels + image.shape[0], 0
        ),
        Kernel(
            "alpha_stats",
            lambda: alpha_stats(device, mask),
            lambda: stats_twin.alpha_stats(alpha),
            4 * pixels,
            1e-5,
        ),
        *_matting_kernels(device, image, alpha, picture, mask),
    ]


def _matting_kernels(
    device: Device, image: np.ndarray, alpha: np.ndarray, picture: DeviceArray, mask: DeviceArray
) -> list[Kernel]:
    """What lies around the matting network, with a trimap that is mostly known and one tile that is all of it."""
    (height, width), pixels = alpha.shape, alpha.size
    known, step, side = trimap_twin.trimap(alpha, 16), 2, min(640, height // 64 * 64)
    unknown = known == UNKNOWN
    colour_lines = np.random.default_rng(1).random((5, height // 4, width // 4), np.float32) - np.float32(0.5)
    bands, lines, share = (device.upload(array) for array in (known, colour_lines, 1 - alpha))
    frame, tile = (0, 0, width, height), (0, 0, side, side)
    in_band = 5 * pixels + 7 * int(np.count_nonzero(unknown))

    def drawn() -> np.ndarray:
        return np.where(unknown, lines_twin.apply_colour_lines(colour_lines, image, alpha), known == FOREGROUND)

    def shown() -> np.ndarray:
        part = (slice(0, side), slice(0, side))
        planes = image[part], tile_twin.known_and(alpha[part], known[part]), alpha[part], known[part]
        return np.asarray(tile_twin.tile_input(*planes, step))

    return [
        Kernel(
            "unsure_around",
            lambda: unsure_around(device, mask, 16),
            lambda: unsure_twin.unsure_around(alpha, 16),
            8 * pixels,
            1e-5,
        ),
        Kernel(
            "draw_colour_lines",
            lambda: draw_colour_lines(device, lines, picture, mask, bands),
            drawn,
            in_band,
            1e-4,
        ),
        Kernel(
            "tile_input",
            lambda: tile_input(device, picture, mask, bands, mask, [tile], step),
            shown,
            side * side * 12 + side * side // step**2 * 28,
            1 / 255 + 1e-5,
        ),
        Kernel(
            "blend_tiles",
            lambda: blend_tiles(device, [TileLines(lines, frame, frame, frame)], picture, mask, bands, mask, blend=8)[
                0
            ],
            drawn,
            in_band,
            1e-4,
        ),
        Kernel(
            "mix",
            lambda: mix(device, mask, share, share, mask, 1.0),
            lambda: alpha + (1 - alpha) * (1 - 2 * alpha),
            12 * pixels,
            1e-5,
        ),
    ]


def _difference(device: Device, out: Any, twin: Any) -> float:
    if isinstance(twin, dict):
        return max(abs(out[0][name] - value) for name, value in twin.items())
    values = device.download(out) if isinstance(out, DeviceArray) else np.asarray(out)
    return float(np.abs(values.astype(np.float64) - twin).max())


def _timed(driver: Driver, run: Callable[[], Any], repeats: int) -> tuple[int, float]:
    """(calls, median milliseconds between two events around one)."""
    run()
    times, calls = [], 0
    for _ in range(repeats):
        first, last = driver.event(), driver.event()
        first.record()
        run()
        calls += 1
        last.record()
        last.synchronise()
        times.append(last.milliseconds_since(first))
    return calls, median(times)


def _timed_on_host(run: Callable[[], Any], repeats: int) -> tuple[int, float]:
    times, calls = [], 0
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        calls += 1
        times.append((time.perf_counter() - began) * 1e3)
    return calls, median(times)


def _copy_bandwidth(driver: Driver, device: Device, repeats: int, on_gpu: bool) -> float:
    """Gigabytes a second of a copy on the device, read and written counted: 512 MiB on a GPU, 32 on the CPU."""
    nbytes = (512 if on_gpu else 32) << 20
    one, other = driver.allocate(nbytes), driver.allocate(nbytes)
    driver.fill(one.pointer, 1, nbytes)
    calls, milliseconds = _timed(driver, lambda: driver.copy_on(other.pointer, one.pointer, nbytes), repeats)
    if calls != repeats:
        raise SystemExit(f"{calls} copies were made, not {repeats}")
    return 2 * nbytes / milliseconds / 1e6


def _peers(image: np.ndarray, repeats: int) -> dict[str, Any]:
    """What CuPy's box filter and CV-CUDA's resize take on the same photograph; which is missing says so."""
    return {"cupy uniform_filter": _cupy(image, repeats), "cvcuda resize": _cvcuda(image, repeats)}


def _cupy(image: np.ndarray, repeats: int) -> dict[str, Any]:
    try:
        import cupy
        from cupyx.scipy import ndimage
    except ImportError as error:
        return {"missing": str(error)}
    plane = cupy.asarray(image[..., 0].astype(np.float32))
    return _between_synchronisations(cupy, lambda: ndimage.uniform_filter(plane, 33), repeats)


def _cvcuda(image: np.ndarray, repeats: int) -> dict[str, Any]:
    try:
        import cupy
        import cvcuda
    except ImportError as error:
        return {"missing": str(error)}
    source = cvcuda.as_tensor(cupy.asarray(image[None]), "NHWC")
    shape: Sequence[int] = (1, 320, 320, 3)
    return _between_synchronisations(cupy, lambda: cvcuda.resize(source, shape, cvcuda.Interp.AREA), repeats)


def _between_synchronisations(cupy: Any, run: Callable[[], Any], repeats: int) -> dict[str, Any]:
    run()
    cupy.cuda.Device().synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    cupy.cuda.Device().synchronize()
    return {"calls": repeats, "ms": round((time.perf_counter() - began) * 1e3 / repeats, 4)}


if __name__ == "__main__":
    main()
