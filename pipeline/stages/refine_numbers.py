"""The numbers of refinement, which the stages on the host and the device chain share: radii, thresholds, how much."""

from __future__ import annotations

EPS = 1e-4
"""Variance of the colours in 0..1 below which the guided filter takes the photograph as flat."""

HAZE = 0.05
"""The filter leaves a haze of this order on flat ground: from here on alpha counts as 0, or as 1."""

NETWORK_SURE = (0.1, 0.9)
"""Up to, and from, which value the mask counts as sure where a network refines."""

LEAST_UNSURE, MOST_UNSURE = 0.2, 0.4
"""Share of unsure pixels around one at which the network begins to count, and at which it is alone."""

_BAND = 0.01  # radius of the band and of the filter, of the photograph's long side
_NETWORK_BAND = 0.006  # of the network's band, as above
_AROUND = 0.012  # radius, as above, in which unsure pixels are counted
_SOME_DOUBT, _ALL_DOUBT = 2.0, 5.0  # unsure pixels to sure ones of the subject: from here on less, and not at all
_SUBSAMPLE = 4  # of the filter's coefficients: a quarter of the radius or less costs little accuracy


def band_radius(shape: tuple[int, ...]) -> int:
    """px, of the band and of the guided filter, for a photograph of `shape` (H, W)."""
    return int(max(1, round(_BAND * max(shape))))


def filter_subsample(radius: int) -> int:
    """The filter's coefficients are found at 1/this of the size."""
    return _SUBSAMPLE if radius >= 2 * _SUBSAMPLE else 1


def network_band_radius(shape: tuple[int, ...]) -> int:
    """px, of the band in which a network is asked."""
    return max(1, round(_NETWORK_BAND * max(shape)))


def around_radius(shape: tuple[int, ...]) -> int:
    """px, in which unsure pixels are counted around each."""
    return max(2, round(_AROUND * max(shape)))


def done_of(sure: int, unsure: int) -> float:
    """How much is done, at most 1, and nothing from 0 on, where so many pixels are surely the subject's, and unsure."""
    return min(1.0, (_ALL_DOUBT - unsure / max(1, sure)) / (_ALL_DOUBT - _SOME_DOUBT))
