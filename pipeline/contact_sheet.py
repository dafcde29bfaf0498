"""A picture of how photographs ended: photo, matte and cut-out on a colour, or photo and reason; for a person's eye.

For a few dozen photographs. Everything is drawn at the size of the sheet, so memory does not follow the photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from mattemill.kernels.compose import compose_over
from mattemill.kernels.foreground import estimate_foreground

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PANEL: Final = 250
"""Pixels of the square into which each picture is fitted."""

_GAP, _PAD, _CAPTION, _HEADER = 10, 26, 56, 84
_OVERSAMPLE = 2  # cut-outs are composed at twice their size on the sheet, so that edges are judged as they are
_PAPER: Colour = (250, 249, 246)
_CARD: Colour = (255, 255, 255)
_LINE: Colour = (224, 221, 214)
_INK: Colour = (34, 34, 34)
_FAINT: Colour = (110, 108, 102)
_FAILED: Colour = (176, 42, 32)
_COLOURS: tuple[Colour, ...] = ((24, 132, 132), (226, 106, 74), (86, 84, 160), (232, 178, 60))
"""Backgrounds of the cut-outs in turn: strong, so that a fringe or a halo shows."""


@dataclass(frozen=True, slots=True)
class CutTile:
    """A photograph that was cut. photo: uint8 (H, W, 3). alpha: uint8 (H, W), as large. note: one short line."""

    key: str
    photo: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8]
    note: str = ""


@dataclass(frozen=True, slots=True)
class FailedTile:
    """A photograph that failed. preview: uint8 (H, W, 3), None when no pixel could be had."""

    key: str
    reason: str
    message: str
    preview: npt.NDArray[np.uint8] | None = None
    note: str = ""


Tile = CutTile | FailedTile


@dataclass(frozen=True, slots=True)
class _Fonts:
    title: Font = field(default_factory=lambda: ImageFont.load_default(26))
    key: Font = field(default_factory=lambda: ImageFont.load_default(16))
    small: Font = field(default_factory=lambda: ImageFont.load_default(13.5))
    reason: Font = field(default_factory=lambda: ImageFont.load_default(24))


def contact_sheet(tiles: Sequence[Tile], title: str, subtitle: str = "", columns: int = 2) -> Image.Image:
    """The sheet as an RGB image, cards in the given order, `columns` beside each other.

    Raises ValueError when a photo and its alpha differ in size.
    """
    fonts = _Fonts()
    card_width = 3 * PANEL + 4 * _GAP
    card_height = PANEL + _CAPTION + _GAP
    rows = max(1, -(-len(tiles) // columns))
    width = 2 * _PAD + columns * card_width + (columns - 1) * _PAD
    height = _PAD + _HEADER + rows * (card_height + _PAD)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_PAD, _PAD), _fitted(draw, title, fonts.title, width - 2 * _PAD), _INK, fonts.title)
    draw.text((_PAD, _PAD + 38), _fitted(draw, subtitle, fonts.small, width - 2 * _PAD), _FAINT, fonts.small)
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        left = _PAD + column * (card_width + _PAD)
        top = _PAD + _HEADER + row * (card_height + _PAD)
        draw.rounded_rectangle((left, top, left + card_width - 1, top + card_height - 1), 8, _CARD, _LINE)
        _draw_card(sheet, draw, tile, (left, top), fonts, _COLOURS[i % len(_COLOURS)])
    return sheet


def _draw_card(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, at: tuple[int, int], fonts: _Fonts, colour: Colour
) -> None:
    left, top = at[0] + _GAP, at[1] + _CAPTION
    inner = 3 * PANEL + 2 * _GAP
    draw.text((left, at[1] + 8), _fitted(draw, tile.key, fonts.key, inner), _INK, fonts.key)
    draw.text((left, at[1] + 29), _fitted(draw, tile.note, fonts.small, inner), _FAINT, fonts.small)
    places = [(left + i * (PANEL + _GAP), top) for i in range(3)]
    if isinstance(tile, CutTile):
        for picture, place in zip(cut_panels(tile.photo, tile.alpha, colour), places, strict=True):
            _paste(sheet, draw, picture, place)
        return
    if tile.preview is not None:
        _paste(sheet, draw, _shrunk(tile.preview, PANEL), places[0])
    else:
        _frame(draw, places[0])
        _centred(draw, "no picture", places[0], fonts.small)
    x, y = places[1]
    room = 2 * PANEL + _GAP
    draw.text((x + 6, y + 4), _fitted(draw, tile.reason, fonts.reason, room), _FAILED, fonts.reason)
    lines = _wrapped(draw, tile.message, fonts.key, room - 12)
    for n, line in enumerate(lines[:8]):
        draw.text((x + 6, y + 46 + n * 22), line, _INK, fonts.key)


def cut_panels(
    photo: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8], colour: Colour, size: int = PANEL
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The photo, its matte as grey, and the cut-out on a colour, each uint8 (h, w, 3) fitted into `size` pixels.

    photo: uint8 (H, W, 3). alpha: uint8 (H, W). Raises ValueError when they differ in size.
    """
    if photo.shape[:2] != alpha.shape:
        raise ValueError(f"photo {photo.shape[1]}x{photo.shape[0]} and matte {alpha.shape[1]}x{alpha.shape[0]} differ")
    large = _shrunk(photo, size * _OVERSAMPLE)
    matte = _to(alpha, (large.shape[1], large.shape[0]))
    foreground = estimate_foreground(large, matte.astype(np.float32) * np.float32(1 / 255))
    cutout = compose_over(foreground, matte, np.array(colour, np.uint8))
    small_matte = _shrunk(matte, size)
    return _shrunk(large, size), np.repeat(small_matte[:, :, None], 3, axis=2), _shrunk(cutout, size)


def _paste(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, picture: npt.NDArray[np.uint8], place: tuple[int, int]
) -> None:
    height, width = picture.shape[:2]
    x, y = place[0] + (PANEL - width) // 2, place[1] + (PANEL - height) // 2
    sheet.paste(Image.fromarray(picture), (x, y))
    draw.rectangle((x - 1, y - 1, x + width, y + height), outline=_LINE)


def _frame(draw: ImageDraw.ImageDraw, place: tuple[int, int]) -> None:
    draw.rectangle((place[0], place[1], place[0] + PANEL - 1, place[1] + PANEL - 1), (240, 238, 233), _LINE)


def _centred(draw: ImageDraw.ImageDraw, text: str, place: tuple[int, int], font: Font) -> None:
    draw.text((place[0] + PANEL // 2, place[1] + PANEL // 2), text, _FAINT, font, anchor="mm")


def _shrunk(picture: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Fitted into a square of `side` pixels, never enlarged more than twice (a 1x1 image stays a dot)."""
    height, width = picture.shape[:2]
    scale = min(side / max(height, width), 2.0)
    return _to(picture, (max(1, round(width * scale)), max(1, round(height * scale))))


def _to(picture: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    smaller = size[0] * size[1] < picture.shape[0] * picture.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.ascontiguousarray(cv2.resize(np.ascontiguousarray(picture), size, interpolation=how), np.uint8)


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: Font, room: int) -> str:
    """The text, with its middle left out when it is wider than `room` pixels."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    if draw.textlength(text, font) <= room:
        return text
    keep = len(text)
    while keep > 2:
        keep -= 1
        shorter = f"{text[: keep // 2]}...{text[-(keep - keep // 2) :]}"
        if draw.textlength(shorter, font) <= room:
            return shorter
    return text[:1]


def _wrapped(draw: ImageDraw.ImageDraw, text: str, font: Font, room: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and draw.textlength(longer, font) <= room:
            lines[-1] = longer
        else:
            lines.append(_fitted(draw, word, font, room))
    return lines
