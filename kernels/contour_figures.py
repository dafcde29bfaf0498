"""How a mask's contour lies in its photograph: on edges or across flat ground, between unlike or like colours."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_REACH = 0.02  # of the long side: width of the rings inside and outside whose colours are compared
_LIKE = 8.0  # distance in CIE L*a*b* (8 bits a channel) under which two sides of a contour look alike
_DEEP = 3  # pixels at 320 from the contour inwards: what is soft from here on is no edge


def contour_figures(image: npt.NDArray[np.uint8], soft: npt.NDArray[np.float32]) -> dict[str, float]:
    """Figures of a contour; 2-4 ms at 320 px.

    image: uint8 (h, w, 3) RGB. soft: float32 (h, w) in 0..1; the contour is that of its pixels at or above 0.5.

    edge_support: 0..1, mean rank of the image gradient (largest within 2 px) on the contour among all pixels' own; 0.5
    would be chance. contrast: distance of the mean colours of the rings inside and outside, in units of 8-bit L*a*b*.
    low_contrast: share of the contour where the colours within 2 % of the long side differ by under 8 such units.
    translucent: mean doubt (1 - |2 soft - 1|) of the pixels deep inside. fragments: share of the area outside the
    largest part. Parts of the contour on the frame do not count. All 0 (low_contrast 1) without a contour.
    """
    inside = np.ascontiguousarray(soft >= 0.5, np.uint8)
    nothing = {"edge_support": 0.0, "contrast": 0.0, "low_contrast": 1.0, "translucent": 0.0, "fragments": 0.0}
    area = cv2.countNonZero(inside)
    if area in (0, inside.size):
        return nothing
    lab = np.asarray(cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 1.0), cv2.COLOR_RGB2LAB), np.float32)
    cross = np.ones((3, 3), np.uint8)
    contour = (cv2.dilate(inside, cross) - cv2.erode(inside, cross)) > 0
    contour[:2] = contour[-2:] = False
    contour[:, :2] = contour[:, -2:] = False
    figures = nothing | {"translucent": _softness_inside(soft, inside), "fragments": _fragments(inside)}
    if not contour.any():
        return figures
    figures["edge_support"] = _support(lab, contour)
    figures["contrast"], figures["low_contrast"] = _sides(lab, inside, contour)
    return figures


def _support(lab: npt.NDArray[np.float32], contour: npt.NDArray[np.bool_]) -> float:
    across, down = cv2.Sobel(lab, cv2.CV_32F, 1, 0), cv2.Sobel(lab, cv2.CV_32F, 0, 1)
    strength = np.sqrt((across**2 + down**2).sum(axis=2))
    near = cv2.dilate(strength, np.ones((5, 5), np.uint8))
    return float(np.searchsorted(np.sort(strength, axis=None), near[contour]).mean() / strength.size)


def _sides(
    lab: npt.NDArray[np.float32], inside: npt.NDArray[np.uint8], contour: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """(contrast, low_contrast)."""
    reach = max(3, round(_REACH * max(inside.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    inner = ((inside > 0) & (cv2.erode(inside, disc) == 0)).astype(np.float32)
    outer = ((inside == 0) & (cv2.dilate(inside, disc) > 0)).astype(np.float32)
    here, there = _local_mean(lab, inner, reach), _local_mean(lab, outer, reach)
    apart = np.linalg.norm(here[0][contour] - there[0][contour], axis=1)
    known = (here[1][contour] > 0.05) & (there[1][contour] > 0.05)
    if not known.any():
        return 0.0, 1.0
    means = [(lab * ring[..., None]).sum(axis=(0, 1)) / ring.sum() for ring in (inner, outer)]
    return float(np.linalg.norm(means[0] - means[1])), float(np.mean(apart[known] < _LIKE))


def _local_mean(
    lab: npt.NDArray[np.float32], ring: npt.NDArray[np.float32], reach: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(mean colour of the ring's pixels around each pixel, their share of the window)."""
    window = (2 * reach + 1, 2 * reach + 1)
    share = np.asarray(cv2.blur(ring, window), np.float32)
    total = cv2.blur(lab * ring[..., None], window)
    return np.asarray(total / np.maximum(share, np.float32(1e-6))[..., None], np.float32), share


def _softness_inside(soft: npt.NDArray[np.float32], inside: npt.NDArray[np.uint8]) -> float:
    depth = max(2, round(_DEEP * max(inside.shape) / 320))
    # Outside the frame counts as inside: a subject that is cut off has no edge there.
    deep = cv2.erode(inside, np.ones((2 * depth + 1, 2 * depth + 1), np.uint8)) > 0
    return float((1.0 - np.abs(2.0 * soft[deep] - 1.0)).mean()) if deep.any() else 0.0


def _fragments(inside: npt.NDArray[np.uint8]) -> float:
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return float(1.0 - areas.max() / areas.sum())
