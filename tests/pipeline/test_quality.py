"""The confidence: what it follows, and whether it is right on photographs with ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.cutter import Cutter
from mattemill.pipeline.quality import confidence, evidence_figures, mask_figures, score_figures, signs, softness
from mattemill.pipeline.stages.messages import CropMask


def _half(soft_columns: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    mask = np.zeros((100, 100), np.uint8)
    mask[:, :50] = 255
    mask[:, 50 - soft_columns : 50] = 128
    return mask


def _photo(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return np.where(inside[..., None], np.uint8([200, 60, 40]), np.uint8([40, 60, 160])).astype(np.uint8)


def _scored(mask: npt.NDArray[np.uint8], **evidence: float) -> dict[str, float]:
    """Figures of a mask over a frame of its own size."""
    crop = CropMask((0, 0, mask.shape[1], mask.shape[0]), mask, evidence)
    return score_figures(_photo(mask >= 128), mask.astype(np.float32) / 255, [crop])


def test_the_fewer_pixels_between_in_and_out_the_higher_the_confidence() -> None:
    scores = [confidence(_scored(_half(n))) for n in range(0, 51, 5)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.9
    assert scores[-1] < 0.1


@pytest.mark.parametrize("shape", [(900, 1351), (1667, 2500), (433, 577)])
def test_a_mask_without_any_doubt_has_a_score_at_every_size(shape: tuple[int, int]) -> None:
    """The mean of ones over a cell is not always one."""
    inside = np.zeros(shape, bool)
    inside[shape[0] // 5 : -shape[0] // 5, shape[1] // 5 : -shape[1] // 5] = True
    crop = CropMask((0, 0, 320, 320), np.full((320, 320), 255, np.uint8))
    figures = score_figures(_photo(inside), inside.astype(np.float32), [crop])
    assert figures["translucent"] >= 0
    assert confidence(figures) > 0.5


def test_a_rival_and_the_doubt_of_the_looks_lower_the_confidence() -> None:
    alone = confidence(_scored(_half(5)))
    assert confidence(_scored(_half(5), several_subjects=0.5)) < alone - 0.2
    assert confidence(_scored(_half(5), doubt=1.0)) < alone - 0.2
    assert confidence(_scored(_half(5)), "u2net") != alone


def test_of_several_masks_the_worst_evidence_counts() -> None:
    sure = CropMask((0, 0, 9, 9), _half(0), {"agreement": 0.9, "doubt": 0.1})
    unsure = CropMask((0, 0, 9, 9), _half(0), {"agreement": 0.2, "doubt": 0.05})
    assert evidence_figures([sure, unsure]) == {"agreement": 0.2, "doubt": 0.1}
    assert evidence_figures([CropMask((0, 0, 9, 9), _half(0))]) == {}


def test_signs_name_what_may_be_the_matter() -> None:
    whole = np.zeros((100, 100), np.uint8)
    whole[30:70, 30:70] = 255
    assert signs(_scored(whole)) == []
    assert signs(_scored(whole, several_subjects=0.3)) == ["several things stand out"]
    assert signs(_scored(_half(0))) == ["the subject is cut off by the frame"]
    glass = np.where(whole > 0, 170, 0).astype(np.uint8)
    assert signs(_scored(glass)) == ["it is soft deep inside, as glass is"]


def test_a_subject_at_the_frame_is_measured_by_the_side_that_it_covers_most() -> None:
    figures = _scored(_half(0))
    assert figures["cut_off"] == 1.0
    assert figures["border_contact"] == pytest.approx(0.5, abs=0.01)
    assert figures["mask_area"] == pytest.approx(0.5)


def test_figures_are_shares_of_the_photograph_not_of_the_crop() -> None:
    figures = mask_figures([CropMask((10, 10, 30, 30), _half(25))], (100, 200))
    assert figures["soft_of_subject"] == pytest.approx(0.5)
    assert figures["soft_share"] == pytest.approx(0.25 * 400 / 20_000)
    assert figures["subject_area"] == pytest.approx((0.25 + 0.25 * 128 / 255) * 400 / 20_000)


def test_an_empty_mask_has_no_confidence() -> None:
    empty = np.zeros((10, 10), np.uint8)
    assert softness(empty) == 1.0
    assert confidence(_scored(empty)) < 0.3


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
