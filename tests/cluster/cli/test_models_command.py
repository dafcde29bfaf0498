"""`mattemill models`: list, fetch, verify."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mattemill.cluster.cli import models
from mattemill.pipeline.models.cards import CARDS


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("MATTEMILL_MODELS", str(folder))
    return folder


def test_every_network_is_listed_with_licence_source_and_hash(
    here: Callable[..., int], capsys: pytest.CaptureFixture[str], empty_cache: Path
) -> None:
    assert here("models", "list") == 0
    text = capsys.readouterr().out
    for card in CARDS.values():
        assert card.weights_licence in text
        assert card.sha256 in text
        assert str(card.source) in text
    assert str(empty_cache) in text


def test_the_list_for_machines_says_what_is_fetched(
    here: Callable[..., int], capsys: pytest.CaptureFixture[str], default_model: Path
) -> None:
    assert here("models", "list", "--json") == 0
    cards = {card["name"]: card for card in json.loads(capsys.readouterr().out)}
    assert cards.keys() == CARDS.keys()
    assert cards["u2netp"]["fetched"]
    assert cards["u2netp"]["path"] == str(default_model)


def test_a_file_of_ones_own_is_taken_when_it_is_the_cards(
    here: Callable[..., int], default_model: Path, empty_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("models", "fetch", "u2netp", "--from-file", str(default_model)) == 0
    assert Path(capsys.readouterr().out.strip()).parent == empty_cache
    assert here("models", "verify") == 0
    assert "u2netp: ok" in capsys.readouterr().out


def test_another_file_is_refused_and_nothing_lands_in_the_cache(
    here: Callable[..., int], tmp_path: Path, empty_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"not a network")
    assert here("models", "fetch", "u2netp", "--from", str(other)) == 1
    assert "sha256" in capsys.readouterr().err
    assert not list(empty_cache.glob("*.onnx"))


def test_a_damaged_network_fails_verification(
    here: Callable[..., int], default_model: Path, empty_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty_cache.mkdir()
    (empty_cache / default_model.name).write_bytes(default_model.read_bytes()[:-1])
    assert here("models", "verify", "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert [(entry["name"], entry["ok"]) for entry in result] == [("u2netp", False), ("mattenet", True)]


def test_a_network_that_is_not_fetched_fails_verification_by_name(
    here: Callable[..., int], empty_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("models", "verify", "isnet") == 1
    assert "mattemill models fetch isnet" in capsys.readouterr().out


@pytest.mark.parametrize("command", [("run", "photos", "sink"), ("cut", "photo.png")], ids=lambda c: c[0])
def test_work_with_a_network_that_is_not_fetched_says_how_to_fetch_it_and_downloads_nothing(
    here: Callable[..., int],
    empty_cache: Path,
    samples: Path,
    command: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("photos").mkdir()
    Path("photo.png").write_bytes((samples / "cat.png").read_bytes())
    assert here(*command, "--model", "isnet") == 1
    assert "mattemill models fetch isnet" in capsys.readouterr().err
    assert not list(empty_cache.glob("*.onnx"))


def test_work_with_a_network_that_nobody_knows_is_wrong_use(
    here: Callable[..., int], samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("run", str(samples), "sink", "--model", "u3net") == 2
    assert "known are birefnet_general" in capsys.readouterr().err


def test_the_default_network_is_fetched_when_it_is_first_needed(
    here: Callable[..., int], empty_cache: Path, samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("cut", str(samples / "cat.png"), "-o", "out.png") == 0
    told = capsys.readouterr().err
    assert "fetching network u2netp (4.25 MB, weights Apache-2.0)" in told
    assert len(list(empty_cache.glob("*.onnx"))) == 1


def test_a_second_network_is_fetched_when_it_is_asked_for_and_only_then(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[str] = []
    monkeypatch.setattr(models, "fetch_with_progress", lambda name, from_file: got.append(name))
    models.fetch_needed("u2netp")
    assert got == ["u2netp"]
    models.fetch_needed("u2netp", "u2net")
    assert got == ["u2netp", "u2netp", "u2net"]
