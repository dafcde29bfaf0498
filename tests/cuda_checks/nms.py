"""nms.cu: the same boxes as mattemill.kernels.nms, which works in float64."""

from __future__ import annotations

import numpy as np

from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.nms import nms
from mattemill.kernels.nms import nms as numpy_nms


def some_boxes(images: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes that overlap much, some without an area, scores of which many are equal, three classes."""
    rng = np.random.default_rng(seed)
    corner = rng.random((images, count, 2)) * 100
    boxes = np.concatenate([corner, corner + rng.random((images, count, 2)) * 60], axis=-1).astype(np.float32)
    boxes[:, ::9, 2:] = boxes[:, ::9, :2]
    scores = (rng.integers(0, 20, (images, count)) / 20).astype(np.float32)
    return boxes, scores, rng.integers(0, 3, (images, count)).astype(np.int32)


def check_every_decision_is_that_of_the_numpy_version(device: Device) -> None:
    for images, count in [(1, 1), (3, 70), (2, 300)]:
        boxes, scores, classes = some_boxes(images, count, count)
        for kinds in (None, classes):
            for threshold in (0.0, 0.3, 1.0):
                given = None if kinds is None else device.upload(kinds)
                kept, counts = nms(device, device.upload(boxes), device.upload(scores), threshold, given)
                for image, (indices, n) in enumerate(zip(device.download(kept), device.download(counts), strict=True)):
                    twin = numpy_nms(boxes[image], scores[image], threshold, None if kinds is None else kinds[image])
                    assert np.array_equal(indices[:n], twin), (images, count, threshold)
                    assert (indices[n:] == -1).all()


def check_a_chain_of_boxes_keeps_every_other_one(device: Device) -> None:
    left = np.arange(40, dtype=np.float32) * 4
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1)[None]  # each overlaps the next by 6 of 14
    scores = np.linspace(1, 0.1, 40, dtype=np.float32)[None]
    kept, counts = nms(device, device.upload(boxes), device.upload(scores), 0.4)
    assert device.download(counts).tolist() == [20]
    assert device.download(kept)[0, :20].tolist() == list(range(0, 40, 2))


def check_only_the_boxes_that_are_there_count(device: Device) -> None:
    boxes, scores, classes = some_boxes(4, 50, 5)
    there = np.array([0, 1, 33, 50], np.int32)
    arrays = (device.upload(boxes), device.upload(scores), 0.3, device.upload(classes), device.upload(there))
    kept, counts = nms(device, *arrays)
    for image, n in enumerate(there):
        twin = numpy_nms(boxes[image, :n], scores[image, :n], 0.3, classes[image, :n])
        found = device.download(kept)[image, : device.download(counts)[image]]
        assert np.array_equal(found, twin), image


def check_scores_that_are_no_numbers_come_last(device: Device) -> None:
    boxes = np.array([[[0, 0, 1, 1], [5, 0, 6, 1], [9, 0, 10, 1]]], np.float32)
    scores = np.array([[np.nan, 0.5, -np.inf]], np.float32)
    kept, _ = nms(device, device.upload(boxes), device.upload(scores), 0.5)
    assert device.download(kept).tolist() == [[1, 2, 0]]
