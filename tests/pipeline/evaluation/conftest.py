"""Small data sets with exact truth."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


@pytest.fixture(scope="session")
def rendered_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two rendered articles that the repository ships with their exact alphas, as a set named 'rendered'."""
    folder = tmp_path_factory.mktemp("sets") / "rendered"
    (folder / "image").mkdir(parents=True)
    for name in ("mug", "white-vase"):
        shutil.copy(SAMPLES / "photos" / "catalogue" / f"{name}.jpg", folder / "image")
    shutil.copytree(SAMPLES / "alpha", folder / "alpha")
    return folder


@pytest.fixture(scope="session")
def small_set(rendered_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same at a quarter of the size, 'mug' with a trimap/, and a photograph of grey without any subject."""
    folder = tmp_path_factory.mktemp("small") / "small"
    for kind in ("image", "alpha", "trimap"):
        (folder / kind).mkdir(parents=True)
    for path in sorted((rendered_set / "image").iterdir()):
        picture = cv2.imread(str(path))
        cv2.imwrite(str(folder / "image" / f"{path.stem}.png"), cv2.resize(picture, (300, 400), interpolation=3))
        alpha = cv2.imread(str(rendered_set / "alpha" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(folder / "alpha" / f"{path.stem}.png"), cv2.resize(alpha, (300, 400), interpolation=3))
    alpha = cv2.imread(str(folder / "alpha" / "mug.png"), cv2.IMREAD_GRAYSCALE)
    square = np.ones((7, 7), np.uint8)
    sure, out = cv2.erode(alpha, square), cv2.dilate(alpha, square)
    trimap = np.where(sure == 255, 255, np.where(out == 0, 0, 128)).astype(np.uint8)
    cv2.imwrite(str(folder / "trimap" / "mug.png"), trimap)
    cv2.imwrite(str(folder / "image" / "nothing.png"), np.full((120, 160, 3), 200, np.uint8))
    cv2.imwrite(str(folder / "alpha" / "nothing.png"), np.zeros((120, 160), np.uint8))
    return folder
