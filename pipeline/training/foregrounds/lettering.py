"""Letters and signs, with the holes that letters have."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mattemill.pipeline.training.colours import any_colour
from mattemill.pipeline.training.foregrounds.shapes import shaded
from mattemill.pipeline.training.foregrounds.strokes import ENLARGED
from mattemill.pipeline.training.layer import Layer, from_premultiplied, painted
from mattemill.pipeline.training.noise import warped
from mattemill.pipeline.training.textures import texture

_LETTERS = "ABDEGKMOPQRSabdegopq&@%$#468903§"
_HERSHEY = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX)


def make(rng: np.random.Generator, size: int) -> Layer:
    """One to three lines of letters cut from some material; side `size`. The font is Pillow's own or OpenCV's."""
    side = size * ENLARGED
    picture = Image.new("L", (side, side))
    draw = ImageDraw.Draw(picture)
    lines = int(rng.integers(1, 4))
    height = side / (lines + 0.8) * 0.9
    drawn = None
    for line in range(lines):
        text = "".join(_LETTERS[i] for i in rng.integers(len(_LETTERS), size=int(rng.integers(2, 5) * lines)))
        if rng.random() < 0.7:
            font = ImageFont.load_default(height * rng.uniform(0.6, 1.0))
            at = (side * 0.08, side * 0.1 + line * height)
            draw.text(at, text, fill=255, font=font, stroke_width=int(rng.integers(0, 12)))
        else:
            drawn = np.array(picture) if drawn is None else drawn
            face = _HERSHEY[int(rng.integers(len(_HERSHEY)))]
            at = (int(side * 0.08), int(side * 0.1 + (line + 0.8) * height))
            ascii_only = "".join(letter if letter < "\x7f" else "O" for letter in text)
            cv2.putText(drawn, ascii_only, at, face, height / 34, 255.0, int(rng.integers(8, 50)), cv2.LINE_AA)
    mask = np.maximum(np.asarray(picture), drawn) if drawn is not None else np.asarray(picture)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.normal(0, 15)), 1.0)
    mask = cv2.warpAffine(mask, turn, (side, side))
    small = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) / np.float32(255)
    if rng.random() < 0.5:
        small = np.asarray(warped(rng, small, size * 0.01, 4), np.float32)
    coverage = np.clip(small, 0, 1)
    ground = texture(rng, size) if rng.random() < 0.6 else np.broadcast_to(any_colour(rng), (size, size, 3))
    colours = shaded(rng, np.asarray(ground, np.float32), coverage, rng.choice([0.3, 1.0]))
    return from_premultiplied(painted(colours, coverage))
