"""Packages that only evaluation uses: the extra `evaluate`."""

from __future__ import annotations

import importlib.util

from mattemill.pipeline.errors import UsageError


def needed(package: str, what: str) -> None:
    """Raise UsageError that says what to install unless the package can be found. what: that needs it."""
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"{what} needs {package}, which is not installed: pip install 'mattemill[evaluate]'")
