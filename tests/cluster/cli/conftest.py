"""Runs commands as a user does, in a process of their own, or in this one where that makes no difference."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mattemill.cluster.cli.main import main
from mattemill.pipeline.models.fetch import fetch_model

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "photos"

Command = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def samples() -> Path:
    """The sample photographs."""
    return SAMPLES


@pytest.fixture(scope="session")
def default_model() -> Path:
    """The default network, in the user's model cache."""
    return fetch_model("u2netp")


@pytest.fixture
def mattemill(tmp_path: Path) -> Command:
    """`mattemill ARGUMENTS` in a process of its own, in an empty folder; stdin and environment can be given."""

    def run(
        *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None, timeout: float = 280.0
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "mattemill.cluster.cli.main", *arguments],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, **(environment or {})},
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`mattemill ARGUMENTS` in this process, in an empty folder; the exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        try:
            return main(list(arguments))
        except SystemExit as end:
            return int(end.code or 0)

    return run
