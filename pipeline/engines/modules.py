"""Whether a Python module that GPU work needs is there, and works."""

from __future__ import annotations

import importlib
from typing import Literal

State = Literal["ok", "missing", "broken"]


def module_state(name: str) -> tuple[State, str]:
    """('ok', ''), or why it cannot be imported: ('missing', ...) or ('broken', what its import raised)."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Its own absence, and not that of something it needs.
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            return "missing", "not installed"
        return "broken", str(error)
    except Exception as error:  # a GPU library that finds no driver raises whatever it likes
        return "broken", " ".join(str(error).split()) or type(error).__name__
    return "ok", ""
