"""How images become batches of the sizes that an engine is run with. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mattemill.pipeline.engines.recipe import Shape

_WASTE = 0.25  # of a batch that may be filling: 7 images run as 8, 5 as 4 + 1


@dataclass(frozen=True, slots=True)
class Batch:
    """`count` images from the `start`-th on, run as a batch of `bucket`; what is left of it is filling."""

    start: int
    count: int
    bucket: int


def cut(start: int, stop: int, buckets: Sequence[int], limit: int) -> list[Batch]:
    """Batches that together hold the images start .. stop - 1, in order.

    buckets: sizes that there are, growing. limit: the largest that may be used now; at least the first bucket.
    """
    usable = [bucket for bucket in buckets if bucket <= limit]
    if not usable:
        raise ValueError(f"no bucket of {tuple(buckets)} is within the limit of {limit}")
    batches = []
    while start < stop:
        left = stop - start
        fitting = [bucket for bucket in usable if bucket <= left]
        above = next((bucket for bucket in usable if bucket > left), None)
        filled_up = above is not None and (not fitting or above - left <= _WASTE * above)
        bucket = above if above is not None and filled_up else fitting[-1]
        batches.append(Batch(start, min(left, bucket), bucket))
        start += batches[-1].count
    return batches


class BatchCaps:
    """The largest batch for each shape of an image; halved when the device's memory does not do, and remembered."""

    def __init__(self) -> None:
        self._caps: dict[Shape, int] = {}

    def of(self, shape: Shape, limit: int) -> int:
        """For images of this shape, at most `limit`."""
        return min(limit, self._caps.get(shape, limit))

    def halve(self, shape: Shape, bucket: int) -> bool:
        """A batch of `bucket` did not fit: from now on half of it. False when it was one image already."""
        if bucket <= 1:
            return False
        self._caps[shape] = bucket // 2
        return True
