"""Small random networks of the kinds that are pruned, and photographs to prune them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.cards import card_of

SIDE = 32


def small_network(seed: int = 0, *, norm: bool = False, fixed_sizes: bool = False) -> Any:
    """conv -> pool -> conv -> resize -> concat -> conv, joined by an addition, with two sigmoid outputs as U2-Net has.

    norm: batch normalisation after the first convolution. fixed_sizes: the Resize has its whole output shape written
    down; else it comes from Shape, Slice and Concat, as PyTorch's exporter has it.
    """
    import onnx

    rng = np.random.default_rng(seed)
    h, tensors, nodes = onnx.helper, [], []

    def constant(name: str, values: Any) -> str:
        tensors.append(onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def conv(name: str, source: str, outs: int, ins: int, kernel: int = 3, *, group: int = 1) -> str:
        weight = rng.normal(0, (2 / (ins * kernel**2)) ** 0.5, (outs, ins // group, kernel, kernel)).astype(np.float32)
        inputs = [source, constant(f"{name}.w", weight), constant(f"{name}.b", rng.normal(0, 0.1, outs).astype("f4"))]
        nodes.append(h.make_node("Conv", inputs, [name], name, pads=[kernel // 2] * 4, group=group))
        return name

    def node(kind: str, sources: list[str], name: str, **options: Any) -> str:
        nodes.append(h.make_node(kind, sources, [name], name, **options))
        return name

    first = conv("a", "pixels", 16, 3)
    if norm:
        four = [
            constant(f"bn{i}", v.astype("f4"))
            for i, v in enumerate((rng.uniform(0.5, 2, 16), *rng.normal(0, 0.3, (2, 16)), rng.uniform(0.5, 2, 16)))
        ]
        first = node("BatchNormalization", [first, *four], "a.norm")
    a = node("Relu", [first], "a.relu")
    low = node("MaxPool", [a], "pooled", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    b = node("Relu", [conv("b", low, 24, 16)], "b.relu")
    b = node("Relu", [conv("b.depthwise", b, 24, 24, group=24)], "b.dw.relu")
    if fixed_sizes:
        sizes = constant("sizes", np.array([1, 24, SIDE, SIDE], np.int64))
    else:
        full, half = node("Shape", [a], "full"), node("Shape", [b], "half")
        zero, two = constant("zero", np.array([0], np.int64)), constant("two", np.array([2], np.int64))
        four_ = constant("four", np.array([4], np.int64))
        sides = node("Slice", [full, two, four_, zero], "sides")
        sizes = node("Concat", [node("Slice", [half, zero, two, zero], "front"), sides], "both", axis=0)
    none = constant("none", np.zeros(0, np.float32))
    up = node(
        "Resize", [b, none, none, sizes], "up", mode="linear", coordinate_transformation_mode="pytorch_half_pixel"
    )
    c = conv("c", node("Concat", [up, a], "joined", axis=1), 16, 40)
    total = node("Add", [c, a], "total")
    node("Sigmoid", [conv("main", total, 1, 16, 1)], "mask")
    node("Sigmoid", [conv("side", b, 1, 24, 1)], "side.mask")
    graph = h.make_graph(
        nodes,
        "small",
        [h.make_tensor_value_info("pixels", 1, [1, 3, SIDE, SIDE])],
        [h.make_tensor_value_info(name, 1, [1, 1, "h", "w"]) for name in ("mask", "side.mask")],
        tensors,
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model


@pytest.fixture(scope="session")
def network() -> Callable[..., Any]:
    return small_network


@pytest.fixture
def card() -> ModelCard:
    base = card_of("u2netp")
    return replace(
        base,
        name="small",
        input=replace(base.input, name="pixels", size=(SIDE, SIDE)),
        output=replace(base.output, names=("mask",)),
    )


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """24 pictures of a bright disc somewhere on a darker ground."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    rows, columns = np.mgrid[:48, :64]
    for i in range(24):
        rng = np.random.default_rng(i)
        inside = np.hypot(rows - rng.uniform(12, 36), columns - rng.uniform(16, 48)) < rng.uniform(6, 16)
        ground, subject = rng.uniform(0, 120, 3), rng.uniform(130, 255, 3)
        pixels = np.where(inside[..., None], subject, ground) + rng.normal(0, 6, (48, 64, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder
