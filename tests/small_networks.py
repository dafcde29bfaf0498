"""Small ONNX files of the contracts of networks whose published weights are not at hand; their answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

DOG = 16
"""The class, of COCO's 80, of the one box that `write_rtdetr` finds."""

_NEVER = -30.0  # the logit of 'certainly not'


def write_birefnet(
    path: Path,
    side: int | str = 1024,
    gain: float = 20.0,
    *,
    out: int = 1024,
    deform: bool = True,
    batch: int | str = 1,
) -> Path:
    """An ONNX file of BiRefNet's contract: input_image -> output_image, `gain` times red.

    batch: a number is also in the shapes on the way, as the windows of its transformer have it; a name is free.

    deform: a modulated deformable convolution of 3 x 3 at 1/16 of the size lies on the way, as in its decoder, whose
    offsets come from the picture; its result counts for a hundredth.
    """
    onnx = pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    helper, to_tensor = onnx.helper, onnx.numpy_helper.from_array
    rng = np.random.default_rng(5)

    def normal(name: str, *shape: int) -> Any:
        return to_tensor((rng.normal(size=shape) * 0.3).astype(np.float32), name)

    red = np.zeros((1, 3, 1, 1), np.float32)
    red[0, 0] = gain * 0.229
    weights = [
        to_tensor(red, "red"),
        to_tensor(np.full(1, gain * (0.485 - 0.5), np.float32), "shift"),
        to_tensor(np.array([1, 1, out, out], np.int64), "sizes"),
    ]
    nodes = [helper.make_node("Conv", ["input_image", "red", "shift"], ["logits"], kernel_shape=[1, 1])]
    last = "logits"
    if deform:
        weights += [normal("down", 8, 3, 16, 16), normal("to_offset", 18, 8, 3, 3), normal("to_mask", 9, 8, 3, 3)]
        weights += [normal("deformed", 1, 8, 3, 3), to_tensor(np.float32(0.01), "little")]
        pads = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
        nodes += [
            helper.make_node("Conv", ["input_image", "down"], ["deep"], kernel_shape=[16, 16], strides=[16, 16]),
            helper.make_node("Conv", ["deep", "to_offset"], ["offset"], **pads),
            helper.make_node("Conv", ["deep", "to_mask"], ["mask_logits"], **pads),
            helper.make_node("Sigmoid", ["mask_logits"], ["mask"]),
            helper.make_node("DeformConv", ["deep", "deformed", "offset", "", "mask"], ["aspp"], name="aspp", **pads),
            helper.make_node("Mul", ["aspp", "little"], ["small"]),
            helper.make_node("Resize", ["small", "", "scales"], ["wide"], mode="linear"),
            helper.make_node("Add", ["logits", "wide"], ["sum"]),
        ]
        weights.append(to_tensor(np.array([1, 1, 16, 16], np.float32), "scales"))
        last = "sum"
    if isinstance(batch, int):
        nodes.append(helper.make_node("Reshape", [last, "shape"], ["output_image"]))
        weights.append(
            to_tensor(np.array([batch, 1, *([side, side] if isinstance(side, int) else [out, out])]), "shape")
        )
    else:
        nodes.append(helper.make_node("Identity", [last], ["output_image"]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "birefnet",
        [value("input_image", 1, [batch, 3, side, side])],
        [value("output_image", 1, [batch, 1, side, side])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), str(path))
    return path


def write_rtdetr(path: Path, classes: int = 80, queries: int = 6) -> Path:
    """An ONNX file of the published contract: pixel_values (n, 3, h, w) -> logits, pred_boxes.

    Query 0 is a dog exactly where the whole picture's mean red is over .5, in a box whose width is that mean.
    """
    onnx = pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper

    def constant(name: str, value: Any, dtype: Any = np.float32) -> Any:
        return numpy_helper.from_array(np.asarray(value, dtype), name)

    gain = np.zeros((3, queries * classes), np.float32)
    gain[0, DOG] = 40.0
    shift = np.full(queries * classes, _NEVER, np.float32)
    shift[DOG] = -20.0
    side = np.zeros((3, queries * 4), np.float32)
    side[0, 2] = 1.0
    base = np.full(queries * 4, 0.5, np.float32)
    base[2] = 0.0
    weights = [
        constant("gain", gain),
        constant("shift", shift),
        constant("side", side),
        constant("base", base),
        constant("logit_shape", [-1, queries, classes], np.int64),
        constant("box_shape", [-1, queries, 4], np.int64),
    ]
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["mean"]),
        helper.make_node("Gemm", ["mean", "gain", "shift"], ["flat_logits"]),
        helper.make_node("Reshape", ["flat_logits", "logit_shape"], ["logits"]),
        helper.make_node("Gemm", ["mean", "side", "base"], ["flat_boxes"]),
        helper.make_node("Reshape", ["flat_boxes", "box_shape"], ["pred_boxes"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "rtdetr",
        [value("pixel_values", 1, ["n", 3, "h", "w"])],
        [value("logits", 1, ["n", queries, classes]), value("pred_boxes", 1, ["n", queries, 4])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def write_vitmatte(path: Path) -> Path:
    """An ONNX file of ViTMatte's contract: pixel_values (n, 4, h, w) -> alphas, which is red in 0..1."""
    onnx = pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    helper, to_tensor = onnx.helper, onnx.numpy_helper.from_array
    red = np.zeros((1, 4, 1, 1), np.float32)
    red[0, 0] = 0.5
    node = helper.make_node("Conv", ["pixel_values", "red", "half"], ["alphas"], kernel_shape=[1, 1])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "vitmatte",
        [value("pixel_values", 1, ["n", 4, "h", "w"])],
        [value("alphas", 1, ["n", 1, "h", "w"])],
        [to_tensor(red, "red"), to_tensor(np.full(1, 0.5, np.float32), "half")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path
