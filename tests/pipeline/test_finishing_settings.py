"""How finishing settings are written, and which of them do not go together."""

from __future__ import annotations

from typing import Any

import pytest

from mattemill.pipeline.config import PIXEL_FIELDS, JobConfig
from mattemill.pipeline.errors import ConfigError
from mattemill.pipeline.finishing_settings import parse_canvas, parse_margin


@pytest.mark.parametrize(
    ("text", "size"), [("2000x2000", (2000, 2000)), (" 800 X 600 ", (800, 600)), ("1×20000", (1, 20000))]
)
def test_a_canvas_is_width_by_height(text: str, size: tuple[int, int]) -> None:
    assert parse_canvas(text) == size


@pytest.mark.parametrize("text", ["", "2000", "2000x", "x2000", "20.5x20", "-5x5", "0x5", "20001x5", "5x5x5", "5x5px"])
def test_a_canvas_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="canvas = "):
        parse_canvas(text)


@pytest.mark.parametrize(
    ("text", "pixels"), [("5%", 30), ("0", 0), ("40", 40), ("40px", 40), ("2.5 %", 15), (".5%", 3), ("49%", 294)]
)
def test_a_margin_is_a_share_of_the_shorter_side_or_pixels(text: str, pixels: int) -> None:
    assert parse_margin(text, (800, 600)) == pixels


@pytest.mark.parametrize("text", ["", "%", "5 percent", "-5", "5%%", "50%", "300", "1e3", "nan"])
def test_a_margin_that_cannot_be_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="margin = "):
        parse_margin(text, (800, 600))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"feather": -1.0}, "feather = -1.0"),
        ({"feather": float("nan")}, "feather = nan"),
        ({"feather": 501.0}, "feather = 501"),
        ({"shadow": "soft"}, "shadow = 'soft': must be one of none, keep, drop"),
        ({"shadow": "keep"}, "shadow = 'keep': a matte has no colour"),
        ({"match_colour": 1.5}, "match_colour = 1.5"),
        ({"match_colour": 0.5}, "match_colour = 0.5: there is nothing to match"),
        ({"match_colour": 0.5, "output": "composite", "background": "#ffffff"}, "without a picture"),
        ({"margin": "5%"}, "margin = '5%': only with a canvas"),
        ({"upscale": True}, "upscale = True: only with a canvas"),
        ({"canvas": "big"}, "canvas = 'big': write WIDTHxHEIGHT"),
        ({"canvas": "100x100", "margin": "60"}, "leaves nothing"),
        ({"canvas": "20000x20000"}, "over max_pixels"),
        ({"canvas": "17000x100", "format": "webp"}, "16383 pixels a side"),
    ],
)
def test_what_does_not_go_together_is_said(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        JobConfig(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"despeckle": True},
        {"fill_holes": True},
        {"feather": 1.0},
        {"shadow": "drop", "output": "cutout"},
        {"canvas": "10x10"},
        {"canvas": "10x10", "margin": "1"},
        {"canvas": "10x10", "upscale": True},
    ],
)
def test_each_setting_makes_another_job(settings: dict[str, Any]) -> None:
    fewer = dict(list(settings.items())[:-1]) if len(settings) > 1 else {}
    if settings.get("output"):
        fewer = {"output": settings["output"]}
    assert JobConfig(**settings).fingerprint({}) != JobConfig(**fewer).fingerprint({})
    assert set(settings) <= set(PIXEL_FIELDS)
