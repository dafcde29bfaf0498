"""DeformConv rewritten into GridSample: equal to ONNX Runtime's own, and taken by TensorRT's builder."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mattemill.pipeline.engines.compile_engine import compile_engine
from mattemill.pipeline.engines.prepare import prepare
from mattemill.pipeline.engines.recipe import PRECISIONS, EngineRecipe, Precision, Profile, ShapeRange
from mattemill.pipeline.errors import EngineError, ModelError
from mattemill.pipeline.models.rewrite_deform_conv import holds_deform_conv, rewrite_deform_conv, rewrite_file

onnx = pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
ort = pytest.importorskip("onnxruntime")

Planes = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """One DeformConv and the picture it runs on. pads: top, left, bottom, right."""

    channels: int = 4
    filters: int = 6
    kernel: tuple[int, int] = (3, 3)
    size: tuple[int, int] = (9, 11)
    batch: int = 2
    group: int = 1
    offset_group: int = 1
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    modulated: bool = True
    bias: bool = True
    reach: float = 2.0
    opset: int = 19

    @property
    def out(self) -> tuple[int, int]:
        height, width = (
            (
                self.size[axis]
                + self.pads[axis]
                + self.pads[axis + 2]
                - self.dilations[axis] * (self.kernel[axis] - 1)
                - 1
            )
            // self.strides[axis]
            + 1
            for axis in (0, 1)
        )
        return height, width


def _model(layer: Layer, *, free: bool = False, dtype: Any = np.float32) -> Any:
    rng = np.random.default_rng(3)
    taps = layer.kernel[0] * layer.kernel[1]
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shape: list[Any] = ["n", layer.channels, "h", "w"] if free else [layer.batch, layer.channels, *layer.size]
    out: list[Any] = ["oh", "ow"] if free else list(layer.out)
    batch = shape[0]
    given = [
        onnx.helper.make_tensor_value_info("x", kind, shape),
        onnx.helper.make_tensor_value_info("offset", kind, [batch, layer.offset_group * taps * 2, *out]),
    ]
    weights = rng.normal(size=(layer.filters, layer.channels // layer.group, *layer.kernel)).astype(dtype)
    constants = [onnx.numpy_helper.from_array(weights, "w")]
    if layer.bias:
        constants.append(onnx.numpy_helper.from_array(rng.normal(size=layer.filters).astype(dtype), "b"))
    names = ["x", "w", "offset", "b" if layer.bias else ""]
    if layer.modulated:
        given.append(onnx.helper.make_tensor_value_info("mask", kind, [batch, layer.offset_group * taps, *out]))
        names.append("mask")
    node = onnx.helper.make_node(
        "DeformConv",
        names,
        ["y"],
        kernel_shape=layer.kernel,
        strides=layer.strides,
        dilations=layer.dilations,
        pads=layer.pads,
        group=layer.group,
        offset_group=layer.offset_group,
    )
    result = onnx.helper.make_tensor_value_info("y", kind, [batch, layer.filters, *out])
    graph = onnx.helper.make_graph([node], "one", given, [result], constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", layer.opset)], ir_version=9)


def _feed(layer: Layer, seed: int = 0) -> dict[str, Planes]:
    rng = np.random.default_rng(seed)
    taps = layer.kernel[0] * layer.kernel[1]
    places = (layer.batch, layer.offset_group * taps)
    feed = {
        "x": rng.normal(size=(layer.batch, layer.channels, *layer.size)),
        "offset": rng.normal(size=(places[0], 2 * places[1], *layer.out)) * layer.reach,
    }
    if layer.modulated:
        feed["mask"] = rng.random((*places, *layer.out))
    return {name: value.astype(np.float32) for name, value in feed.items()}


def _run(model: Any, feed: dict[str, Any]) -> Planes:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feed)[0])


def _copy(model: Any) -> Any:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    return other


CASES = {
    "as BiRefNet has it": Layer(),
    "7 taps a side": Layer(kernel=(7, 7), pads=(3, 3, 3, 3)),
    "one tap": Layer(kernel=(1, 1), pads=(0, 0, 0, 0)),
    "without a mask": Layer(modulated=False),
    "without a bias": Layer(bias=False),
    "without both": Layer(bias=False, modulated=False),
    "groups of weights": Layer(group=2),
    "groups of offsets": Layer(offset_group=2),
    "both, of different sizes": Layer(channels=12, filters=6, group=3, offset_group=2),
    "stride": Layer(strides=(2, 3), size=(13, 17)),
    "dilation": Layer(dilations=(3, 2), pads=(3, 2, 3, 2)),
    "uneven kernel and padding": Layer(kernel=(2, 5), pads=(0, 3, 2, 1)),
    "all of it": Layer(12, 8, (3, 2), (15, 10), 3, 4, 3, (2, 1), (1, 2), (2, 0, 1, 2)),
    "places far outside": Layer(reach=40.0),
    "a picture of one pixel": Layer(size=(1, 1)),
    "a picture of one row": Layer(size=(1, 23), reach=1.0),
    "names of opset 22": Layer(opset=22, offset_group=2),
}


@pytest.mark.parametrize("layer", CASES.values(), ids=CASES)
def test_the_rewritten_layer_computes_what_the_operator_does(layer: Layer) -> None:
    plain = _model(layer)
    rewritten = _copy(plain)
    assert rewrite_deform_conv(rewritten) == 1
    assert "DeformConv" not in {node.op_type for node in rewritten.graph.node}
    onnx.checker.check_model(rewritten, full_check=True)
    for seed in range(3):
        feed = _feed(layer, seed)
        np.testing.assert_allclose(_run(rewritten, feed), _run(plain, feed), atol=3e-5, rtol=1e-4)


def test_random_layers_agree() -> None:
    rng = np.random.default_rng(11)
    for number in range(25):
        group, offset_group = (int(rng.choice([1, 2, 3])) for _ in range(2))
        layer = Layer(
            channels=6 * int(rng.integers(1, 3)),
            filters=6,
            kernel=(int(rng.integers(1, 5)), int(rng.integers(1, 5))),
            size=(int(rng.integers(8, 20)), int(rng.integers(8, 20))),
            batch=int(rng.integers(1, 3)),
            group=group,
            offset_group=offset_group,
            strides=(int(rng.integers(1, 3)), int(rng.integers(1, 3))),
            dilations=(int(rng.integers(1, 3)), int(rng.integers(1, 3))),
            pads=tuple(int(p) for p in rng.integers(0, 4, 4)),  # type: ignore[arg-type]
            modulated=bool(rng.integers(2)),
            bias=bool(rng.integers(2)),
            reach=float(rng.choice([0.3, 3.0, 15.0])),
        )
        plain = _model(layer)
        rewritten = _copy(plain)
        rewrite_deform_conv(rewritten)
        feed = _feed(layer, number)
        np.testing.assert_allclose(_run(rewritten, feed), _run(plain, feed), atol=3e-5, rtol=1e-4, err_msg=str(layer))


@pytest.mark.parametrize("place", [-1.5, -1.0, -0.5, 0.0, 0.25, 7.5, 8.0, 8.5, 9.0])
def test_at_the_borders_pixels_outside_count_as_zero(place: float) -> None:
    """One tap that reads a column of a ramp at a given row: the weights of both rows fall off to the frame's end."""
    layer = Layer(1, 1, (1, 1), (9, 5), 1, pads=(0, 0, 0, 0), modulated=False, bias=False)
    plain = _model(layer)
    rewritten = _copy(plain)
    rewrite_deform_conv(rewritten)
    x = np.ones((1, 1, 9, 5), np.float32)
    offset = np.zeros((1, 2, 9, 5), np.float32)
    offset[0, 0] = place - np.arange(9, dtype=np.float32)[:, None]  # every pixel reads at row `place`
    weight = float(onnx.numpy_helper.to_array(plain.graph.initializer[0]).item())
    inside = max(0.0, 1 - max(0.0, -place, place - 8))
    expected = np.full((1, 1, 9, 5), weight * inside, np.float32)
    np.testing.assert_allclose(_run(rewritten, {"x": x, "offset": offset}), expected, atol=1e-5)
    np.testing.assert_allclose(_run(plain, {"x": x, "offset": offset}), expected, atol=1e-5)


def test_batch_and_size_stay_free() -> None:
    rewritten = _model(Layer(offset_group=2), free=True)
    rewrite_deform_conv(rewritten)
    for size, batch in (((5, 7), 1), ((20, 3), 4)):
        layer = Layer(offset_group=2, size=size, batch=batch)
        feed = _feed(layer)
        np.testing.assert_allclose(_run(rewritten, feed), _run(_model(layer), feed), atol=3e-5, rtol=1e-4)


def test_in_half_precision_places_are_still_exact_to_a_hundredth_of_a_pixel() -> None:
    layer = Layer(size=(200, 220), batch=1, reach=1.0)
    rewritten = _model(layer, dtype=np.float16)
    rewrite_deform_conv(rewritten)
    halves = {name: value.astype(np.float16) for name, value in _feed(layer).items()}
    exact = {name: value.astype(np.float32) for name, value in halves.items()}
    got, wanted = _run(rewritten, halves), _run(_model(layer), exact)
    # Places in half precision would be wrong by up to a twentieth of a pixel at the far side, and the noise by as much.
    assert float(np.abs(got[..., 150:, 150:] - wanted[..., 150:, 150:]).mean()) < 0.005


def test_two_layers_that_share_weights_keep_them_once_each_and_other_nodes_stay() -> None:
    model = _model(Layer(channels=6, filters=6))
    again = _copy(model).graph.node[0]
    again.input[0], again.output[0] = "between", "z"
    model.graph.node.extend([onnx.helper.make_node("Relu", ["y"], ["between"], name="mine"), again])
    model.graph.output[0].name = "z"
    plain = _copy(model)
    assert rewrite_deform_conv(model) == 2
    assert "mine" in {node.name for node in model.graph.node}
    assert "w" not in {weight.name for weight in model.graph.initializer}
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    feed = _feed(Layer(channels=6, filters=6))
    np.testing.assert_allclose(_run(model, feed), _run(plain, feed), atol=1e-3, rtol=1e-3)


def test_a_network_without_the_operator_is_left_as_it_is() -> None:
    model = _model(Layer())
    rewrite_deform_conv(model)
    once = model.SerializeToString()
    assert rewrite_deform_conv(model) == 0
    assert model.SerializeToString() == once


def test_weights_that_are_computed_are_an_error_that_names_the_layer() -> None:
    model = _model(Layer())
    model.graph.node[0].name = "the_layer"
    model.graph.node.insert(0, onnx.helper.make_node("Neg", ["w"], ["computed"]))
    model.graph.node[1].input[1] = "computed"
    with pytest.raises(ModelError, match="the_layer: its weights computed are no constant"):
        rewrite_deform_conv(model)


def test_an_operator_in_a_subgraph_is_an_error_and_not_left_behind() -> None:
    inner = _model(replace(Layer(), modulated=False)).graph
    branch = onnx.helper.make_graph(list(inner.node), "branch", [], [inner.output[0]], list(inner.initializer))
    condition = onnx.numpy_helper.from_array(np.array(True), "yes")
    node = onnx.helper.make_node("If", ["yes"], ["y"], name="fork", then_branch=branch, else_branch=branch)
    graph = onnx.helper.make_graph([node], "outer", list(inner.input), [inner.output[0]], [condition])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)])
    with pytest.raises(ModelError, match="inside fork"):
        rewrite_deform_conv(model)


def test_files_tell_whether_they_hold_the_operator_and_lose_it(tmp_path: Path) -> None:
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    onnx.save(_model(Layer()), str(before))
    assert holds_deform_conv(before)
    assert rewrite_file(before, after) == 1
    left = {node.op_type for node in onnx.load(str(after)).graph.node}
    assert "DeformConv" not in left
    assert "GridSample" in left
    with pytest.raises(ModelError, match=r"nothing\.onnx: .*cannot be read"):
        holds_deform_conv(tmp_path / "nothing.onnx")
    before.write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"before\.onnx: is no ONNX file"):
        rewrite_file(before, after)


def test_a_name_that_falls_across_two_reads_is_found(tmp_path: Path) -> None:
    file = tmp_path / "long.onnx"
    file.write_bytes(b"x" * ((1 << 22) - 4) + b"DeformConv" + b"y" * 100)
    assert holds_deform_conv(file)
    file.write_bytes(b"x" * ((1 << 22) - 4) + b"DeformConf" + b"y" * 100)
    assert not holds_deform_conv(file)


def test_without_the_onnx_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EngineError, match=r"pip install 'mattemill\[gpu\]'"):
        rewrite_file(tmp_path / "any.onnx", tmp_path / "other.onnx")


def _recipe(precision: Precision, profiles: tuple[Profile, ...] = ()) -> EngineRecipe:
    return EngineRecipe(
        backend="tensorrt_rtx",
        model="deformed",
        onnx_sha256="0" * 64,
        outputs=("y",),
        profiles=profiles,
        precision=precision,
        tools=(),
        flags=(),
        optimisation_level=3,
        workspace_bytes=1 << 30,
    )


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 5e-5), ("fp16", 3e-3)])
def test_the_file_that_an_engine_is_built_from_has_no_such_operator_and_exact_places(
    precision: Precision, tolerance: float, tmp_path: Path
) -> None:
    layer = Layer(size=(200, 220), batch=1, reach=1.0)
    path = tmp_path / "deformed.onnx"
    onnx.save(_model(layer), str(path))
    prepared = onnx.load_from_string(prepare(path, _recipe(precision)))
    assert "DeformConv" not in {node.op_type for node in prepared.graph.node}
    feed = _feed(layer)
    # Offsets that half precision can say: what is left is the arithmetic.
    feed["offset"] = feed["offset"].astype(np.float16).astype(np.float32)
    assert float(np.abs(_run(prepared, feed) - _run(_model(layer), feed)).mean()) < tolerance


@pytest.mark.parametrize("free", [False, True], ids=["fixed sizes", "free batch"])
def test_tensorrt_refuses_the_operator_and_builds_what_it_is_rewritten_to(free: bool, tmp_path: Path) -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx, which is not installed")
    layer = Layer(batch=1, offset_group=2)
    model = _model(layer)
    profile = []
    for given in (*model.graph.input, *model.graph.output):
        dims = [d.dim_value for d in given.type.tensor_type.shape.dim]
        if free:
            given.type.tensor_type.shape.dim[0].dim_param = "n"
            if given in model.graph.input:
                profile.append(ShapeRange(given.name, (1, *dims[1:]), (2, *dims[1:]), (4, *dims[1:])))
    recipe = _recipe("fp32", (tuple(profile),) if profile else ())
    with pytest.raises(EngineError, match="DeformConv"):
        compile_engine(rtx, model.SerializeToString(), recipe)
    path = tmp_path / "deformed.onnx"
    onnx.save(model, str(path))
    for precision in PRECISIONS:
        recipe = replace(recipe, precision=precision)
        assert len(compile_engine(rtx, prepare(path, recipe), recipe).plan) > 1000
