"""The default network on real photographs: what it finds, and that its input is what its authors made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.models.saliency import SaliencyNetwork, normalised


@pytest.fixture(scope="module")
def network(u2netp: Path) -> SaliencyNetwork:
    card = card_of("u2netp")
    return SaliencyNetwork(card, OnnxRuntimeEngine(u2netp, outputs=card.output.names))


def _rgb(path: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_cup_is_found_with_a_sure_peak_and_the_whole_range(network: SaliencyNetwork, sample_photos: Path) -> None:
    found = network(_rgb(sample_photos / "coffee.webp"))
    assert found.peak > 0.95
    assert found.mask.shape == (320, 320)
    assert (found.mask.min(), found.mask.max()) == (0, 255)
    assert found.mask[160, 150] > 250, "the cup itself"
    assert found.mask[5, 5] < 5, "the table"


def test_gravel_has_a_low_raw_peak_whatever_its_normalised_map_says(
    network: SaliencyNetwork, sample_photos: Path
) -> None:
    found = network(_rgb(sample_photos / "gravel.jpg"))
    assert found.peak < 0.3
    assert found.mask.max() == 255


def test_the_input_agrees_with_the_authors_own_preparation(
    network: SaliencyNetwork, sample_photos: Path, u2netp: Path
) -> None:
    image = _rgb(sample_photos / "cat.png")
    small = np.asarray(Image.fromarray(image).resize((320, 320), Image.Resampling.LANCZOS), np.float64)
    tensor = (small / small.max() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    raw = OnnxRuntimeEngine(u2netp).run({"input.1": tensor.transpose(2, 0, 1)[None].astype(np.float32)})["1959"][0, 0]
    expected = (raw - raw.min()) / (raw.max() - raw.min())
    assert np.abs(network(image).mask / 255.0 - expected).mean() < 0.004


def test_a_flat_map_is_an_empty_mask() -> None:
    found = normalised(np.full((4, 4), 0.7, np.float32))
    assert not found.mask.any()
    assert found.peak == pytest.approx(0.7)
