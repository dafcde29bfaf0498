"""Greedy non-maximum suppression of a batch of images on the device, by class."""

from __future__ import annotations

import numpy as np

from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check


def nms(
    device: Device,
    boxes: DeviceArray,
    scores: DeviceArray,
    iou_threshold: float,
    classes: DeviceArray | None = None,
    counts: DeviceArray | None = None,
) -> tuple[DeviceArray, DeviceArray]:
    """Indices of the boxes that stay, best first: int32 (B, N), -1 behind the last; and how many, int32 (B,).

    boxes: float32 (B, N, 4) xyxy in pixels. scores: float32 (B, N). classes: int32 (B, N), or None for one class.
    counts: int32 (B,), how many of each image's N are there; None: all. All contiguous. Decides for every box as
    `mattemill.kernels.nms.nms` does. Raises ValueError for shapes that do not go together or are too large.
    """
    images, most = check("nms", scores, np.float32, 2).shape
    if check("nms", boxes, np.float32, 3).shape != (images, most, 4):
        raise ValueError(f"nms: boxes {boxes.shape} and scores {scores.shape} do not go together")
    for name, array, shape in (("classes", classes, (images, most)), ("counts", counts, (images,))):
        if array is not None and (array.dtype != np.int32 or array.shape != shape):
            raise ValueError(f"nms: {name} must be int32 {shape}, got {array.dtype} {array.shape}")
    words = blocks(most, 32)
    if most > 65_535 or images > 65_535:
        raise ValueError(f"nms: {images} images of {most} boxes: at most 65,535 of each")
    if counts is None:
        counts = device.upload(np.full((images,), most, np.int32))
    order, kept = device.empty((images, most), np.int32), device.empty((images, most), np.int32)
    kept_counts = device.zeros((images,), np.int32)
    suppresses = device.empty((images, most, words), np.uint32)
    device.launch("nms_order", (blocks(most, 256), images, 1), (256, 1, 1), scores, counts, order, most)
    compared = (boxes, classes, counts, order, suppresses, most, words, float(iou_threshold))
    device.launch("nms_compare", (blocks(words, 128), most, images), (128, 1, 1), *compared)
    walked = (counts, order, suppresses, kept, kept_counts, most, words)
    device.launch("nms_walk", (images, 1, 1), (128, 1, 1), *walked, shared=max(4, words * 4))
    return kept, kept_counts
