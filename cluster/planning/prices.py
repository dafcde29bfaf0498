"""Prices: of nodes and of requests to the object store. The packaged ones are examples, and say so."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path

from mattemill.pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Prices:
    """note: what these prices are, printed with every plan. date: when they were written down.

    core_hour, gpu_hour: of a core and of a GPU of a node, an hour. *_per_1000: requests. gb_month: of what is kept
    (10^9 bytes, a month). All in `currency`.
    """

    note: str
    date: str
    currency: str
    core_hour: float
    gpu_hour: float
    get_per_1000: float
    put_per_1000: float
    list_per_1000: float
    gb_month: float


def packaged_prices() -> Prices:
    """The examples that come with mattemill."""
    text = resources.files("mattemill.cluster.planning").joinpath("prices.toml").read_text(encoding="utf-8")
    return parse_prices(text, "the packaged prices")


def read_prices(path: Path) -> Prices:
    """A prices file. Raises ConfigError naming the file and the field."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    return parse_prices(text, str(path))


def parse_prices(text: str, where: str) -> Prices:
    """Prices from TOML, all fields given. Raises ConfigError."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: is no TOML ({error})") from error
    known = {field.name: str(field.type) for field in fields(Prices)}
    for name in values:
        if name not in known:
            raise ConfigError(f"{where}: unknown price {name!r}; known are {', '.join(known)}")
    for name, wanted in known.items():
        if name not in values:
            raise ConfigError(f"{where}: {name} is missing; `mattemill plan --example-prices` prints a whole file")
        value = values[name]
        if wanted == "str":
            # TOML has dates of its own
            values[name] = value = str(value)
            if not value:
                raise ConfigError(f"{where}: {name} is empty: say what these prices are, and of when")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
            raise ConfigError(f"{where}: {name} = {value!r} must be a number, 0 or more")
    return Prices(**values)


def example_prices() -> str:
    """The text of the packaged file, to be copied."""
    return resources.files("mattemill.cluster.planning").joinpath("prices.toml").read_text(encoding="utf-8")
