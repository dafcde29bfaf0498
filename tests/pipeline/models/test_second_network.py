"""The second network of a job: in its fingerprint, loaded once, where the first one is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.place import Place
from mattemill.pipeline.models import load
from mattemill.pipeline.models.cards import CARDS
from mattemill.pipeline.models.load import load_second, model_hashes, saliency_networks


def _loaded(name: str) -> Any:
    return SimpleNamespace(card=CARDS[name])


def test_the_default_has_none() -> None:
    assert load_second(JobConfig(), _loaded("u2netp")) is None
    assert saliency_networks(JobConfig()) == {"detect": "u2netp", "segment": "u2netp"}


def test_its_hash_is_in_the_fingerprint() -> None:
    one, two = JobConfig(), JobConfig(second_network="u2net")
    assert model_hashes(two)["segment_second"] == CARDS["u2net"].sha256
    assert one.fingerprint(model_hashes(one)) != two.fingerprint(model_hashes(two))
    same = model_hashes(two)
    doubtful = JobConfig(second_network="u2net", second_doubt=0.5)
    assert two.fingerprint(same) != doubtful.fingerprint(same)


def test_it_is_loaded_where_the_first_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Place]] = []
    monkeypatch.setattr(load, "load_saliency", lambda name, place: asked.append((name, place)))
    load_second(JobConfig(second_network="u2net"), _loaded("u2netp"), Place("cuda:0", "tensorrt", "fp16"))
    assert asked == [("u2net", Place("cuda:0", "tensorrt", "fp16"))]


def test_a_segmenting_network_that_is_also_the_second_is_not_loaded_again() -> None:
    segmenting = _loaded("u2net")
    assert load_second(JobConfig(model="u2net", second_network="u2net"), segmenting) is segmenting
