"""The eight EXIF orientations."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def apply_orientation(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Turn pixels as stored into pixels as shown. uint8 (H, W) or (H, W, C); orientation 1..8.

    Exif 3.0, tag 274: 2 mirrored, 3 turned by 180 degrees, 4 upside down mirrored, 5 transposed, 6 to be turned 90
    degrees clockwise, 7 transposed over the other diagonal, 8 to be turned 90 degrees counter-clockwise.
    """
    match orientation:
        case 2:
            out = cv2.flip(pixels, 1)
        case 3:
            out = cv2.rotate(pixels, cv2.ROTATE_180)
        case 4:
            out = cv2.flip(pixels, 0)
        case 5:
            out = cv2.transpose(pixels)
        case 6:
            out = cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            out = cv2.flip(cv2.transpose(pixels), -1)
        case 8:
            out = cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
        case _:
            return pixels
    return np.asarray(out, np.uint8)
