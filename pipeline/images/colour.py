"""Colours of a tagged image as sRGB, through the profile that the file carries."""

from __future__ import annotations

import functools
import io
import logging

import numpy as np
from PIL import Image, ImageCms

_log = logging.getLogger(__name__)

_SAME = 1  # levels of 255: a profile that moves no colour further than this is sRGB by another name


@functools.lru_cache(maxsize=32)
def srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way from a profile to sRGB, or None where nothing is to be done.

    mode: 'RGB', 'L' or 'CMYK', as the pixels are stored. Relative colorimetric with black point compensation, as
    browsers do it. None too for a profile that is damaged or made for other pixels: viewers then show the plain
    values. Kept for the next image: a catalogue has few profiles.
    """
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        _log.debug("event=icc_ignored mode=%s bytes=%d error=%s", mode, len(profile), error)
        return None
    if mode == "RGB":
        steps = np.linspace(0, 255, 9).round().astype(np.uint8)
        cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
        moved = np.asarray(transform.apply(Image.fromarray(cube)))
        if np.abs(moved.astype(np.int16) - cube).max() <= _SAME:
            return None
    return transform


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An image of mode RGB, L or CMYK as RGB in sRGB; without a usable profile, Pillow's plain conversion."""
    transform = srgb_transform(profile, image.mode) if profile else None
    if transform is not None:
        return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")
