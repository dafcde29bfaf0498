"""The key of an engine: everything that can change a plan changes it, and nothing else does."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from engine_case import H200, PARITY, recipe, sidecar_of

from mattemill.pipeline.engines.onnx_hash import external_files, onnx_sha256
from mattemill.pipeline.engines.recipe import EngineRecipe, ShapeRange, Target, engine_key
from mattemill.pipeline.engines.sidecar import loads
from mattemill.pipeline.errors import EngineError, ModelError

_OTHER = {
    "backend": "tensorrt_rtx",
    "model": "u2net",
    "onnx_sha256": "31" * 32,
    "outputs": ("1959", "1960"),
    "profiles": ((ShapeRange("input.1", (1, 3, 320, 320), (8, 3, 320, 320), (32, 3, 320, 320)),),),
    "precision": "fp32",
    "tools": (("onnx", "1.23.3"), ("onnxruntime", "1.32.0")),
    "flags": ("TF32",),
    "optimisation_level": 4,
    "workspace_bytes": 1 << 30,
}


@pytest.mark.parametrize("name", [field.name for field in fields(EngineRecipe)])
def test_every_part_of_a_recipe_is_in_the_key(name: str) -> None:
    assert engine_key(recipe(**{name: _OTHER[name]}), H200) != engine_key(recipe(), H200)


@pytest.mark.parametrize(
    "target", [replace(H200, version="11.4.1.7"), replace(H200, compute_capability="10.0"), replace(H200, gpu="H100")]
)
def test_every_part_of_a_target_is_in_the_key(target: Target) -> None:
    assert engine_key(recipe(), target) != engine_key(recipe(), H200)


def test_the_key_of_the_same_recipe_is_the_same_in_another_process_and_another_year() -> None:
    assert engine_key(recipe(), H200) == "5c12eedd61739e9f4ad2e4813df8cff130c170784ae481472bd29bb7407bde5f"


def test_a_profile_that_does_not_grow_is_an_error_that_names_its_input() -> None:
    with pytest.raises(EngineError, match=r"profile of input input\.1.*do not grow"):
        ShapeRange("input.1", (1, 3, 320, 320), (8, 3, 320, 320), (4, 3, 320, 320))
    with pytest.raises(EngineError, match="number of dimensions"):
        ShapeRange("x", (1, 3), (1, 3, 320), (1, 3, 320))
    with pytest.raises(EngineError, match="do not grow"):
        ShapeRange("x", (0, 3), (1, 3), (1, 3))


def test_a_profile_holds_the_shapes_between_its_ends_and_no_others() -> None:
    sizes = ShapeRange("given", (1, 6, 32, 32), (4, 6, 192, 192), (16, 6, 352, 352))
    assert sizes.holds((1, 6, 32, 352))
    assert not sizes.holds((17, 6, 32, 32))
    assert not sizes.holds((1, 6, 31, 32))
    assert not sizes.holds((6, 32, 32))


def test_a_sidecar_is_read_back_as_it_was_written() -> None:
    for parity in (PARITY, None):
        written = sidecar_of(b"plan", parity=parity)
        assert loads(written.dumps()) == written


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda plain: plain.update(format=99), "format 99"),
        (lambda plain: plain["recipe"].update(precision="int4"), "not known"),
        (lambda plain: plain["recipe"].update(optimisation_level=5), "key is not that of its recipe"),
        (lambda plain: plain.pop("plan_sha256"), "plan_sha256"),
        (lambda plain: plain["target"].update(colour="green"), "colour"),
    ],
)
def test_a_sidecar_that_was_changed_is_an_error_that_says_how(change: object, says: str) -> None:
    plain = json.loads(sidecar_of(b"plan").dumps())
    change(plain)  # type: ignore[operator]
    with pytest.raises(EngineError, match=says):
        loads(json.dumps(plain))


def test_a_sidecar_that_is_cut_off_is_an_error() -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        loads(sidecar_of(b"plan").dumps()[:-20])


def _with_outside_weights(folder: Path, location: str = "weights.bin") -> Path:
    onnx = pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    weight = onnx.numpy_helper.from_array(np.arange(4096, dtype=np.float32), "w")
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4096])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4096])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    path = folder / "big.onnx"
    onnx.save_model(onnx.helper.make_model(graph), path, save_as_external_data=True, location=location)
    return path


def test_a_network_in_one_file_has_the_hash_of_its_card(u2netp: Path) -> None:
    assert onnx_sha256(u2netp) == "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"


def test_weights_in_another_file_are_in_the_hash(tmp_path: Path) -> None:
    network = _with_outside_weights(tmp_path)
    assert external_files(network) == ("weights.bin",)
    before = onnx_sha256(network)
    weights = tmp_path / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert onnx_sha256(network) != before


def test_weights_that_are_missing_are_an_error_with_their_name(tmp_path: Path) -> None:
    network = _with_outside_weights(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"weights\.bin"):
        onnx_sha256(network)


def test_weights_outside_of_the_networks_folder_are_not_read(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    network = _with_outside_weights(tmp_path)
    model = onnx.load(network, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../../etc/passwd"
    network.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="outside of its folder"):
        onnx_sha256(network)
