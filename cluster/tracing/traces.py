"""Which images are traced, and what is written down of them on their way. Pure; the clock is the coordinator's."""

from __future__ import annotations

from zlib import crc32

from mattemill.cluster.actions import Call, Reply
from mattemill.cluster.images import Image, Item
from mattemill.pipeline.outcome import Trace, TracedCall


def is_traced(key: str, share: float) -> bool:
    """Whether the image of this key belongs to the share 0..1 that is traced: the same ones in every run."""
    return crc32(key.encode("utf-8", "surrogateescape")) < share * 2**32


class Traces:
    """The traced images of one cell.

    share: 0..1 of all images. epoch: Unix seconds at which the coordinator's clock was 0; one clock for a whole cell,
    so that the spans of an image lie beside each other as they were, wherever its workers ran.
    """

    def __init__(self, share: float, epoch: float) -> None:
        self._share = share
        self._epoch = epoch

    def admitted(self, image: Image, now: float) -> None:
        """Decide whether this image is traced. now, here and below: seconds of the coordinator's clock."""
        if is_traced(image.ref.key, self._share):
            image.traced = (now, [])

    def returned(self, item: Item, call: Call, reply: Reply, now: float) -> None:
        """A call came back with this item of a traced image."""
        self._add(item, call, now - reply.seconds, now, reply.worker, reply.device, "")

    def gone_wrong(self, item: Item, call: Call, fault: str, now: float) -> None:
        """A call with this item of a traced image did not come back. fault: see `TracedCall`."""
        self._add(item, call, call.began, now, "", "", fault)

    def ended(self, image: Image, now: float) -> Trace | None:
        """All of an image that ends now; None when it is not traced."""
        if image.traced is None:
            return None
        admitted, calls = image.traced
        image.traced = None
        return Trace(admitted + self._epoch, now + self._epoch, tuple(calls))

    def _add(self, item: Item, call: Call, began: float, now: float, worker: str, device: str, fault: str) -> None:
        traced = item.image.traced
        if traced is not None:
            crop = item.crop if call.stage == "segment" else None
            began, ended = began + self._epoch, now + self._epoch
            n = len(call.items)
            traced[1].append(TracedCall(call.stage, began, ended, worker, device, n, item.tries, crop, fault))
