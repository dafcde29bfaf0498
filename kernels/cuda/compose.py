"""A foreground with its alpha as RGBA, or laid over a background, on the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check


def compose_rgba(device: Device, foreground: DeviceArray, alpha: DeviceArray) -> DeviceArray:
    """Unpremultiplied RGBA uint8 (H, W, 4), byte for byte that of `mattemill.kernels.compose.compose_rgba`.

    foreground: uint8 (H, W, 3). alpha: float32 (H, W) in 0..1, or uint8 (H, W). Both may be views.
    """
    kind, height, width = _inputs(foreground, alpha)
    out = device.empty((height, width, 4), np.uint8)
    device.launch(
        f"compose_rgba_{kind}",
        (blocks(width, 32), blocks(height, 8), 1),
        (32, 8, 1),
        *(foreground, foreground.row_bytes, alpha, alpha.row_bytes, out, height, width),
    )
    return out


def alpha_bytes(device: Device, alpha: DeviceArray) -> DeviceArray:
    """Alpha as uint8 (H, W), byte for byte that of `mattemill.kernels.compose.alpha_bytes`.

    alpha: float32 (H, W), or a view.
    """
    height, width = check("alpha_bytes", alpha, np.float32, 2).shape
    out = device.empty((height, width), np.uint8)
    grid = (blocks(width, 32), blocks(height, 8), 1)
    device.launch("compose_alpha_bytes", grid, (32, 8, 1), alpha, alpha.row_bytes, out, height, width)
    return out


def compose_over(
    device: Device, foreground: DeviceArray, alpha: DeviceArray, background: DeviceArray | Sequence[int]
) -> DeviceArray:
    """alpha * foreground + (1 - alpha) * background, uint8 (H, W, 3).

    background: uint8 (H, W, 3) on the device, or one colour of three values 0..255. The others as in `compose_rgba`.
    Tolerance: 1 of 255 against `mattemill.kernels.compose.compose_over`, where a GPU's fused multiply-add rounds a half
    the other way; the same bytes on a CPU.
    """
    kind, height, width = _inputs(foreground, alpha)
    colour = (0, 0, 0)
    back: DeviceArray | None = None
    if isinstance(background, DeviceArray):
        back = check("compose_over", background, np.uint8, 3)
        if back.shape != foreground.shape:
            raise ValueError(f"background {back.shape} and foreground {foreground.shape} are not of one size")
    else:
        red, green, blue = (int(value) for value in background)
        colour = (red, green, blue)
        if min(colour) < 0 or max(colour) > 255:
            raise ValueError(f"background = {colour}: a colour has values of 0..255")
    out = device.empty((height, width, 3), np.uint8)
    device.launch(
        f"compose_over_{kind}",
        (blocks(width, 32), blocks(height, 8), 1),
        (32, 8, 1),
        *(foreground, foreground.row_bytes, alpha, alpha.row_bytes),
        *(back, 0 if back is None else back.row_bytes, *colour, out, height, width),
    )
    return out


def _inputs(foreground: DeviceArray, alpha: DeviceArray) -> tuple[str, int, int]:
    height, width, channels = check("compose", foreground, np.uint8, 3).shape
    if channels != 3 or alpha.shape != (height, width):
        raise ValueError(f"foreground {foreground.shape} and alpha {alpha.shape} do not go together")
    if alpha.dtype not in (np.dtype(np.uint8), np.dtype(np.float32)):
        raise ValueError(f"alpha is {alpha.dtype}: must be float32 or uint8")
    return ("bytes" if alpha.dtype == np.uint8 else "floats"), height, width
