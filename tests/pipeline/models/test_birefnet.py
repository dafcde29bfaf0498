"""BiRefNet: its preparation, its logits, its one size, and its deformable convolutions.

The published weights were not at hand: the files here are small networks of the same contract, made in the test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from small_networks import write_birefnet

from mattemill.pipeline.engines.catalogue import recipe_of
from mattemill.pipeline.engines.compile_engine import compile_engine
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.engines.open_engine import _batched
from mattemill.pipeline.engines.prepare import prepare
from mattemill.pipeline.engines.recipe import PRECISIONS, Precision
from mattemill.pipeline.errors import EngineError
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.card_input import card_input
from mattemill.pipeline.models.gpu_cards import BIREFNET_GENERAL, BIREFNET_LITE, BIREFNET_MATTING
from mattemill.pipeline.models.rewrite_deform_conv import holds_deform_conv
from mattemill.pipeline.models.saliency import SaliencyNetwork, from_logits

CARDS = (BIREFNET_GENERAL, BIREFNET_LITE, BIREFNET_MATTING)
Planes = npt.NDArray[np.float32]


def _network(card: ModelCard, path: Path) -> SaliencyNetwork:
    return SaliencyNetwork(card, OnnxRuntimeEngine(path, outputs=card.output.names, name=card.name))


@pytest.mark.parametrize("card", CARDS, ids=[card.name for card in CARDS])
def test_the_card_fixes_the_size_and_names_a_free_licence(card: ModelCard) -> None:
    assert card.input.size == (1024, 1024)
    assert card.weights_licence == "MIT"
    assert card.output.values == "logits"
    assert any("with the published weights" in note for note in card.notes)


def test_the_input_is_the_authors_own_preparation() -> None:
    """torchvision's Resize of a PIL image, ToTensor, Normalize; by hand here."""
    image = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    small = np.asarray(Image.fromarray(image).resize((1024, 1024), Image.Resampling.BILINEAR), np.float64) / 255
    wanted = ((small - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)[None]
    np.testing.assert_allclose(card_input(image, BIREFNET_GENERAL.input), wanted, atol=1e-5)


def test_logits_become_a_mask_through_a_sigmoid_and_are_not_stretched() -> None:
    found = from_logits(np.array([[-1.0, 0.0, 2.0]], np.float32))
    wanted = 1 / (1 + np.exp(-np.array([-1.0, 0.0, 2.0])))
    assert found.mask.tolist() == [np.round(wanted * 255).astype(int).tolist()]
    assert found.peak == pytest.approx(wanted[2], abs=1e-6)
    assert found.floor == pytest.approx(wanted[0], abs=1e-6)
    with np.errstate(all="raise"):
        far = from_logits(np.array([[-1e4, 1e4]], np.float32))
    assert far.mask.tolist() == [[0, 255]]


def test_a_photograph_without_a_subject_stays_empty(tmp_path: Path) -> None:
    network = _network(BIREFNET_GENERAL, write_birefnet(tmp_path / "birefnet.onnx", deform=False))
    found = network(np.zeros((300, 200, 3), np.uint8))
    assert not found.mask.any(), "a map that is stretched would be all noise"
    assert found.peak < 0.01


def test_a_file_of_the_contract_masks_what_it_was_made_to(tmp_path: Path) -> None:
    network = _network(BIREFNET_LITE, write_birefnet(tmp_path / "birefnet.onnx"))
    image = np.zeros((500, 800, 3), np.uint8)
    image[100:400, 200:600, 0] = 255
    mask = network(image).mask
    assert mask.shape == (1024, 1024)
    assert mask[512, 512] > 250
    assert mask[100, 100] < 5
    expected = image[..., 0].astype(float).sum() / image[..., 0].size / 255
    assert float((mask > 127).mean()) == pytest.approx(expected, abs=0.01)


def test_an_export_for_512_pixels_is_never_run_at_1024_nor_the_photograph_at_512(tmp_path: Path) -> None:
    network = _network(BIREFNET_GENERAL, write_birefnet(tmp_path / "small.onnx", side=512, deform=False))
    with pytest.raises(EngineError, match=r"birefnet_general.*(512|Got invalid dimensions)"):
        network(np.zeros((512, 512, 3), np.uint8))


def test_an_output_of_another_size_is_an_error_and_no_mask() -> None:
    class Half:
        device = "cpu"
        batch_limit = 1

        def run(self, inputs: Any) -> dict[str, Planes]:
            return {"output_image": np.zeros((1, 1, 512, 512), np.float32)}

    with pytest.raises(EngineError, match=r"output is \(1, 1, 512, 512\), not \(1, 1, 1024, 1024\)"):
        SaliencyNetwork(BIREFNET_GENERAL, Half())(np.zeros((9, 9, 3), np.uint8))


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 0.05)])
def test_the_file_that_an_engine_is_built_from_says_the_same_without_its_deformable_convolution(
    precision: Precision, tolerance: float, tmp_path: Path
) -> None:
    path = write_birefnet(tmp_path / "birefnet.onnx")
    assert holds_deform_conv(path)
    recipe = recipe_of(BIREFNET_GENERAL, path, "tensorrt", precision)
    rewritten = tmp_path / "rewritten.onnx"
    rewritten.write_bytes(prepare(path, recipe))
    onnx = pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    assert "DeformConv" not in {node.op_type for node in onnx.load(str(rewritten)).graph.node}
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    tensor = {"input_image": card_input(image, BIREFNET_GENERAL.input)}
    plain = OnnxRuntimeEngine(path).run(tensor)["output_image"]
    got = OnnxRuntimeEngine(rewritten).run(tensor)["output_image"]
    assert float(np.abs(got - plain).mean()) < tolerance


@pytest.mark.parametrize("batch", [1, "n"])
def test_it_is_run_one_image_at_a_time_in_every_engine(batch: int | str, tmp_path: Path) -> None:
    """The published files have a batch of one in the shapes of their windows: two at once would be an error."""
    pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    path = write_birefnet(tmp_path / "birefnet.onnx", batch=batch, deform=False)
    ((sizes,),) = recipe_of(BIREFNET_GENERAL, path, "tensorrt", "fp32").profiles
    assert sizes.smallest == sizes.largest == (1, 3, 1024, 1024)
    prepared, buckets = _batched(BIREFNET_GENERAL, path)
    assert buckets == (1,)
    assert prepared is not None
    (tmp_path / "prepared.onnx").write_bytes(prepared)
    engine = OnnxRuntimeEngine(tmp_path / "prepared.onnx", buckets=buckets)
    two = np.random.default_rng(3).random((2, 3, 1024, 1024), np.float32)
    plain = OnnxRuntimeEngine(path)
    together = engine.run({"input_image": two})["output_image"]
    for image, got in zip(two, together, strict=True):
        assert np.array_equal(got, plain.run({"input_image": image[None]})["output_image"][0])


@pytest.mark.parametrize("batch", [1, "n"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensorrt_builds_it_in_every_precision(precision: Precision, batch: int | str, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx, which is not installed")
    path = write_birefnet(tmp_path / "birefnet.onnx", batch=batch)
    recipe = recipe_of(BIREFNET_GENERAL, path, "tensorrt_rtx", precision)
    assert recipe.profiles[0][0].largest[2:] == (1024, 1024)
    assert len(compile_engine(rtx, prepare(path, recipe), recipe).plan) > 1000
