"""Fixtures of the model tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model cache of its own, empty, and not yet made."""
    folder = tmp_path / "models"
    monkeypatch.setenv("MATTEMILL_MODELS", str(folder))
    return folder
