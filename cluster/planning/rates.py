"""What one node does a second, as it was measured: the figures that a plan stands on, with where they come from.

A rates file is TOML, `rates.toml` beside this file is the one that is packaged:

    source = "..."                 where the figures come from
    command = "..."                what makes them again
    date = "2026-11-23"
    machine = "..."                what they were measured on
    measured_mp = [0.5, 2.0]       sizes of the photographs, megapixels, the smallest and the largest
    input_bytes_per_mp = 160000    bytes of an encoded photograph a megapixel
    efficiency = 0.96              share of the cores (0..1) that a job keeps busy in its steady part
    machinery_seconds = 0.03       core seconds an image of what is no stage: driver, Ray
    start_seconds = 8.0            from a node's first command to its first outcome
    most_per_node = 1280           images a second that one coordinator was seen to handle
    spread = 0.1                   standard deviation over mean of a network stage's seconds, by photograph
    workers_per_gpu = 1            of each stage that runs on a GPU

    [outputs.matte]
    bytes_per_mp = 20000           of the encoded output

    [outputs.matte.stages.cut]     fetch, cut, store; or fetch, detect, segment, matte, store
    seconds = 1.2                  worker seconds an item, without what grows with its pixels
    seconds_per_mp = 0.15          and what does
    busy = 1.0                     share of these seconds (0..1) in which a core is busy
    gpu = false                    whether the rest of them is spent on a GPU
    fan_out = 1.0                  items of this stage an image
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from mattemill.cluster.actions import FUSED, SPLIT
from mattemill.pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class StageRate:
    """Seconds of one stage, see the module's text for the units."""

    seconds: float
    seconds_per_mp: float = 0.0
    busy: float = 1.0
    gpu: bool = False
    fan_out: float = 1.0

    def at(self, megapixels: float) -> float:
        """Worker seconds an item of a photograph of this size."""
        return self.seconds + self.seconds_per_mp * megapixels


@dataclass(frozen=True, slots=True)
class OutputRates:
    """The stages of one kind of output in their order, and the bytes that it takes a megapixel."""

    bytes_per_mp: float
    stages: Mapping[str, StageRate]

    @property
    def gpu_stages(self) -> tuple[str, ...]:
        """Those that run on a GPU."""
        return tuple(name for name, stage in self.stages.items() if stage.gpu)

    @property
    def placement(self) -> str:
        """'split' or 'fused'."""
        return "split" if len(self.stages) == len(SPLIT) else "fused"


@dataclass(frozen=True, slots=True)
class Rates:
    """A rates file, see the module's text."""

    source: str
    command: str
    date: str
    machine: str
    measured_mp: tuple[float, float]
    input_bytes_per_mp: float
    efficiency: float
    machinery_seconds: float
    start_seconds: float
    most_per_node: float
    spread: float
    outputs: Mapping[str, OutputRates]
    workers_per_gpu: int = 1

    @property
    def on_gpu(self) -> bool:
        """Whether any stage runs on a GPU."""
        return any(output.gpu_stages for output in self.outputs.values())


def packaged_rates() -> Rates:
    """Those that come with mattemill: two CPU cores, the default settings."""
    text = resources.files("mattemill.cluster.planning").joinpath("rates.toml").read_text(encoding="utf-8")
    return parse_rates(text, "the packaged rates")


def read_rates(path: Path) -> Rates:
    """A rates file. Raises ConfigError naming the file and the field."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    return parse_rates(text, str(path))


def parse_rates(text: str, where: str) -> Rates:
    """Rates from TOML. Raises ConfigError naming `where` and the field that is missing, unknown or makes no sense."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: is no TOML ({error})") from error
    outputs = values.pop("outputs", None)
    if not isinstance(outputs, dict) or not outputs:
        raise ConfigError(
            f"{where}: has no [outputs.matte] nor [outputs.cutout]; `mattemill plan --save-rates FILE` writes one"
        )
    known = {name: _output(table, f"{where}: outputs.{name}") for name, table in outputs.items()}
    made: Rates = _made(Rates, {**values, "outputs": known}, where)
    low, high = made.measured_mp
    if not 0 < low <= high:
        raise ConfigError(f"{where}: measured_mp = [{low}, {high}]: must be two sizes above 0, the smaller one first")
    for name in ("input_bytes_per_mp", "machinery_seconds", "start_seconds", "spread"):
        _check(where, name, getattr(made, name), 0.0, math.inf)
    _check(where, "efficiency", made.efficiency, 0.01, 1.0)
    _check(where, "most_per_node", made.most_per_node, 1e-6, math.inf)
    _check(where, "workers_per_gpu", made.workers_per_gpu, 1, 1000)
    return made


def to_toml(rates: Rates) -> str:
    """The text of a rates file; `parse_rates` gives the same rates again."""
    values = asdict(rates)
    outputs: dict[str, Any] = values.pop("outputs")
    lines = [f"{name} = {_toml(value)}" for name, value in values.items()]
    for name, output in outputs.items():
        lines += ["", f"[outputs.{name}]", f"bytes_per_mp = {_toml(output['bytes_per_mp'])}"]
        for stage, figures in output["stages"].items():
            lines += ["", f"[outputs.{name}.stages.{stage}]"]
            lines += [f"{field} = {_toml(value)}" for field, value in figures.items()]
    return "\n".join(lines) + "\n"


def _output(table: Any, where: str) -> OutputRates:
    if not isinstance(table, dict) or not isinstance(table.get("stages"), dict):
        raise ConfigError(f"{where}: must have bytes_per_mp and a table for each stage, [....stages.cut] and so on")
    stages = {name: _made(StageRate, stage, f"{where}.stages.{name}") for name, stage in table["stages"].items()}
    order = SPLIT if "detect" in stages else FUSED
    if set(stages) != set(order):
        raise ConfigError(
            f"{where}: has the stages {', '.join(stages)}; must be {', '.join(FUSED)} or {', '.join(SPLIT)}"
        )
    for name, stage in stages.items():
        here = f"{where}.stages.{name}"
        _check(here, "seconds", stage.seconds, 0.0, math.inf)
        _check(here, "seconds_per_mp", stage.seconds_per_mp, 0.0, math.inf)
        _check(here, "busy", stage.busy, 0.0, 1.0)
        _check(here, "fan_out", stage.fan_out, 1e-6, 1e6)
        if stage.seconds + stage.seconds_per_mp <= 0.0:
            raise ConfigError(f"{here}: takes no time; give the seconds that were measured")
    made: OutputRates = _made(OutputRates, {**table, "stages": {name: stages[name] for name in order}}, where)
    _check(where, "bytes_per_mp", made.bytes_per_mp, 0.0, math.inf)
    return made


def _made(kind: Any, values: Any, where: str) -> Any:
    """A dataclass from a table, its fields checked by name and type. Raises ConfigError."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: must be a table")
    known = {field.name: field for field in fields(kind)}
    for name in values:
        if name not in known:
            raise ConfigError(f"{where}: unknown field {name!r}; known are {', '.join(known)}")
    taken: dict[str, Any] = {}
    for name, field in known.items():
        if name in values:
            taken[name] = _typed(values[name], str(field.type), f"{where}: {name}")
        elif field.default is MISSING:
            raise ConfigError(f"{where}: {name} is missing")
    return kind(**taken)


def _typed(value: Any, wanted: str, where: str) -> Any:
    """The value as the field's type (by name) wants it; whole numbers do for floats. Raises ConfigError."""
    if wanted == "float" and type(value) in (int, float):
        return float(value)
    if wanted == "tuple[float, float]":
        if isinstance(value, list) and len(value) == 2:
            return tuple(_typed(part, "float", where) for part in value)
        raise ConfigError(f"{where} = {value!r} must be two numbers, [SMALLEST, LARGEST]")
    if wanted in ("str", "bool", "int", "float") and type(value).__name__ != wanted:
        raise ConfigError(f"{where} = {value!r} must be of type {wanted}")
    return value


def _check(where: str, name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high or not math.isfinite(value):
        raise ConfigError(f"{where}: {name} = {value}: must lie in {low:g}..{high:g}")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in value.replace("\\", "\\\\"))
        return '"' + escaped.replace('"', '\\"') + '"'
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value)
