"""Bounds that figures must keep, in a TOML file: what CI fails on.

[[bound]]
set = "alphamatting27"     # or "all", the default
recipe = "fast"            # without it: of every recipe that took part
figure = "sad"             # by its flat name, see `summary`
max = 6.0                  # or min, or both
why = "closed-form matting has 5.33"    # said when it fails
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.evaluation.summary import ALL, Summary


@dataclass(frozen=True, slots=True)
class Bound:
    """What one figure must be. recipe: None for every recipe. min, max: None where it may be anything."""

    figure: str
    set: str = ALL
    recipe: str | None = None
    min: float | None = None
    max: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Breach:
    """A bound that was not kept, or whose figure was not measured (value None): a gate that nothing passes is shut."""

    bound: Bound
    recipe: str
    value: float | None

    def __str__(self) -> str:
        bound = self.bound
        name = f"{bound.set}: {bound.figure} of {self.recipe}"
        if self.value is None:
            return f"{name} was not measured"
        wants = []
        if bound.min is not None:
            wants.append(f"at least {bound.min:g}")
        if bound.max is not None:
            wants.append(f"at most {bound.max:g}")
        return f"{name} is {self.value:.4g}, must be {' and '.join(wants)}" + (f" ({bound.why})" if bound.why else "")


def read_gate(path: Path) -> tuple[Bound, ...]:
    """The bounds of a file. Raises UsageError that names the file and the bound when it makes no sense."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"gate {path}: cannot be read as TOML ({error})") from error
    tables = content.pop("bound", [])
    if content or not isinstance(tables, list) or not tables:
        raise UsageError(f"gate {path}: holds [[bound]] tables and nothing else, at least one")
    return tuple(_bound(table, f"gate {path}: bound {number}") for number, table in enumerate(tables, 1))


def breaches(bounds: Sequence[Bound], summaries: Sequence[Summary]) -> tuple[Breach, ...]:
    """Every bound that a recipe does not keep, in the order of the bounds."""
    found = []
    for bound in bounds:
        concerned = [each for each in summaries if bound.recipe in (None, each.recipe)]
        if not concerned:
            found.append(Breach(bound, bound.recipe or "any recipe", None))
        for summary in concerned:
            value = summary.groups.get(bound.set, {}).get(bound.figure)
            low = value is not None and bound.min is not None and not value >= bound.min
            high = value is not None and bound.max is not None and not value <= bound.max
            if value is None or low or high:
                found.append(Breach(bound, summary.recipe, value))
    return tuple(found)


def _bound(table: Any, where: str) -> Bound:
    known = {field.name for field in fields(Bound)}
    if not isinstance(table, dict):
        raise UsageError(f"{where}: is not a table")
    unknown = next((name for name in table if name not in known), None)
    if unknown is not None:
        raise UsageError(f"{where}: unknown entry {unknown!r}; known are {', '.join(sorted(known))}")
    for name, value in table.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number if name in ("min", "max") else isinstance(value, str)):
            raise UsageError(f"{where}: {name} = {value!r} must be {'a number' if name in ('min', 'max') else 'text'}")
    if "figure" not in table:
        raise UsageError(f"{where}: says no figure, such as figure = 'iou'")
    if "min" not in table and "max" not in table:
        raise UsageError(f"{where}: has neither min nor max")
    return Bound(**table)
