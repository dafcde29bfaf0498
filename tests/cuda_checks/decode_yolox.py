"""decode_yolox.cu against what the pipeline does with NumPy."""

from __future__ import annotations

import numpy as np
from cuda_checks.tools import worst

from mattemill.kernels.cuda.decode_yolox import decode_yolox
from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.nms import nms
from mattemill.pipeline.models.coco_boxes import keep_best
from mattemill.pipeline.models.yolox import _grid
from mattemill.pipeline.models.yolox import decode_yolox as numpy_decode_yolox

SIZE, KINDS, THRESHOLD, IOU = (128, 160), 80, 0.3, 0.45
PLACED = [(0.5, (0, 0)), (0.25, (3, 7)), (2.0, (0, 0))]
SHAPES = [(128, 192), (200, 250), (30, 40)]


def output(seed: int) -> np.ndarray:
    """As a network gives it: a few sure rows, many that are not, one absurd one."""
    rng = np.random.default_rng(seed)
    rows = sum((SIZE[0] // s) * (SIZE[1] // s) for s in (8, 16, 32))
    raw = np.empty((3, rows, 5 + KINDS), np.float32)
    raw[..., :2] = rng.normal(0.5, 1, (3, rows, 2))
    raw[..., 2:4] = rng.normal(0.5, 0.7, (3, rows, 2))
    raw[..., 4] = rng.random((3, rows))
    raw[..., 5:] = rng.random((3, rows, KINDS)) ** 8
    raw[0, 5, 2:4] = 50  # exp of it is more than a float holds
    return raw


def check_a_batch_agrees_with_the_pipelines_own_decoding(device: Device) -> None:
    raw = output(1)
    found = decode_yolox(device, device.upload(raw), SIZE, PLACED, SHAPES, THRESHOLD)
    boxes, scores, classes, counts = map(device.download, (found.boxes, found.scores, found.classes, found.counts))
    kept, kept_counts = nms(device, found.boxes, found.scores, IOU, found.classes, found.counts)
    grid, stride = _grid(SIZE)
    for image, ((scale, (dx, dy)), shape) in enumerate(zip(PLACED, SHAPES, strict=True)):
        exact = raw[image].astype(np.float64)
        exact_boxes = numpy_decode_yolox(exact[:, :4], grid.astype(np.float64), stride.astype(np.float64))
        exact_boxes = (exact_boxes - [dx, dy, dx, dy]) / scale
        exact_boxes = np.clip(exact_boxes, 0, [shape[1], shape[0], shape[1], shape[0]])
        sure = raw[image, :, 4:5] * raw[image, :, 5:]
        stays = (sure.max(axis=1) >= THRESHOLD) & (exact_boxes[:, 2:] > exact_boxes[:, :2]).all(axis=1)
        n = counts[image]
        assert n == stays.sum() > 5
        assert worst(boxes[image, :n], exact_boxes[stays]) < 1e-3
        assert np.array_equal(scores[image, :n], sure.max(axis=1)[stays])
        assert np.array_equal(classes[image, :n], sure.argmax(axis=1)[stays])
        twin = keep_best(
            (numpy_decode_yolox(raw[image, :, :4], grid, stride) - np.float32([dx, dy, dx, dy])) / np.float32(scale),
            sure,
            shape,
            score_threshold=THRESHOLD,
            iou_threshold=IOU,
        )
        chosen = device.download(kept)[image, : device.download(kept_counts)[image]]
        assert worst(boxes[image][chosen], twin.boxes) < 1e-3
        assert np.array_equal(classes[image][chosen], twin.classes)


def check_of_equal_classes_the_first_counts(device: Device) -> None:
    raw = output(2)
    raw[..., 5:] = 0.25
    raw[..., 5 + 37] = raw[..., 5 + 70] = 1.0
    found = decode_yolox(device, device.upload(raw), SIZE, PLACED, SHAPES, 0.0)
    classes, counts = device.download(found.classes), device.download(found.counts)
    assert all((classes[image, : counts[image]] == 37).all() for image in range(3))


def check_nothing_sure_is_no_candidates(device: Device) -> None:
    found = decode_yolox(device, device.upload(output(3)), SIZE, PLACED, SHAPES, 1.5)
    assert device.download(found.counts).tolist() == [0, 0, 0]
