"""ViTMatte's windows joined to one matte, and its input as transformers' own processor makes it.

The published weights were not at hand. Engines here are stand-ins whose answer is known, and an ONNX file of the
published contract, exported from a small vision transformer with random weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mattemill.pipeline.engines.catalogue import recipe_of
from mattemill.pipeline.engines.compile_engine import compile_engine
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.engines.parity import cases_of
from mattemill.pipeline.engines.prepare import prepare
from mattemill.pipeline.engines.recipe import PRECISIONS, Precision
from mattemill.pipeline.errors import EngineError
from mattemill.pipeline.matting.vitmatte import LARGEST, MULTIPLE, VitMatteRefiner
from mattemill.pipeline.models.gpu_cards import VITMATTE_SMALL

Planes = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


class Standin:
    """An engine that answers with a function of its input (4, h, w), and remembers what it was asked."""

    device = "cpu"
    batch_limit = 1

    def __init__(self, alpha: Callable[[Planes], Planes]) -> None:
        self._alpha = alpha
        self.inputs: list[Planes] = []

    def run(self, inputs: Mapping[str, Planes]) -> dict[str, Planes]:
        given = inputs["pixel_values"]
        self.inputs.append(given)
        return {"alphas": self._alpha(given[0]).astype(np.float32)[None, None]}


def _red(given: Planes) -> Planes:
    """Red as it was before the normalisation, 0..1."""
    return given[0] * 0.5 + 0.5


def _case(height: int, width: int) -> tuple[Bytes, Planes, Bytes]:
    """A photograph of noise, no mask, and a trimap with a band around a disc."""
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - height / 2, columns - width / 2) - min(height, width) / 3
    bands = np.where(np.abs(distance) < 12, 128, np.where(distance < 0, 255, 0)).astype(np.uint8)
    return rng.integers(0, 256, (height, width, 3), np.uint8), np.zeros((height, width), np.float32), bands


@pytest.mark.parametrize("shape", [(700, 500), (768, 768), (769, 300), (1500, 2100), (3000, 40), (33, 20), (1, 1)])
def test_every_unknown_pixel_is_drawn_from_its_own_place_and_the_rest_is_honoured(shape: tuple[int, int]) -> None:
    image, soft, bands = _case(*shape)
    bands[0, 0] = bands[-1, -1] = bands[0, -1] = 128
    matte = VitMatteRefiner(VITMATTE_SMALL, Standin(_red))(image, soft, bands)
    assert matte.shape == shape
    assert matte.dtype == np.float32
    np.testing.assert_allclose(matte[bands == 128], image[..., 0][bands == 128] / 255, atol=1e-5)
    assert (matte[bands == 255] == 1).all()
    assert (matte[bands == 0] == 0).all()


def test_the_input_is_what_transformers_own_processor_makes() -> None:
    """Rescaled and normalised by .5, the trimap rescaled alone, padded with zeros below and on the right."""
    engine = Standin(_red)
    image, soft, bands = _case(100, 70)
    VitMatteRefiner(VITMATTE_SMALL, engine)(image, soft, bands)
    expected = np.concatenate([(image / 255.0 - 0.5) / 0.5, bands[..., None] / 255.0], axis=2).transpose(2, 0, 1)
    expected = np.pad(expected, ((0, 0), (0, 28), (0, 26)))
    (given,) = engine.inputs
    assert given.shape == (1, 4, 128, 96)
    np.testing.assert_allclose(given[0], expected, atol=1e-6)


def test_windows_are_bounded_and_of_sides_that_the_network_takes() -> None:
    engine = Standin(_red)
    image, soft, bands = _case(2000, 2500)
    VitMatteRefiner(VITMATTE_SMALL, engine)(image, soft, bands)
    assert all(side % MULTIPLE == 0 and side <= LARGEST for given in engine.inputs for side in given.shape[2:])
    small = Standin(_red)
    VitMatteRefiner(VITMATTE_SMALL, small, largest=256)(image, soft, bands)
    assert max(side for given in small.inputs for side in given.shape[2:]) == 256


def test_windows_in_which_all_is_known_are_not_computed() -> None:
    engine = Standin(_red)
    bands = np.zeros((3000, 3000), np.uint8)
    bands[20:40, 20:40] = bands[-40:-20, -40:-20] = 128
    VitMatteRefiner(VITMATTE_SMALL, engine)(
        np.zeros((3000, 3000, 3), np.uint8), np.zeros((3000, 3000), np.float32), bands
    )
    assert len(engine.inputs) == 2


def test_a_small_band_in_a_large_photograph_is_one_small_window_with_its_surroundings() -> None:
    engine = Standin(_red)
    bands = np.zeros((2000, 2000), np.uint8)
    bands[1000:1020, 500:530] = 128
    VitMatteRefiner(VITMATTE_SMALL, engine)(
        np.zeros((2000, 2000, 3), np.uint8), np.zeros((2000, 2000), np.float32), bands
    )
    (given,) = engine.inputs
    assert given.shape == (1, 4, 160, 160)
    assert (given[0, 3] == 0).sum() > 0.9 * 160 * 160


def test_where_two_windows_disagree_one_passes_into_the_other_without_a_seam() -> None:
    calls = iter([0.2, 0.8])

    def one_value(given: Planes) -> Planes:
        return np.full(given.shape[1:], next(calls), np.float32)

    bands = np.full((64, 1300), 128, np.uint8)
    matte = VitMatteRefiner(VITMATTE_SMALL, Standin(one_value))(
        np.zeros((64, 1300, 3), np.uint8), np.zeros((64, 1300), np.float32), bands
    )
    assert matte[30, 100] == pytest.approx(0.2)
    assert matte[30, 1200] == pytest.approx(0.8)
    assert float(np.abs(np.diff(matte[30])).max()) < 0.6 / 40


def test_a_trimap_without_a_band_never_calls_the_network() -> None:
    engine = Standin(_red)
    bands = np.full((50, 60), 255, np.uint8)
    matte = VitMatteRefiner(VITMATTE_SMALL, engine)(
        np.zeros((50, 60, 3), np.uint8), np.zeros((50, 60), np.float32), bands
    )
    assert (matte == 1).all()
    assert engine.inputs == []


def test_values_beyond_0_and_1_are_cut() -> None:
    image, soft, bands = _case(64, 64)
    for value, wanted in ((1.5, 1.0), (-0.5, 0.0)):
        engine = Standin(lambda given, value=value: np.full(given.shape[1:], value, np.float32))  # type: ignore[misc]
        assert (VitMatteRefiner(VITMATTE_SMALL, engine)(image, soft, bands)[bands == 128] == wanted).all()


def test_an_output_of_another_size_is_an_error_that_names_the_model() -> None:
    image, soft, bands = _case(64, 64)
    with pytest.raises(EngineError, match=r"vitmatte_small: output is \(1, 1, 32, 32\).*not a ViTMatte"):
        VitMatteRefiner(VITMATTE_SMALL, Standin(lambda given: given[0, ::2, ::2]))(image, soft, bands)


@pytest.mark.parametrize("largest", [100, 224, 770])
def test_a_largest_side_that_the_network_does_not_take_is_refused(largest: int) -> None:
    with pytest.raises(ValueError, match=f"largest = {largest}"):
        VitMatteRefiner(VITMATTE_SMALL, Standin(_red), largest=largest)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A small network of ViTMatte's shape and contract with random weights, as ONNX, and the torch module itself."""
    torch = pytest.importorskip("torch", reason="needs torch, which is not installed")
    pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")

    class Small(torch.nn.Module):  # type: ignore[name-defined, misc]
        """Patches, one block of attention over all of them, and a detail branch over the full-size input."""

        def __init__(self) -> None:
            super().__init__()
            self.patches = torch.nn.Conv2d(4, 16, 16, 16)
            self.qkv = torch.nn.Linear(16, 48)
            self.detail = torch.nn.Conv2d(4, 4, 3, padding=1)
            self.head = torch.nn.Conv2d(20, 1, 3, padding=1)

        def forward(self, pixel_values: Any) -> Any:
            deep = self.patches(pixel_values)
            n, c, h, w = deep.shape
            q, k, v = self.qkv(deep.flatten(2).transpose(1, 2)).chunk(3, 2)
            mixed = torch.softmax(q @ k.transpose(1, 2) / 4.0, 2) @ v
            grid = mixed.transpose(1, 2).reshape(n, c, h, w)
            wide = torch.nn.functional.interpolate(grid, scale_factor=16.0, mode="bilinear", align_corners=False)
            return torch.sigmoid(self.head(torch.cat([wide, torch.relu(self.detail(pixel_values))], 1)))

    torch.manual_seed(0)
    network = Small().eval()
    path = tmp_path_factory.mktemp("vitmatte") / "small.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 4, 64, 96),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["pixel_values"],
            output_names=["alphas"],
            dynamic_axes={"pixel_values": {0: "n", 2: "h", 3: "w"}, "alphas": {0: "n", 2: "h", 3: "w"}},
        )
    return path, network


def test_an_exported_network_of_the_contract_answers_as_it_does_in_torch(exported: tuple[Path, Any]) -> None:
    torch = pytest.importorskip("torch", reason="needs torch, which is not installed")
    path, network = exported
    card = VITMATTE_SMALL
    image, soft, bands = _case(120, 150)
    engine = OnnxRuntimeEngine(path, outputs=card.output.names, name=card.name)
    matte = VitMatteRefiner(card, engine)(image, soft, bands)
    tensor = np.zeros((1, 4, 128, 160), np.float32)
    tensor[0, :3, :120, :150] = (image.transpose(2, 0, 1) / 255.0 - 0.5) / 0.5
    tensor[0, 3, :120, :150] = bands / 255.0
    with torch.no_grad():
        wanted = network(torch.from_numpy(tensor))[0, 0, :120, :150].numpy()
    assert float(wanted[bands == 128].std()) > 1e-3, "the network says the same everywhere: the test shows nothing"
    np.testing.assert_allclose(matte[bands == 128], wanted[bands == 128], atol=1e-4)


def test_an_exported_network_runs_over_several_windows(exported: tuple[Path, Any]) -> None:
    card = VITMATTE_SMALL
    image, soft, bands = _case(400, 700)
    engine = OnnxRuntimeEngine(exported[0], outputs=card.output.names, name=card.name)
    matte = VitMatteRefiner(card, engine, largest=256)(image, soft, bands)
    assert np.isfinite(matte).all()
    assert ((matte[bands == 128] > 0) & (matte[bands == 128] < 1)).all()
    assert (matte[bands == 255] == 1).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensorrt_builds_it_for_every_window_that_the_refiner_makes(
    precision: Precision, exported: tuple[Path, Any]
) -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx, which is not installed")
    recipe = recipe_of(VITMATTE_SMALL, exported[0], "tensorrt_rtx", precision)
    ((sizes,),) = recipe.profiles
    engine = Standin(_red)
    for shape in ((1, 1), (2000, 2500), (40, 3000)):
        image, soft, bands = _case(*shape)
        bands[0, 0] = 128
        VitMatteRefiner(VITMATTE_SMALL, engine)(image, soft, bands)
    assert all(sizes.holds(given.shape) for given in engine.inputs)
    assert len(compile_engine(rtx, prepare(exported[0], recipe), recipe).plan) > 1000


def test_an_engine_is_compared_on_what_the_refiner_asks(
    exported: tuple[Path, Any], u2netp: Path, sample_photos: Path
) -> None:
    cases = cases_of(VITMATTE_SMALL, exported[0], [np.asarray(Image.open(sample_photos / "cat.png").convert("RGB"))])
    assert cases
    assert all(case.inputs["pixel_values"].shape[1] == 4 for case in cases)
    assert all(
        ((case.inputs["pixel_values"][0, 3] > 0.1) & (case.inputs["pixel_values"][0, 3] < 0.9)).any() for case in cases
    )
