"""What a camera and its software do to an exact composite; the alpha stays where it is."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_SUBSAMPLING = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


def photographed(rng: np.random.Generator, exact: Floats) -> Bytes:
    """Sharpening, sensor noise and JPEG, each or none of them: float32 (S, S, 3) in 0..255 to uint8 (S, S, 3)."""
    image = exact
    early = rng.random() < 0.5
    if early:
        image = _noisy(rng, image)
    if rng.random() < 0.3:
        soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 1.6))
        image = np.asarray(image + rng.uniform(0.2, 1.0) * (image - soft), np.float32)
    if not early and rng.random() < 0.3:
        image = _noisy(rng, image)
    out = np.asarray(np.clip(image + 0.5, 0, 255), np.uint8)
    if rng.random() < 0.75:
        quality = round(100 - 60 * rng.beta(1.3, 3.2))
        subsampling = _SUBSAMPLING[int(rng.random() < 0.35)]
        out = _jpeg(out, quality, subsampling)
    return out


def _noisy(rng: np.random.Generator, image: Floats) -> Floats:
    """Shot noise, that grows with the root of the light, on a floor of read noise; a little of it shared by colours."""
    level = np.exp(rng.uniform(np.log(0.4), np.log(7.0)))
    grain = rng.standard_normal(image.shape, np.float32)
    if rng.random() < 0.5:
        grain = grain * 0.6 + rng.standard_normal((*image.shape[:2], 1), np.float32) * 0.6
    if rng.random() < 0.3:  # After a demosaicing, neighbours share their noise.
        grain = np.asarray(cv2.GaussianBlur(grain, (3, 3), 0.6), np.float32) * 1.6
    floor = rng.uniform(0.2, 1)
    scale = level * np.sqrt(floor * floor + np.maximum(image, 0) * (1 / 128))
    return np.asarray(image + grain * scale, np.float32)


def _jpeg(image: Bytes, quality: int, subsampling: int) -> Bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, subsampling]
    done, data = cv2.imencode(".jpg", image[..., ::-1], options)
    if not done:
        raise RuntimeError(f"OpenCV could not encode a JPEG of {image.shape}, quality {quality}")
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])
