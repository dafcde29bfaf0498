"""DeformConv in an ONNX file, rewritten into GridSample and plain arithmetic.

TensorRT has no DeformConv and fails on files that hold it (BiRefNet exported at opset 19); GridSample, which samples
at free places with the same bilinear weights and the same zeros outside, it has.

    y(p) = sum over taps k of  w(k) * m(k, p) * x(p * stride - padding + k * dilation + offset(k, p))

Zhu et al., Deformable ConvNets v2, CVPR 2019 (equation 1; the mask m is its modulation). The taps' samples become
channels, so that the sum over taps is a convolution of 1 x 1 with the same weights in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mattemill.pipeline.errors import EngineError, ModelError

OPERATOR = "DeformConv"
PREFIX = "deform_conv"
"""With a slash, how the names of all new nodes and tensors begin. The nodes under `PREFIX/N/grid/` compute places in
pixels: they have to stay in float32 when the rest of the file goes to half precision."""

_GRID_SAMPLE_OPSET = 16
_LINEAR_OPSET = 20  # from here on GridSample's mode 'bilinear' is called 'linear'
_MARK = OPERATOR.encode()


@dataclass(frozen=True, slots=True)
class _Layer:
    """What of one DeformConv is known before it runs. Sizes are (rows, columns)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    group: int
    offset_group: int
    channels: int
    dtype: int

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]


def holds_deform_conv(path: Path) -> bool:
    """Whether the file may hold the operator: its name stands in it. Needs no onnx package; reads the file once.

    Raises ModelError when the file cannot be read.
    """
    tail = b""
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                if _MARK in tail + block:
                    return True
                tail = block[-len(_MARK) :]
    except OSError as error:
        raise ModelError(f"{path}: the network's file cannot be read ({error})") from error
    return False


def rewrite_file(path: Path, into: Path) -> int:
    """Write the network in `path` to `into` without DeformConv; how many there were.

    Raises EngineError without the onnx package, ModelError when the file is no ONNX file or a layer cannot be
    rewritten.
    """
    onnx = _onnx()
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's errors have no common base
        raise ModelError(f"{path}: is no ONNX file ({error})") from error
    try:
        count = rewrite_deform_conv(model)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    onnx.save(model, str(into))
    return count


def rewrite_deform_conv(model: Any) -> int:
    """Rewrite every DeformConv of an onnx.ModelProto in place; how many there were.

    Batch, height and width may be free. Weights have to be constants of the file, in float32 or float16; places are
    computed in float32 in either case. Results differ from ONNX Runtime's own DeformConv by float32's rounding.

    Raises EngineError without the onnx package; ModelError when a layer's weights are computed, its type is another,
    it lies in a subgraph, or the file is older than opset 16 (DeformConv itself came with 19).
    """
    onnx = _onnx()
    found = [node for node in model.graph.node if _is_deform_conv(node)]
    nested = [node.name for node in model.graph.node for inner in _inner_nodes(node) if _is_deform_conv(inner)]
    if nested:
        raise ModelError(f"{OPERATOR} inside {nested[0] or 'a subgraph'}: only those of the main graph are rewritten")
    if not found:
        return 0
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < _GRID_SAMPLE_OPSET:
        raise ModelError(f"opset {opset} has no GridSample: export the network at opset 19 or later")
    graph = model.graph
    nodes: list[Any] = []
    number = 0
    for node in graph.node:
        if _is_deform_conv(node):
            nodes += _replacement(onnx, graph, node, f"{PREFIX}/{number}", opset)
            number += 1
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph, {name for node in found for name in node.input})
    return number


def _replacement(onnx: Any, graph: Any, node: Any, name: str, opset: int) -> list[Any]:
    """The nodes that compute what one DeformConv does, and its constants put into the graph."""
    weights = _constant(onnx, graph, node.input[1], node)
    layer = _layer(onnx, node, weights)
    x, _, offset, bias, mask = (list(node.input) + [""] * 5)[:5]
    build = _Build(onnx, graph, name)
    grid = _grid(build, layer, x, offset)
    groups, taps = layer.offset_group, layer.taps
    half = layer.dtype == onnx.TensorProto.FLOAT16
    if half:  # GridSample wants one type in TensorRT and float32 in ONNX Runtime
        x, mask = build("Cast", x, to=onnx.TensorProto.FLOAT), mask and build("Cast", mask, to=onnx.TensorProto.FLOAT)
    # (N, C, H, W) -> (N * groups, C / groups, H, W): each group has places of its own.
    parted = build("Reshape", x, build.ints("parted", [-1, layer.channels // groups, 0, 0])) if groups > 1 else x
    mode = "linear" if opset >= _LINEAR_OPSET else "bilinear"
    # (N * groups, C / groups, taps, h * w)
    samples = build("GridSample", parted, grid, mode=mode, padding_mode="zeros", align_corners=0)
    if mask:
        by_tap = build("Reshape", mask, build.ints("by_tap", [-1, taps, 0, 0]))
        samples = build("Mul", samples, build("Reshape", by_tap, build.ints("modulation", [0, 1, taps, -1])))
    size = build("Slice", build("Shape", offset), build.ints("two", [2]), build.ints("four", [4]))
    shape = build("Concat", build.ints("channels", [-1, layer.channels * taps]), size, axis=0)
    columns = build("Reshape", samples, shape)
    if half:
        columns = build("Cast", columns, to=layer.dtype)
    flat = weights.reshape(weights.shape[0], -1, 1, 1)
    inputs = [columns, build.constant("weights", flat), *([bias] if bias else [])]
    build("Conv", *inputs, output=node.output[0], kernel_shape=[1, 1], group=layer.group)
    return build.nodes


def _grid(build: _Build, layer: _Layer, x: str, offset: str) -> str:
    """Places as GridSample wants them: float32 (N * offset groups, taps, h * w, 2), x then y, -1..1 over the picture.

    offset: (N, offset groups * taps * 2, h, w), y then x of each tap, in pixels. -1 and 1 are the outer edges of the
    corner pixels (align_corners = 0), so that a side of one pixel divides by no zero.
    """
    grid = build.under("grid")
    taps = layer.taps
    float32 = grid.onnx.TensorProto.FLOAT
    if layer.dtype != float32:
        offset = grid("Cast", offset, to=float32)
    moved = grid("Reshape", offset, grid.ints("pairs", [-1, 2 * taps, 0, 0]))
    is_row = np.array([1.0, 0.0] * taps, np.float32).reshape(1, -1, 1, 1)
    rows, columns = np.mgrid[: layer.kernel[0], : layer.kernel[1]]
    first = np.stack(
        [
            rows.ravel() * layer.dilation[0] - layer.padding[0],
            columns.ravel() * layer.dilation[1] - layer.padding[1],
        ],
        axis=1,
    )
    out = grid("Shape", offset)
    across = _steps(grid, "row", out, 2, [1, 1, -1, 1]), _steps(grid, "column", out, 3, [1, 1, 1, -1])
    rows_at = grid("Mul", across[0], grid.constant("stride_rows", is_row * np.float32(layer.stride[0])))
    columns_at = grid("Mul", across[1], grid.constant("stride_columns", (1 - is_row) * np.float32(layer.stride[1])))
    # A half more: pixel centres lie at .5, counted from the picture's edge.
    start = grid.constant("start", first.astype(np.float32).reshape(1, -1, 1, 1) + np.float32(0.5))
    place = grid("Add", grid("Add", moved, start), grid("Add", rows_at, columns_at))
    sides = grid("Cast", grid("Slice", grid("Shape", x), grid.ints("two", [2]), grid.ints("four", [4])), to=float32)
    side = grid("Reshape", grid("Tile", sides, grid.ints("taps", [taps])), grid.ints("planes", [1, 2 * taps, 1, 1]))
    scaled = grid("Sub", grid("Mul", place, grid("Div", grid.constant("two_", np.float32(2)), side)), grid.one())
    paired = grid("Reshape", scaled, grid.ints("paired", [0, taps, 2, -1]))
    swapped = grid("Gather", paired, grid.ints("x_then_y", [1, 0]), axis=2)
    return grid("Transpose", swapped, perm=[0, 1, 3, 2])


def _steps(grid: _Build, what: str, shape: str, axis: int, place: list[int]) -> str:
    """0, 1, 2 ... along an axis of the result, as float32 with the rank of `place`."""
    length = grid("Gather", shape, grid.constant(f"{what}_axis", np.int64(axis)), axis=0)
    zero, one = grid.constant(f"{what}_zero", np.int64(0)), grid.constant(f"{what}_one", np.int64(1))
    count = grid("Cast", grid("Range", zero, length, one), to=grid.onnx.TensorProto.FLOAT)
    return grid("Reshape", count, grid.ints(f"{what}s", place))


class _Build:
    """Collects nodes, in order, under one name; every call returns the name of the new tensor."""

    def __init__(self, onnx: Any, graph: Any, name: str, nodes: list[Any] | None = None) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = [] if nodes is None else nodes
        self._graph = graph
        self._name = name
        self._made = 0

    def __call__(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = f"{self._name}/{operator}_{self._made}"
        self._made += 1
        made = output or name
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [made], name=name, **attributes))
        return made

    def under(self, part: str) -> _Build:
        """The same list of nodes, names one step deeper."""
        return _Build(self.onnx, self._graph, f"{self._name}/{part}", self.nodes)

    def constant(self, what: str, value: Any) -> str:
        name = f"{self._name}/{what}"
        if all(known.name != name for known in self._graph.initializer):
            array = np.asarray(value)
            self._graph.initializer.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def ints(self, what: str, values: list[int]) -> str:
        return self.constant(what, np.array(values, np.int64))

    def one(self) -> str:
        return self.constant("one", np.float32(1))


def _layer(onnx: Any, node: Any, weights: Any) -> _Layer:
    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    kernel = (int(weights.shape[2]), int(weights.shape[3]))
    pads = list(given.get("pads", [0, 0, 0, 0]))
    group, offset_group = int(given.get("group", 1)), int(given.get("offset_group", 1))
    channels = int(weights.shape[1]) * group
    if tuple(given.get("kernel_shape", kernel)) != kernel or channels % offset_group:
        raise ModelError(
            f"{OPERATOR} {node.name}: weights {weights.shape} in {group} groups do not fit kernel_shape "
            f"{tuple(given.get('kernel_shape', kernel))} and {offset_group} offset groups"
        )
    dtype = onnx.helper.np_dtype_to_tensor_dtype(weights.dtype)
    if dtype not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
        raise ModelError(f"{OPERATOR} {node.name}: weights are {weights.dtype}; float32 and float16 are rewritten")
    stride, dilation = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    return _Layer(
        kernel=kernel,
        stride=(int(stride[0]), int(stride[1])),
        # What is padded at the end shows in the size of the offsets alone.
        padding=(int(pads[0]), int(pads[1])),
        dilation=(int(dilation[0]), int(dilation[1])),
        group=group,
        offset_group=offset_group,
        channels=channels,
        dtype=dtype,
    )


def _constant(onnx: Any, graph: Any, name: str, user: Any) -> Any:
    """The weights: an initialiser, a Constant, or either behind Identity nodes."""
    makers = {output: node for node in graph.node for output in node.output}
    while name in makers and makers[name].op_type == "Identity":
        name = makers[name].input[0]
    for weight in graph.initializer:
        if weight.name == name:
            return onnx.numpy_helper.to_array(weight)
    maker = makers.get(name)
    if maker is not None and maker.op_type == "Constant" and maker.attribute[0].name == "value":
        return onnx.numpy_helper.to_array(maker.attribute[0].t)
    raise ModelError(f"{OPERATOR} {user.name}: its weights {name} are no constant of the file")


def _drop_unused(graph: Any, candidates: set[str]) -> None:
    """Weights that only the rewritten layers read."""
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for node in graph.node:
        read.update(name for inner in _inner_nodes(node) for name in inner.input)
    for weight in [w for w in graph.initializer if w.name in candidates and w.name not in read]:
        graph.initializer.remove(weight)


def _is_deform_conv(node: Any) -> bool:
    return node.op_type == OPERATOR and node.domain in ("", "ai.onnx")


def _inner_nodes(node: Any) -> list[Any]:
    """Nodes of a node's subgraphs, at any depth."""
    found = []
    for attribute in node.attribute:
        for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            for inner in graph.node:
                found += [inner, *_inner_nodes(inner)]
    return found


def _onnx() -> Any:
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise EngineError(
            f"rewriting {OPERATOR} needs the onnx package ({error}): pip install 'mattemill[gpu]' installs it"
        ) from error
    return onnx
