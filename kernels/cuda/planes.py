"""Tables of resize jobs, and planes of bytes made a network's tensor: what letterbox and network_input share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check, check_resize

LINEAR, AREA, AREA_ENLARGE, CUBIC, LANCZOS = 0, 1, 2, 3, -1  # resample.cuh

_JOB = np.dtype(
    [("source", np.uint64), ("stride", np.int64)]
    + [(name, np.int32) for name in ("height", "width", "top", "left", "out_height", "out_width", "filter")]
    + [(name, np.int32) for name in ("step_y", "step_x", "blocks_at", "rows_at", "unused")]
)


@dataclass(frozen=True, slots=True)
class Job:
    """One photograph, or a window of one, and where it goes in the output of (h, w).

    source: uint8 (H, W, 3). shape: (h, w) of the picture in pixels. at: (top, left). filter: one of those above.
    steps: (y, x), the blocks whose means Lanczos filters; blocks_at, rows_at: bytes, its places in the scratch memory.
    """

    source: DeviceArray
    shape: tuple[int, int]
    at: tuple[int, int] = (0, 0)
    filter: int = LANCZOS
    steps: tuple[int, int] = (1, 1)
    blocks_at: int = 0
    rows_at: int = 0


def area_filter(before: Sequence[int], after: Sequence[int]) -> int:
    """What OpenCV's INTER_AREA does: means where both axes shrink, else a kind of linear interpolation."""
    return AREA if before[0] >= after[0] and before[1] >= after[1] else AREA_ENLARGE


def upload_jobs(device: Device, jobs: Sequence[Job], name: str) -> DeviceArray:
    """The table on the device. Raises ValueError when a source is not uint8 (H, W, 3) or a resize is too large."""
    table = np.zeros(len(jobs), _JOB)
    for row, job in zip(table, jobs, strict=True):
        source = check(name, job.source, np.uint8, 3)
        if source.shape[2] != 3:
            raise ValueError(f"{name}: needs three channels, got {source.shape}")
        check_resize(name, source.shape, job.shape)
        row["source"], row["stride"] = source.pointer, source.row_bytes
        row["height"], row["width"] = source.shape[:2]
        row["top"], row["left"] = job.at
        row["out_height"], row["out_width"] = job.shape
        row["filter"] = job.filter
        row["step_y"], row["step_x"] = job.steps
        row["blocks_at"], row["rows_at"] = job.blocks_at, job.rows_at
    return device.upload(table)


def resize_planes(
    device: Device, table: DeviceArray, size: tuple[int, int], *, fill: int, bgr: bool
) -> tuple[DeviceArray, DeviceArray]:
    """Every job's picture in planes of bytes, uint8 (N, 3, h, w), and the largest byte of each, int32 (N,)."""
    height, width = size
    count = table.shape[0]
    planes, peaks = device.empty((count, 3, height, width), np.uint8), device.zeros((count,), np.int32)
    grid = (blocks(width, 32), blocks(height, 8), count)
    device.launch("letterbox_planes", grid, (32, 8, 1), table, planes, peaks, height, width, fill, int(bgr))
    return planes, peaks


def normalise(
    device: Device,
    planes: DeviceArray,
    peaks: DeviceArray,
    *,
    divisor: float | None,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: npt.DTypeLike,
) -> DeviceArray:
    """(planes / divisor - mean) / std as float16 or float32 (N, 3, h, w). divisor None: each picture's largest byte."""
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.float16), np.dtype(np.float32)):
        raise ValueError(f"dtype = {kind}: must be float16 or float32")
    count, _, height, width = planes.shape
    plane = height * width
    out = device.empty(planes.shape, kind)
    device.launch(
        "normalise_half" if kind == np.float16 else "normalise_float",
        (blocks(plane, 1024), count * 3, 1),
        (256, 1, 1),
        planes,
        peaks if divisor is None else None,
        out,
        plane,
        1.0 if divisor is None else float(divisor),
        *(float(value) for value in mean),
        *(float(value) for value in std),
    )
    return out
