"""The confidence: what it follows, and whether it is right on photographs with ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.cutter import Cutter
from mattemill.pipeline.quality import confidence, mask_figures, softness
from mattemill.pipeline.stages.messages import CropMask


def _half(soft_columns: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    mask = np.zeros((100, 100), np.uint8)
    mask[:, :50] = 255
    mask[:, 50 - soft_columns : 50] = 128
    return mask


def test_the_fewer_pixels_between_in_and_out_the_higher_the_confidence() -> None:
    scores = [confidence(mask_figures([CropMask((0, 0, 100, 100), _half(n))], (100, 100))) for n in range(0, 51, 5)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.9
    assert scores[-1] < 0.01


def test_figures_are_shares_of_the_photograph_not_of_the_crop() -> None:
    figures = mask_figures([CropMask((10, 10, 30, 30), _half(25))], (100, 200))
    assert figures["soft_of_subject"] == pytest.approx(0.5)
    assert figures["soft_share"] == pytest.approx(0.25 * 400 / 20_000)
    assert figures["subject_area"] == pytest.approx((0.25 + 0.25 * 128 / 255) * 400 / 20_000)


def test_an_empty_mask_has_no_confidence() -> None:
    empty = np.zeros((10, 10), np.uint8)
    assert softness(empty) == 1.0
    assert confidence(mask_figures([CropMask((0, 0, 10, 10), empty)], (10, 10))) < 0.01


@pytest.mark.slow
def test_well_cut_photographs_are_above_the_default_threshold_and_well_cut(evaldata: Path, u2netp: Path) -> None:
    """Animals, portraits and products: those that pass have a mean IoU of .9 and more."""
    cutter = Cutter(JobConfig(confidence_threshold=0.0))
    overlaps, flagged = [], []
    for folder, truth in (("am2k_samples", "alpha"), ("p3m_samples", "alpha"), ("products_bigbird6", "mask")):
        for image in sorted((evaldata / folder / "image").iterdir()):
            cut = cutter.cut(image.read_bytes())
            known = next((evaldata / folder / truth).glob(image.stem + ".*"))
            inside = np.asarray(Image.open(known).convert("L")) >= 128
            found = cut.pixels >= 128
            overlap = np.count_nonzero(inside & found) / np.count_nonzero(inside | found)
            (overlaps if cut.facts.scores["confidence"] >= JobConfig().confidence_threshold else flagged).append(
                overlap
            )
    assert len(overlaps) >= 13
    assert np.mean(overlaps) > 0.9
    assert len(flagged) <= 3
