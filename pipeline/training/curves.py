"""The curves of a training run as a picture: losses and validation error over the steps."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

_WIDTH, _HEIGHT, _MARGIN = 640, 300, 56
_COLOURS = {  # BGR
    "alpha": (180, 119, 31),
    "composition": (14, 127, 255),
    "laplacian": (44, 160, 44),
    "gradient": (40, 39, 214),
    "validation_mae": (180, 119, 31),
    "validation_closed_mae": (150, 150, 150),
}
_PANELS = (("alpha", "composition", "laplacian", "gradient"), ("validation_mae", "validation_closed_mae"))


def draw_curves(log: Path, target: Path) -> None:
    """Draw the log (one JSON object a line) as a PNG of two panels: the parts of the loss, and the validation."""
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line]
    panels = [_panel(entries, names) for names in _PANELS]
    cv2.imwrite(str(target), np.concatenate(panels, axis=0))


def _panel(entries: list[dict[str, float]], names: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    canvas = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    steps = [entry["step"] for entry in entries]
    # The first entries are of an untrained network; they would press all others against the axis.
    values = [entry[name] for entry in entries[len(entries) // 20 :] for name in names]
    last, most = max(steps, default=1), max(values, default=1.0) * 1.05

    def at(step: float, value: float) -> tuple[int, int]:
        across = _MARGIN + (_WIDTH - 2 * _MARGIN) * step / last
        down = _HEIGHT - _MARGIN / 2 - (_HEIGHT - _MARGIN) * min(value, most) / most
        return round(across), round(down)

    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        left, right = at(0, share * most), at(last, share * most)
        cv2.line(canvas, left, right, (225, 225, 225), 1)
        _write(canvas, f"{share * most:.3f}", (4, left[1] + 4))
        _write(canvas, f"{round(share * last)}", (at(share * last, 0)[0] - 12, _HEIGHT - 8))
    for number, name in enumerate(names):
        points = np.array([at(entry["step"], entry[name]) for entry in entries], np.int32)
        cv2.polylines(canvas, [points[:, None]], False, _COLOURS[name], 2, cv2.LINE_AA)
        _write(canvas, name, (_WIDTH - 200, 20 + 16 * number), _COLOURS[name])
    return canvas


def _write(
    canvas: npt.NDArray[np.uint8], text: str, at: tuple[int, int], colour: tuple[int, int, int] = (90, 90, 90)
) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
