"""A soft mask of what a person has pointed at: strokes say where the network looks and correct what it sees."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.crop import Window, crop, expand_box
from mattemill.kernels.paste import paste_masks
from mattemill.kernels.propagation import BAND_LONG_SIDE, LONG_SIDE, colours, fill_band, propagate, reduce_marks
from mattemill.kernels.trimap import BACKGROUND, FOREGROUND
from mattemill.pipeline.hints import Hint
from mattemill.pipeline.models.saliency import SaliencyNetwork
from mattemill.pipeline.photo import Alpha, Rgb
from mattemill.pipeline.stages.messages import Box
from mattemill.pipeline.stages.segment import agreement, on_crop

_ELSEWHERE = -4.0  # log odds for what lies outside the crop: the frame's surest goes from .98 to .5
_LEAST_ODDS = 0.02
_STEEP = 8.0  # slope of a mask about 0.5 where strokes have changed it by 1 / _CHANGED or more
_CHANGED = 10.0
Map = npt.NDArray[np.uint8]


class HintFollower:
    """Soft masks from hints; NO_SUBJECT and LOW_CONFIDENCE do not exist here, a person has said what the subject is.

    localiser: looks at the full frame. network: looks at the crop. margin: of the crop, as in `Segmenter`. A trimap
    needs neither.
    """

    def __init__(self, localiser: SaliencyNetwork, network: SaliencyNetwork, *, margin: float) -> None:
        self._localiser = localiser
        self._network = network
        self._margin = margin

    def __call__(self, image: Rgb, hint: Hint) -> tuple[Alpha, Box | None, dict[str, float]]:
        """The soft mask float32 (H, W) of a photograph uint8 (H, W, 3), the box of its subject (None: empty), figures.

        Raises EngineError.
        """
        return in_band(image, hint) if hint.kind == "trimap" else self._from_strokes(image, hint)

    def _from_strokes(self, image: Rgb, hint: Hint) -> tuple[Alpha, Box | None, dict[str, float]]:
        """The full frame's map corrected by the strokes gives the crop; both maps together are corrected again."""
        height, width = image.shape[:2]
        size = _size(image.shape, LONG_SIDE)
        lab = colours(_reduce(image, size))
        marks = reduce_marks(hint.marks, size)
        full_frame = self._localiser(image).mask
        prior = _reduce(full_frame.astype(np.float32) / np.float32(255), size)
        subject = _pointed_at(propagate(lab, prior, marks)[0] >= 0.5, marks)
        scores = {"second_pass": 0.0}
        soft = paste_masks([(full_frame, (0, 0, width, height))], (height, width))
        if subject.any():
            window = expand_box(_scaled(_around(subject), size, (width, height)), self._margin, image.shape)
            found = self._network(crop(image, window))
            seen = on_crop(full_frame, window, (height, width), found.mask.shape)
            scores = {
                "second_pass": 1.0,
                "crop_share": _share(window, image.shape),
                "crop_peak": found.peak,
                "agreement": agreement(seen, found.mask),
            }
            soft = paste_masks([(_shifted(full_frame), (0, 0, width, height))], (height, width))
            x0, y0, x1, y1 = window
            soft[y0:y1, x0:x1] = paste_masks([(_both(seen, found.mask), (0, 0, x1 - x0, y1 - y0))], (y1 - y0, x1 - x0))
        followed, not_followed = propagate(lab, _reduce(soft, size), marks)
        # Only the change is brought to full size: where the strokes do not reach, the mask keeps its finer edges.
        change = cv2.resize(followed - not_followed, (width, height), interpolation=cv2.INTER_LINEAR)
        soft = hint.honoured(_decided(soft + change, np.abs(change)))
        scores["changed_by_hint"] = float(np.mean((followed >= 0.5) != (not_followed >= 0.5)))
        inside = soft >= 0.5
        return soft, _around(inside) if inside.any() else None, scores


def _decided(soft: Alpha, change: Alpha) -> Alpha:
    """The mask in 0..1, steeper about 0.5 the more the strokes have changed it.

    What they have changed is smooth, not hair: left soft, the refiner takes it for a band in which anything may be
    (gain of one stroke on the hard photographs .25 instead of .27).
    """
    share = np.minimum(np.float32(_CHANGED) * change, np.float32(1))
    slope = 1 + np.float32(_STEEP - 1) * share
    return np.asarray(np.clip((soft - np.float32(0.5)) * slope + np.float32(0.5), 0.0, 1.0))


def in_band(image: Rgb, hint: Hint) -> tuple[Alpha, Box | None, dict[str, float]]:
    """What `HintFollower` gives for a trimap; no network looks, see `fill_band`."""
    height, width = image.shape[:2]
    size = _size(image.shape, BAND_LONG_SIDE)
    filled = fill_band(colours(_reduce(image, size)), reduce_marks(hint.marks, size))
    soft = np.asarray(cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return hint.honoured(soft), _around(hint.marks != BACKGROUND), {}


def _size(shape: tuple[int, ...], long_side: int) -> tuple[int, int]:
    """(w, h) of a photograph of (H, W) at a long side of at most so many pixels."""
    scale = min(1.0, long_side / max(shape[0], shape[1]))
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _pointed_at(subject: npt.NDArray[np.bool_], marks: Map) -> npt.NDArray[np.bool_]:
    """Of the connected parts of a mask those with a keep stroke; all of them when there is none."""
    _, labels = cv2.connectedComponents(subject.view(np.uint8), connectivity=8)
    touched = np.unique(labels[(marks == FOREGROUND) & subject])
    return np.isin(labels, touched) if touched.size else subject


def _both(one: Map, other: Map) -> Map:
    """Two soft maps of one size as one: the mean of their log odds."""
    return _map(np.float32(0.5) * (_log_odds(one) + _log_odds(other)))


def _shifted(soft: Map) -> Map:
    return _map(_log_odds(soft) + np.float32(_ELSEWHERE))


def _log_odds(soft: Map) -> npt.NDArray[np.float32]:
    share = np.clip(soft.astype(np.float32) / np.float32(255), _LEAST_ODDS, 1 - _LEAST_ODDS)
    return np.asarray(np.log(share / (1 - share)), np.float32)


def _map(odds: npt.NDArray[np.float32]) -> Map:
    """Log odds as a soft map; the ends of `_log_odds` are 0 and 255 again."""
    share = (1 / (1 + np.exp(-odds)) - _LEAST_ODDS) / (1 - 2 * _LEAST_ODDS)
    return np.asarray(np.clip(share * 255 + 0.5, 0, 255), np.uint8)


def _around(mask: npt.NDArray[np.bool_]) -> Box:
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return float(x), float(y), float(x + width), float(y + height)


def _scaled(box: Box, size: tuple[int, int], full: tuple[int, int]) -> Box:
    across, down = full[0] / size[0], full[1] / size[1]
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def _share(window: Window, shape: tuple[int, ...]) -> float:
    return (window[2] - window[0]) * (window[3] - window[1]) / (shape[0] * shape[1])


def _reduce(values: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    small = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA))
    return small.reshape(size[1], size[0], *values.shape[2:])
