"""How good a matte is likely to be, without knowing the truth: a score and the figures behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.contour_figures import contour_figures
from mattemill.pipeline.looks import doubt
from mattemill.pipeline.photo import Alpha, Rgb
from mattemill.pipeline.stages.messages import CropMask

_LOW, _HIGH = 0.05, 0.95
_SMALL = 320  # pixels, long side: as fine as the networks see


def softness(mask: npt.NDArray[np.uint8]) -> float:
    """Share of a mask's pixels over 0.05 that are below 0.95, 0..1; 1 for an empty mask. mask: uint8 (h, w)."""
    touched, soft = _counts(mask)
    return soft / touched if touched else 1.0


def mask_figures(masks: Sequence[CropMask], shape: tuple[int, int]) -> dict[str, float]:
    """Figures of the soft masks before refinement, taken at the network's resolution.

    shape: (H, W) of the photograph. All in 0..1:
    soft_of_subject: `softness` of all masks together.
    soft_share: the same as a share of the frame. subject_area: share of the frame that the subject covers.
    Windows that overlap (`--subjects all`) count twice.
    """
    frame = shape[0] * shape[1]
    soft = touched = area = 0.0
    for one in masks:
        x0, y0, x1, y1 = one.window
        weight = (x1 - x0) * (y1 - y0) / one.mask.size
        touched_here, soft_here = _counts(one.mask)
        touched += weight * touched_here
        soft += weight * soft_here
        area += weight * float(one.mask.sum()) / 255.0
    return {
        "soft_of_subject": soft / touched if touched else 1.0,
        "soft_share": min(1.0, soft / frame),
        "subject_area": min(1.0, area / frame),
    }


def picture_figures(image: Rgb, soft: Alpha) -> dict[str, float]:
    """Figures of how a soft mask lies in its photograph; 3-6 ms for 2 MP.

    image: uint8 (H, W, 3). soft: float32 (H, W) in 0..1. Beside those of `contour_figures`:
    border_contact: share of the frame's outermost pixels that the subject covers. cut_off: the same of the side of the
    frame that it covers most. mask_area: share of the frame at or above 0.5.
    """
    height, width = small_size(soft.shape)
    small = np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    return small_figures(np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8), small)


def small_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """(h, w) at which a photograph of (H, W, ...) is looked at for its figures."""
    scale = min(1.0, _SMALL / max(shape[0], shape[1]))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def small_figures(image: Rgb, small: Alpha) -> dict[str, float]:
    """`picture_figures` of what was reduced to `small_size` by means of areas: uint8 (h, w, 3) and float32 (h, w)."""
    # A mean of ones can come out a rounding above one, and the score takes roots of what is left to one.
    small = small.clip(0.0, 1.0)
    inside = small >= 0.5
    sides = [side.mean() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1])]
    edge = np.concatenate([inside[0], inside[-1], inside[1:-1, 0], inside[1:-1, -1]])
    return contour_figures(image, small) | {
        "border_contact": float(edge.mean()),
        "cut_off": float(max(sides)),
        "mask_area": float(inside.mean()),
    }


def evidence_figures(masks: Sequence[CropMask]) -> dict[str, float]:
    """What the looks behind the masks said of each other, the worst of several masks; empty when none says anything.

    See `looks.Consensus`; `several_subjects` is the rank of the second part over the first's, `dropped` the share
    of the mass that went as another thing.
    """
    figures: dict[str, float] = {}
    for one in masks:
        for name, value in one.evidence.items():
            worse = min if name == "agreement" else max
            figures[name] = worse(figures[name], value) if name in figures else value
    return figures


def _counts(mask: npt.NDArray[np.uint8]) -> tuple[int, int]:
    touched = int(np.count_nonzero(mask >= _LOW * 255))
    return touched, touched - int(np.count_nonzero(mask >= _HIGH * 255))


def score_figures(image: Rgb, soft: Alpha, masks: Sequence[CropMask]) -> dict[str, float]:
    """All figures that the score and the hints are made of, each of which goes into the outcome row.

    image: uint8 (H, W, 3). soft: float32 (H, W) in 0..1, the masks pasted. A mask that brings no evidence gets its
    doubt from itself, and no rival.
    """
    return mask_only_figures(masks, soft.shape) | picture_figures(image, soft)


def mask_only_figures(masks: Sequence[CropMask], shape: tuple[int, ...]) -> dict[str, float]:
    """Those of `score_figures` that need no pixel of the photograph, whose shape is (H, W, ...)."""
    figures = {
        "doubt": max((doubt(one.mask.astype(np.float32) / np.float32(255.0)) for one in masks), default=1.0),
        "several_subjects": 0.0,
    }
    return figures | mask_figures(masks, (shape[0], shape[1])) | evidence_figures(masks)


INPUTS = ("doubt", "translucent", "several_subjects", "contrast")
"""Of which figures the score is made."""


def score_inputs(figures: Mapping[str, float]) -> list[float]:
    """The figures as the regression takes them: those that run over decades by logarithm, small shares by square root.

    Contrast is held within 15 to 80, where nearly all of the photographs are that the score was fitted to: a dark
    article on white has more, fog has none.
    """
    return [
        math.log(figures["doubt"] + 0.02),
        math.sqrt(figures["translucent"]),
        math.sqrt(figures["several_subjects"]),
        math.log(min(max(figures["contrast"], 15.0), 80.0) + 5.0),
    ]


@dataclass(frozen=True, slots=True)
class ScoreWeights:
    """Of the logistic regression of "IoU under .85" on `score_inputs`, in the order of `INPUTS`."""

    offset: float
    inputs: tuple[float, ...]


# Printed by benchmarks/calibrate_score.py, by the setting second_network. Doubt at a strong contrast is doubt about
# what the subject is, at a weak one about where its edge runs: hence the sign of the contrast.
_WEIGHTS = {
    "none": ScoreWeights(-5.263, (1.209, 6.737, 5.3, 1.48)),
    "u2net": ScoreWeights(-4.354, (1.307, 8.731, 5.234, 1.266)),
}


def confidence(figures: Mapping[str, float], second_network: str = "none") -> float:
    """How likely the matte has an IoU of .85 or more with the truth, 0..1, from the figures of `score_figures`.

    A logistic regression on 118 photographs with truth (../shared/evaldata without coco_tiny100, whose truth is not the
    salient thing; 41 bad of the default's masks, 38 of those with a second network). Of photographs that the fit had
    not seen: AUC .88 (.86 with a second network; 95 % of resamples .82 to .95), calibration error .08, where a perfect
    score would show .083 on so few. Under a confidence of .35 lies one in six, 9 in 10 of them bad: 44 % of the bad
    ones. Doubt alone has .83, the share of soft pixels .81. Tried beside it and left out, none adds .01: agreement of
    the looks, with a mirrored look, with u2net on everything; support of the contour by edges, area, border contact,
    fragments, the raw peak. What it cannot see: a sharp mask of the wrong thing (three people of whom one was meant).
    Which figures to take was decided on the same photographs, so that a little of this is luck; with a whole set left
    out the AUC is .83 (.74). Fitted to u2netp as `model`: for another one it ranks, but set the threshold anew.
    """
    weights = _WEIGHTS[second_network]
    log_odds = weights.offset + sum(w * x for w, x in zip(weights.inputs, score_inputs(figures), strict=True))
    return 1.0 / (1.0 + math.exp(min(log_odds, 700.0)))


_SIGNS = {
    "several_subjects": (0.1, "several things stand out"),
    "cut_off": (0.1, "the subject is cut off by the frame"),
    "translucent": (0.1, "it is soft deep inside, as glass is"),
    "low_contrast": (0.1, "its colours are those of the ground along part of the contour"),
}


def signs(figures: Mapping[str, float]) -> list[str]:
    """What may be the matter with a photograph, in words, from its figures; often nothing.

    From 0.1 of a figure. Of 118 photographs with truth the first was said of 8, all under an IoU of .85; the third of
    17, 14 of them so. The second and the fourth are no faults by themselves: they were said of 41 and 15, as often of
    good mattes as of bad ones.
    """
    return [words for name, (level, words) in _SIGNS.items() if figures[name] >= level]
