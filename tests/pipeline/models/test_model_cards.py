"""The cards: complete, honest about licences, and true of the files that they describe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.models.cache import check_file
from mattemill.pipeline.models.cards import CARDS, DEFAULT_MODEL, card_of


def test_the_one_default_is_a_saliency_network_with_free_weights() -> None:
    defaults = [card for card in CARDS.values() if card.default]
    assert [card.name for card in defaults] == [DEFAULT_MODEL]
    assert defaults[0].task == "saliency"
    assert defaults[0].weights_licence == "Apache-2.0"


@pytest.mark.parametrize("name", sorted(CARDS))
def test_a_card_names_hash_size_licences_and_origin(name: str) -> None:
    card = CARDS[name]
    assert re.fullmatch(r"[0-9a-f]{64}", card.sha256)
    assert card.size_bytes > 100_000
    assert card.weights_licence
    assert card.code_licence
    assert card.origin


def test_the_network_trained_on_research_data_carries_its_warning() -> None:
    assert any("non-commercial" in note for note in CARDS["isnet"].notes)
    assert not CARDS["isnet"].default


def test_an_unknown_model_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(ModelError, match=r"'birefnet' is not known; known are .*u2netp"):
        card_of("birefnet")


def test_the_default_card_is_true_of_the_fetched_file(u2netp: Path) -> None:
    card = CARDS["u2netp"]
    check_file(card, u2netp)
    assert u2netp.stat().st_size == card.size_bytes
    engine = OnnxRuntimeEngine(u2netp, outputs=card.output.names)
    assert engine.input_shapes == {card.input.name: (1, 3, *card.input.size)}


@pytest.mark.parametrize(
    ("name", "file"), [("yolox_nano", "yolox_nano/yolox_nano.onnx"), ("nanodet_m", "nanodet_m/nanodet_m_416.onnx")]
)
def test_the_detector_cards_are_true_of_their_files(name: str, file: str, shared_models: Path) -> None:
    card = CARDS[name]
    check_file(card, shared_models / file)
    assert (shared_models / file).stat().st_size == card.size_bytes
    engine = OnnxRuntimeEngine(shared_models / file, outputs=card.output.names)
    assert engine.input_shapes[card.input.name] == (1, 3, *card.input.size)
