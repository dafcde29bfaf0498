"""RT-DETRv2 and ViTMatte as they are published: their operators, and what their own processors put in and read out.

The published weights were not at hand: the networks are small, with random weights, and exported from the transformers
package, as the published files were.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mattemill.kernels.trimap import trimap
from mattemill.pipeline.engines.catalogue import recipe_of
from mattemill.pipeline.engines.compile_engine import compile_engine
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.engines.parity import TOLERANCE, cases_of, check_parity
from mattemill.pipeline.engines.prepare import prepare
from mattemill.pipeline.engines.recipe import PRECISIONS, Precision
from mattemill.pipeline.matting.vitmatte import VitMatteRefiner
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.gpu_cards import RTDETR_V2_R18, VITMATTE_SMALL
from mattemill.pipeline.models.rtdetr import RtdetrDetector

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch: Any = pytest.importorskip("torch", reason="needs torch, which is not installed")
transformers: Any = pytest.importorskip("transformers", reason="needs transformers, which is not installed")
pytest.importorskip("onnx", reason="needs the onnx package, which is not installed")

pytestmark = pytest.mark.slow

_QUERIES = 300
_LEAST = 0.3  # score of a box: random weights are sure of little


def _rtdetr() -> Any:
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.RTDetrV2Config(
        backbone_config=backbone,
        encoder_in_channels=[16, 24, 32],
        encoder_hidden_dim=32,
        d_model=32,
        num_queries=_QUERIES,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        decoder_in_channels=[32, 32, 32],
        num_labels=80,
    )
    return _lively(transformers.RTDetrV2ForObjectDetection(config))


def _vitmatte() -> Any:
    backbone = transformers.VitDetConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=512,
        pretrain_image_size=224,
        num_channels=4,
        patch_size=16,
        window_block_indices=[0],
        residual_block_indices=[0, 1],
        use_relative_position_embeddings=True,
        out_features=["stage2"],
    )
    config = transformers.VitMatteConfig(
        backbone_config=backbone,
        hidden_size=24,
        convstream_hidden_sizes=[8, 12, 16],
        fusion_hidden_sizes=[16, 12, 8, 8],
    )
    return _lively(transformers.VitMatteForImageMatting(config))


def _lively(network: Any) -> Any:
    """With weights large enough that something of a picture arrives at the end, as it does after training."""
    for module in network.modules():
        for weights in module.parameters(recurse=False):
            if weights.dim() > 1:
                torch.nn.init.kaiming_normal_(weights)
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    return network.eval()


class _Plain(torch.nn.Module):  # type: ignore[misc]
    """The published inputs and outputs as tensors, in the order of a card's names."""

    def __init__(self, network: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, pixel_values: Any) -> Any:
        out = self.network(pixel_values=pixel_values)
        return tuple(getattr(out, name) for name in self.names)


def _exported(network: Any, card: ModelCard, example: tuple[int, ...], path: Path) -> Path:
    sizes = {0: "n", 2: "h", 3: "w"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Plain(network, card.output.names),
            (torch.rand(example),),
            str(path),
            input_names=[card.input.name],
            output_names=list(card.output.names),
            dynamic_axes={card.input.name: sizes, **{name: {0: "n"} for name in card.output.names}},
            opset_version=16,
            dynamo=False,
        )
    return path


@pytest.fixture(scope="module")
def rtdetr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("rtdetr") / "model.onnx"
    return _exported(_rtdetr(), RTDETR_V2_R18, (1, 3, 640, 640), path)


@pytest.fixture(scope="module")
def vitmatte(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(4)
    path = tmp_path_factory.mktemp("vitmatte") / "model.onnx"
    return _exported(_vitmatte(), VITMATTE_SMALL, (1, 4, 96, 64), path)


def _engine(card: ModelCard, path: Path) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(path, outputs=card.output.names, name=card.name)


def _photograph(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", ["raccoon.jpg", "cat.png"])
def test_boxes_are_those_of_the_published_processor(name: str, rtdetr: Path, sample_photos: Path) -> None:
    engine = _engine(RTDETR_V2_R18, rtdetr)
    image = _photograph(sample_photos / name)
    processor = transformers.RTDetrImageProcessorPil()
    given = {key: value.numpy() for key, value in processor(images=image, return_tensors="pt").items()}
    out = SimpleNamespace(**{key: torch.from_numpy(value) for key, value in engine.run(given).items()})
    (expected,) = processor.post_process_object_detection(out, _LEAST, torch.tensor([image.shape[:2]]))
    found = RtdetrDetector(RTDETR_V2_R18, engine, score=_LEAST)(image)

    boxes = expected["boxes"].numpy()
    sides = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
    boxes = np.clip(boxes, 0, sides)  # ours end at the photograph's edge
    assert len(boxes) > 5, "nothing to compare"
    assert found.classes.tolist() == expected["labels"].tolist()
    assert np.allclose(found.scores, expected["scores"].numpy(), atol=2e-3)
    assert np.allclose(found.boxes, boxes, atol=2e-3 * sides.max())


def test_the_matte_is_what_the_network_says_of_what_the_published_processor_makes(
    vitmatte: Path, sample_photos: Path
) -> None:
    engine = _engine(VITMATTE_SMALL, vitmatte)
    image = _photograph(sample_photos / "cat.png")[:300, :260]
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    soft = np.clip((90 - np.hypot(rows - 150, columns - 130)) / 20 + 0.5, 0, 1).astype(np.float32)
    bands = trimap(soft, 12)
    processor = transformers.VitMatteImageProcessorPil()
    given = {key: value.numpy() for key, value in processor(images=image, trimaps=bands, return_tensors="pt").items()}
    expected = engine.run(given)["alphas"][0, 0, : image.shape[0], : image.shape[1]]
    found = VitMatteRefiner(VITMATTE_SMALL, engine)(image, soft, bands)

    assert expected[bands == 128].std() > 0.01, "the same everywhere tells nothing"
    assert np.abs(found - expected)[bands == 128].max() < 1e-3
    assert np.array_equal(found[bands != 128], bands[bands != 128] / np.float32(255))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("which", ["rtdetr", "vitmatte"])
def test_tensorrt_takes_their_operators_in_every_precision(
    which: str, precision: Precision, request: pytest.FixtureRequest
) -> None:
    rtx: Any = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx, which is not installed")
    card = {"rtdetr": RTDETR_V2_R18, "vitmatte": VITMATTE_SMALL}[which]
    path = request.getfixturevalue(which)
    recipe = recipe_of(card, path, "tensorrt_rtx", precision)
    made = compile_engine(rtx, prepare(path, recipe), recipe)
    assert len(made.plan) > path.stat().st_size / 4


@pytest.mark.parametrize("which", ["rtdetr", "vitmatte"])
def test_in_half_precision_they_pass_the_comparison_that_an_engine_must(
    which: str, request: pytest.FixtureRequest, tmp_path: Path, sample_photos: Path, u2netp: Path
) -> None:
    card = {"rtdetr": RTDETR_V2_R18, "vitmatte": VITMATTE_SMALL}[which]
    path = request.getfixturevalue(which)
    half = tmp_path / "half.onnx"
    half.write_bytes(prepare(path, recipe_of(card, path, "tensorrt", "fp16")))
    cases = cases_of(card, path, [_photograph(sample_photos / "cat.png")])
    assert all(output.std() > 1e-2 for case in cases for output in case.outputs.values()), "nothing to compare"
    assert 0 < check_parity(_engine(card, half), cases, gpu="none", name=which).mean_error < TOLERANCE
