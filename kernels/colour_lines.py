"""Alpha from affine functions of the colour: what the matting network predicts, drawn on the full photograph.

Levin, Lischinski, Weiss: A Closed-Form Solution to Natural Image Matting, TPAMI 2008 (the colour line model); the
enlarged coefficients follow He, Sun: Fast Guided Filter, 2015.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def apply_colour_lines(
    lines: npt.NDArray[np.float32], image: npt.NDArray[np.uint8], prior: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """alpha = lines[0:3] . colour / 255 + lines[3] + lines[4] * prior, clipped to 0..1; float32 (H, W).

    lines: float32 (5, h, w), enlarged to the photograph's size bilinearly. image: uint8 (H, W, 3).
    prior: float32 (H, W) in 0..1.
    """
    height, width = prior.shape
    size = (width, height)
    out = np.asarray(cv2.resize(lines[3], size, interpolation=cv2.INTER_LINEAR), np.float32)
    for channel in range(3):
        slope = np.asarray(cv2.resize(lines[channel], size, interpolation=cv2.INTER_LINEAR), np.float32)
        slope *= image[..., channel]
        slope *= np.float32(1 / 255)
        out += slope
    trust = np.asarray(cv2.resize(lines[4], size, interpolation=cv2.INTER_LINEAR), np.float32)
    trust *= prior
    out += trust
    return np.asarray(np.clip(out, 0.0, 1.0, out=out), np.float32)


def part_of_lines(
    lines: npt.NDArray[np.float32], shape: tuple[int, int], top: int, left: int, height: int, width: int
) -> npt.NDArray[np.float32]:
    """A part of the lines of a photograph of `shape` (H, W), enlarged to its size: float32 (c, height, width).

    As if all were enlarged bilinearly, to a 64th of a pixel of theirs, and then cut out; beyond the frame the nearest
    value. lines: float32 (c, h, w).
    """
    across, down = lines.shape[2] / shape[1], lines.shape[1] / shape[0]
    matrix = np.asarray([[across, 0, (left + 0.5) * across - 0.5], [0, down, (top + 0.5) * down - 0.5]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    parts = [
        cv2.warpAffine(line, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE) for line in lines
    ]
    return np.asarray(np.stack(parts), np.float32)
