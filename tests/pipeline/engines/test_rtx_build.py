"""Every network that we use, in every precision and profile, through TensorRT-RTX's builder, which needs no GPU.

This proves the rewriting of the ONNX file, its types and operators, the profiles and the calls to the builder. It runs
no engine: that takes a GPU (tests/gpu).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mattemill.kernels.network_input import network_input
from mattemill.pipeline.engines.catalogue import profiles_of, recipe_of
from mattemill.pipeline.engines.compile_engine import compile_engine
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.engines.prepare import prepare
from mattemill.pipeline.engines.recipe import PRECISIONS, EngineRecipe, Precision
from mattemill.pipeline.engines.tensorrt_api import TensorRt
from mattemill.pipeline.errors import EngineError, ModelError
from mattemill.pipeline.matting.tile_plan import BLEND, LARGEST, MARGIN, MULTIPLE
from mattemill.pipeline.matting.tiles import Rectangle, padded
from mattemill.pipeline.models.cache import cached_file, is_fetched
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.cards import CARDS, card_of

_DETECTOR_FILES = {"yolox_nano": "yolox_nano/yolox_nano.onnx", "nanodet_m": "nanodet_m/nanodet_m_416.onnx"}


@pytest.fixture(scope="module")
def rtx() -> TensorRt:
    pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    module: TensorRt = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx, which is not installed")
    return module


def _file(name: str, request: pytest.FixtureRequest) -> Path:
    if name in _DETECTOR_FILES:
        return request.getfixturevalue("shared_models") / _DETECTOR_FILES[name]
    if name == "u2netp":
        return request.getfixturevalue("u2netp")
    if not is_fetched(card_of(name)):
        pytest.skip(f"needs the network {name} in the model cache: mattemill models fetch {name}")
    return cached_file(card_of(name))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CARDS)
def test_every_network_builds_in_every_precision_and_profile(
    name: str, precision: Precision, rtx: TensorRt, request: pytest.FixtureRequest
) -> None:
    path = _file(name, request)
    recipe = recipe_of(card_of(name), path, "tensorrt_rtx", precision)
    steps: list[float] = []
    made = compile_engine(rtx, prepare(path, recipe), recipe, on_step=lambda share, phase: steps.append(share))
    weights = path.stat().st_size
    # Weights are the bulk of a plan, and half of it in half precision. mattenet's file stores halves of its own.
    assert len(made.plan) > weights * (0.5 if precision == "fp16" else 0.9)
    assert made.timing_cache is None
    assert steps
    assert all(0.0 <= share <= 1.0 for share in steps)


def test_a_plan_in_half_precision_is_little_more_than_half_as_large(u2netp: Path, rtx: TensorRt) -> None:
    sizes = {}
    for precision in PRECISIONS:
        recipe = recipe_of(card_of("u2netp"), u2netp, "tensorrt_rtx", precision)
        sizes[precision] = len(compile_engine(rtx, prepare(u2netp, recipe), recipe).plan)
    assert sizes["fp16"] < 0.8 * sizes["fp32"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rewriting_a_network_twice_gives_the_same_bytes(precision: Precision, u2netp: Path) -> None:
    pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    recipe = recipe_of(card_of("u2netp"), u2netp, "tensorrt_rtx", precision)
    assert prepare(u2netp, recipe) == prepare(u2netp, recipe)


def test_what_the_builder_cannot_read_is_an_error_that_quotes_it(u2netp: Path, rtx: TensorRt) -> None:
    recipe = recipe_of(card_of("u2netp"), u2netp, "tensorrt_rtx", "fp32")
    with pytest.raises(EngineError, match=r"model u2netp in fp32: tensorrt_rtx cannot read the ONNX file: .+"):
        compile_engine(rtx, b"not a network", recipe)


def test_a_workspace_that_is_too_small_is_an_error_that_says_so(u2netp: Path, rtx: TensorRt) -> None:
    recipe = dataclasses.replace(recipe_of(card_of("u2netp"), u2netp, "tensorrt_rtx", "fp32"), workspace_bytes=1 << 30)
    with pytest.raises(EngineError, match=r"built nothing: .*OutOfMemory"):
        compile_engine(rtx, prepare(u2netp, recipe), recipe)


def test_an_input_with_free_dimensions_and_no_profile_is_an_error(rtx: TensorRt) -> None:
    path = cached_file(card_of("mattenet"))
    recipe = dataclasses.replace(recipe_of(card_of("mattenet"), path, "tensorrt_rtx", "fp32"), profiles=())
    with pytest.raises(EngineError, match="no optimization profile"):
        compile_engine(rtx, prepare(path, recipe), recipe)


def _engine(onnx: bytes, folder: Path, recipe: EngineRecipe) -> OnnxRuntimeEngine:
    path = folder / f"{recipe.model}-{recipe.precision}.onnx"
    path.write_bytes(onnx)
    return OnnxRuntimeEngine(path, outputs=recipe.outputs)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("fp16", 5e-3)])
def test_the_rewritten_file_computes_what_the_network_does_for_every_photograph_of_a_batch(
    precision: Precision, tolerance: float, u2netp: Path, tmp_path: Path, sample_photos: Path
) -> None:
    pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    card = card_of("u2netp")
    recipe = recipe_of(card, u2netp, "tensorrt", precision)
    images = np.concatenate([_input(card, sample_photos / name) for name in ("cat.png", "astronaut.jpg")])
    plain = OnnxRuntimeEngine(u2netp, outputs=recipe.outputs)
    expected = np.concatenate([plain.run({"input.1": image[None]})["1959"] for image in images])
    got = _engine(prepare(u2netp, recipe), tmp_path, recipe).run({"input.1": images})
    assert list(got) == ["1959"]
    assert float(np.abs(got["1959"] - expected).mean()) < tolerance


def _input(card: ModelCard, photo: Path) -> npt.NDArray[np.float32]:
    pixels = np.asarray(Image.open(photo).convert("RGB"))
    given = card.input
    return network_input(
        pixels, given.size, divisor=given.divisor, mean=given.mean, std=given.std, resample=given.resample
    )


def test_the_matting_network_is_rewritten_for_every_size_of_a_tile(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    path = cached_file(card_of("mattenet"))
    recipe = recipe_of(card_of("mattenet"), path, "tensorrt", "fp16")
    halves, plain = _engine(prepare(path, recipe), tmp_path, recipe), OnnxRuntimeEngine(path)
    planes = recipe.profiles[0][0].usual[1]
    for shape in ((1, planes, 32, 352), (3, planes, 64, 96)):
        tile = np.random.default_rng(2).random(shape).astype(np.float32)
        difference = np.abs(halves.run({"given": tile})["lines"] - plain.run({"given": tile})["lines"])
        assert difference.shape == (shape[0], 5, shape[2] // 2, shape[3] // 2)
        assert float(difference.mean()) < 2e-3


def test_the_largest_tile_that_the_refiner_makes_is_in_the_profile_and_the_next_is_not() -> None:
    pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    ((sizes,),) = profiles_of(card_of("mattenet"), cached_file(card_of("mattenet")))
    planes = sizes.usual[1]
    for step in (1, 2, 4, 6):
        side = (LARGEST + 2 * BLEND) * step
        height, width = padded(Rectangle(0, 0, side, side), (MARGIN - BLEND) * step, MULTIPLE * step)
        assert sizes.holds((1, planes, height // step, width // step))
    assert not sizes.holds((1, planes, height // step + MULTIPLE, width // step))


def test_an_output_that_the_file_lacks_is_an_error_before_anything_is_built(u2netp: Path) -> None:
    pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    recipe = dataclasses.replace(recipe_of(card_of("u2netp"), u2netp, "tensorrt", "fp32"), outputs=("alpha",))
    with pytest.raises(ModelError, match=r"has no output alpha; it has 1959"):
        prepare(u2netp, recipe)
