"""YOLOX's output as candidate boxes of a batch of photographs, on the device, ready for `nms`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check
from mattemill.kernels.cuda.letterbox import Placed


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes of B photographs, N places each, of which the first `counts` are taken.

    boxes: float32 (B, N, 4) xyxy in pixels of the photograph. scores: float32 (B, N). classes: int32 (B, N).
    counts: int32 (B,).
    """

    boxes: DeviceArray
    scores: DeviceArray
    classes: DeviceArray
    counts: DeviceArray


def decode_yolox(
    device: Device,
    raw: DeviceArray,
    size: tuple[int, int],
    placed: Sequence[Placed],
    shapes: Sequence[tuple[int, int]],
    score_threshold: float,
) -> Candidates:
    """The rows whose best class is sure enough and that have an area in the photograph, in the network's order.

    raw: float32 (B, N, 5 + classes), as the network gives it for an input of `size` = (h, w), N rows of the strides 8,
    16 and 32. placed: (scale, (dx, dy)) of each, from `letterbox`. shapes: (H, W) of each photograph.
    score_threshold: of objectness times class. Tolerance of the boxes: 1e-5 of their size, because exp is the device's.
    Raises ValueError when N is not that of the size.
    """
    images, rows, entries = check("decode_yolox", raw, np.float32, 3).shape
    expected = sum((size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32))
    if rows != expected or entries < 6:
        raise ValueError(f"decode_yolox: output {raw.shape} is not that of a YOLOX at {size}: {expected} rows")
    if not len(placed) == len(shapes) == images:
        raise ValueError(f"decode_yolox: {images} images, but {len(placed)} placements and {len(shapes)} shapes")
    table = [(scale, dx, dy, *shape[:2]) for (scale, (dx, dy)), shape in zip(placed, shapes, strict=True)]
    places = device.upload(np.array(table, np.float32).reshape(images, 5))

    def space() -> tuple[DeviceArray, DeviceArray, DeviceArray]:
        boxes = device.empty((images, rows, 4), np.float32)
        return boxes, device.empty((images, rows), np.float32), device.empty((images, rows), np.int32)

    sparse, dense = space(), space()
    counts = device.zeros((images,), np.int32)
    decoded = (raw, places, *sparse, rows, entries - 5, *size, float(score_threshold))
    device.launch("decode_yolox_rows", (blocks(rows, 8), images, 1), (256, 1, 1), *decoded)
    device.launch("decode_yolox_compact", (images, 1, 1), (256, 1, 1), *sparse, *dense, counts, rows)
    return Candidates(*dense, counts)
