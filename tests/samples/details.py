"""Makes details.jpg, the README's before and after: `python tests/samples/details.py` from the repository.

Each row is one square of a photograph: the photograph, the cut-out by the segmentation network's mask alone, the
cut-out by the default settings, both on a colour, untouched. For the glass the second is with a person's trimap: no
segmentation network that we may ship sees through glass.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from mattemill.kernels.trimap import BACKGROUND, FOREGROUND, UNKNOWN
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.cutter import Cutter
from mattemill.pipeline.hints import Hint
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.header import read_header

HERE = Path(__file__).parent
# What it shows, the photograph, and the square: centre and side as shares of width, height and the longer side.
ROWS = (
    ("fur", "raccoon.jpg", (0.86, 0.17), 0.26),
    ("hair", "astronaut.jpg", (0.44, 0.13), 0.28),
    ("a product", "catalogue/mug.jpg", (0.70, 0.55), 0.26),
    ("glass", None, (0.40, 0.36), 0.50),
)
TITLES = ("photograph", "before: the mask of u2netp", "after: the default")
PANEL, GAP, TEXT, LABEL = 300, 8, 26, 96
GROUND = "#188484"
PAPER, INK = (250, 249, 246), (34, 34, 34)


def glass_of_water() -> tuple[bytes, npt.NDArray[np.uint8]]:
    """A tumbler that never was before a curtain, as a PNG, and the trimap that a person would draw around it."""
    height, width = 900, 700
    y, x = np.mgrid[:height, :width].astype(np.float32)
    light = 1 - 0.25 * np.hypot((x - 300) / width, (y - 350) / height)
    back = light[..., None] * np.array([196, 188, 176], np.float32)
    back += (18 * np.sin(x / 9) * (y < 620))[..., None]  # shows through
    half = 150 - 28 * (y - 180) / 560  # the wall falls in towards the foot
    across = (x - 350) / half
    edge = np.clip((1 - np.abs(across)) * half + 0.5, 0, 1)
    bowl = np.clip((np.hypot(across.clip(-1, 1), (y - 180) / 26) - 1) * 20, 0, 1)
    inside = edge * (((y > 180) & (y < 740)) | (bowl < 1)) * (y > 150)
    wall = np.clip(1 - (1 - np.abs(across)) * half / 12, 0, 1) * inside * (y > 180)
    foot = np.clip((y - 700) / 40, 0, 1) * inside
    rim = np.exp(-((np.hypot(across, (y - 180) / 26) - 1) ** 2) * 160) * (np.abs(across) < 1.06)
    water = np.exp(-((np.hypot(across, (y - 330) / 22) - 1) ** 2) * 200) * inside
    shine = np.exp(-(((across + 0.62) / 0.05) ** 2) - np.clip(np.abs(y - 450) - 180, 0, None) ** 2 / 900) * inside
    alpha = np.clip(0.14 * inside + 0.7 * wall + 0.55 * foot + 0.7 * rim + 0.5 * water + 0.75 * shine, 0, 0.95)
    tone = 40 + 215 * np.clip(shine + 0.7 * rim + 0.6 * water, 0, 1) + 60 * (1 - np.abs(across).clip(0, 1))
    front = np.clip(tone, 0, 255)[..., None] * np.array([0.93, 0.98, 1.0], np.float32)
    photo = alpha[..., None] * front + (1 - alpha[..., None]) * back
    photo = cv2.GaussianBlur(photo, (0, 0), 0.7) + np.random.default_rng(4).normal(0, 1.5, photo.shape)
    out = io.BytesIO()
    Image.fromarray(np.clip(photo, 0, 255).astype(np.uint8)).save(out, "png")
    around = cv2.dilate((alpha > 0.02).astype(np.uint8), np.ones((9, 9), np.uint8))
    marks = np.where(around > 0, UNKNOWN, BACKGROUND).astype(np.uint8)
    marks[alpha > 0.93] = FOREGROUND
    return out.getvalue(), marks


def square(shape: tuple[int, ...], centre: tuple[float, float], side: float) -> tuple[slice, slice]:
    """Rows and columns of the square, moved into the photograph where it leaves it."""
    height, width = shape[:2]
    pixels = round(side * max(height, width))
    top = int(np.clip(centre[1] * height - pixels / 2, 0, height - pixels))
    left = int(np.clip(centre[0] * width - pixels / 2, 0, width - pixels))
    return slice(top, top + pixels), slice(left, left + pixels)


def main() -> int:
    before, after = (
        Cutter(JobConfig(refine=how, confidence_threshold=0.0, output="composite", background=GROUND))
        for how in ("none", "network")
    )
    font, small = ImageFont.load_default(18), ImageFont.load_default(14)
    size = (LABEL + 3 * (PANEL + GAP) + GAP, TEXT + len(ROWS) * (PANEL + GAP) + 2 * GAP)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(TITLES):
        draw.text((LABEL + GAP + column * (PANEL + GAP), GAP), title, INK, font)
    for row, (what, name, centre, side) in enumerate(ROWS):
        top = TEXT + GAP + row * (PANEL + GAP)
        draw.text((GAP, top + PANEL // 2 - 10), what, INK, font)
        hint = None
        if name is None:
            data, marks = glass_of_water()
            hint = Hint("trimap", marks)
            draw.text((GAP, top + PANEL // 2 + 12), "generated;\nafter: with\na trimap", INK, small)
        else:
            data = (HERE / "photos" / name).read_bytes()
        photo = decode(data, read_header(data))
        at = square(photo.shape, centre, side)
        for column, panel in enumerate((photo, before.cut(data).pixels, after.cut(data, hint).pixels)):
            picture = Image.fromarray(np.ascontiguousarray(panel[at])).resize((PANEL, PANEL), Image.Resampling.LANCZOS)
            sheet.paste(picture, (LABEL + GAP + column * (PANEL + GAP), top))
    sheet.save(HERE / "details.jpg", quality=88, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
