"""The finishing settings of a job: how they are written, and which of them go together."""

from __future__ import annotations

import re
from typing import Protocol

from mattemill.pipeline.errors import ConfigError

DEFAULT_MARGIN = "5%"
"""Of a canvas when no margin is given: marketplaces ask that the article fills 85 to 95 % of the square."""

_LARGEST_SIDE = 20_000  # px
_WEBP_SIDE = 16_383  # px; the format's own limit
_MOST_FEATHER = 500.0  # px


class FinishingSettings(Protocol):
    """What of a `JobConfig` concerns finishing; see there for units."""

    @property
    def output(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def background(self) -> str | None: ...
    @property
    def feather(self) -> float: ...
    @property
    def shadow(self) -> str: ...
    @property
    def match_colour(self) -> float: ...
    @property
    def canvas(self) -> str | None: ...
    @property
    def margin(self) -> str | None: ...
    @property
    def upscale(self) -> bool: ...


def parse_canvas(text: str) -> tuple[int, int]:
    """(width, height) in pixels of '2000x2000'. Raises ConfigError."""
    found = re.fullmatch(r"\s*(\d{1,6})\s*[xX×]\s*(\d{1,6})\s*", text)
    if not found:
        raise ConfigError(f"canvas = {text!r}: write WIDTHxHEIGHT in pixels, e.g. 2000x2000")
    width, height = int(found[1]), int(found[2])
    if not (1 <= width <= _LARGEST_SIDE and 1 <= height <= _LARGEST_SIDE):
        raise ConfigError(f"canvas = {text!r}: each side must lie in 1..{_LARGEST_SIDE} pixels")
    return width, height


def parse_margin(text: str, canvas: tuple[int, int]) -> int:
    """Pixels to leave free on every side: of '5%' (of the canvas' shorter side), '40' or '40px'. Raises ConfigError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%|px|)\s*", text)
    if not found:
        raise ConfigError(f"margin = {text!r}: write a share such as 5%, or pixels such as 40")
    value = float(found[1])
    shorter = min(canvas)
    pixels = round(value / 100 * shorter) if found[2] == "%" else round(value)
    if 2 * pixels >= shorter:
        raise ConfigError(f"margin = {text!r}: leaves nothing of a canvas of {canvas[0]}x{canvas[1]}; less than half")
    return pixels


def check_finishing(config: FinishingSettings) -> None:
    """Raises ConfigError for a finishing setting that cannot be, or that does not go with the others."""
    if not 0.0 <= config.feather <= _MOST_FEATHER:
        raise ConfigError(f"feather = {config.feather}: must lie in 0..{_MOST_FEATHER:g} pixels")
    if not 0.0 <= config.match_colour <= 1.0:
        raise ConfigError(f"match_colour = {config.match_colour}: must lie in 0..1, the strength")
    if config.shadow != "none" and config.output == "matte":
        raise ConfigError(
            f"shadow = {config.shadow!r}: a matte has no colour for a shadow; take --output cutout or composite"
        )
    if config.match_colour > 0 and (
        config.output != "composite" or config.background is None or config.background.startswith("#")
    ):
        raise ConfigError(
            f"match_colour = {config.match_colour}: there is nothing to match without a picture behind the subject; "
            "take --output composite and --background FILE"
        )
    if config.canvas is None:
        for name in ("margin", "upscale"):
            value = getattr(config, name)
            if value not in (None, False):
                raise ConfigError(f"{name} = {value!r}: only with a canvas, e.g. --canvas 2000x2000")
        return
    size = parse_canvas(config.canvas)
    parse_margin(config.margin if config.margin is not None else DEFAULT_MARGIN, size)
    if size[0] * size[1] > config.max_pixels:
        raise ConfigError(f"canvas = {config.canvas!r}: over max_pixels ({config.max_pixels})")
    if config.format == "webp" and max(size) > _WEBP_SIDE:
        raise ConfigError(
            f"canvas = {config.canvas!r}: a WebP has at most {_WEBP_SIDE} pixels a side; use --format png"
        )
