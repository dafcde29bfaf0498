"""Byte credits at the head of a cell: how much decoded work may be in flight at once.

One gate at the head cannot deadlock: whatever was admitted can always go on to its end, and gives back what it
holds there. Nothing behind the gate waits for credits.
"""

from __future__ import annotations

from types import TracebackType

FIRST_RATIO = 12.0
"""Decoded bytes an encoded byte before anything was seen: a 2 MP JPEG of 500 kB."""

_SMOOTHING = 0.1  # weight of the newest photograph in the learnt ratio: follows a change of catalogue in tens of images


class Gate:
    """Admits images by their decoded size, and bounds what the object store holds for them.

    capacity: decoded bytes (width x height x 3) that may be held at once.
    largest: decoded bytes of the largest image that the job accepts (`max_pixels` x 3); bounds an estimate.
    store_capacity: bytes of payload objects above which nothing is admitted; 0 = no such limit.
    smallest: the least that is charged for an image, so that a million icons are not admitted at once.

    The header is not known before the fetch, so an image is charged an estimate when it is admitted (its encoded size
    times the learnt ratio) and the true size when it has arrived. Hence the memory that is bounded:

        held <= max(capacity, one image) + sum over images in fetch of max(0, true size - estimate)

    where the sum is the overdraft: it has at most (images in fetch) terms, each below `largest`, it stops admission
    until it is worked off, and it is near zero once the ratio is learnt. An image larger than the whole gate is
    admitted alone, when nothing else is held. The payloads of admitted images are bounded by

        stored <= store_capacity + outputs of the calls in flight when it was reached
    """

    __slots__ = (
        "_mean",
        "_ratio",
        "capacity",
        "held",
        "largest",
        "peak_held",
        "peak_stored",
        "permits",
        "smallest",
        "store_capacity",
        "stored",
    )

    def __init__(self, capacity: int, *, largest: int, store_capacity: int = 0, smallest: int = 64 * 2**10) -> None:
        if capacity < 1 or largest < 1:
            raise ValueError(f"gate of {capacity} bytes for images of up to {largest}: both must be at least 1")
        self.capacity = capacity
        self.largest = largest
        self.store_capacity = store_capacity
        self.smallest = min(smallest, largest)
        self.held = 0
        self.stored = 0
        self.permits = 0
        self.peak_held = 0
        self.peak_stored = 0
        self._ratio = FIRST_RATIO
        self._mean = float(min(largest, 6 * 2**20))

    def estimate(self, encoded: int | None) -> int:
        """Decoded bytes to expect of a file of `encoded` bytes (None = unknown: the mean so far)."""
        guess = self._mean if encoded is None else encoded * self._ratio
        return max(self.smallest, min(self.largest, int(guess)))

    def room(self, wanted: int) -> bool:
        """Whether `wanted` more bytes fit now; always true when nothing is held."""
        if self.permits == 0:
            return True
        if self.store_capacity and self.stored >= self.store_capacity:
            return False
        return self.held + wanted <= self.capacity

    def try_admit(self, encoded: int | None) -> Permit | None:
        """A permit for one image of `encoded` bytes, or None when it has to wait."""
        wanted = self.estimate(encoded)
        if not self.room(wanted):
            return None
        self.permits += 1
        self._hold(wanted)
        return Permit(self, wanted, encoded)

    def keep(self, n_bytes: int) -> None:
        """Count a payload that the object store holds now."""
        self.stored += n_bytes
        if self.stored > self.peak_stored:
            self.peak_stored = self.stored

    def drop(self, n_bytes: int) -> None:
        """Uncount a payload that was dropped."""
        self.stored -= n_bytes

    def _hold(self, n_bytes: int) -> None:
        self.held += n_bytes
        if self.held > self.peak_held:
            self.peak_held = self.held

    def _learn(self, encoded: int | None, decoded: int) -> None:
        self._mean += _SMOOTHING * (decoded - self._mean)
        if encoded:
            self._ratio += _SMOOTHING * (decoded / encoded - self._ratio)


class Permit:
    """The credits of one image. Given back by `finish()` or at the end of its `with` block, once."""

    __slots__ = ("_encoded", "_gate", "_open", "charged")

    def __init__(self, gate: Gate, charged: int, encoded: int | None) -> None:
        self._gate = gate
        self._encoded = encoded
        self._open = True
        self.charged = charged

    def correct(self, decoded: int) -> None:
        """Charge the true decoded size (bytes), now that the header is known."""
        if not self._open:
            raise RuntimeError("a permit that was given back cannot be corrected")
        true = max(self._gate.smallest, decoded)
        self._gate._hold(true - self.charged)
        self.charged = true
        self._gate._learn(self._encoded, decoded)

    def finish(self) -> None:
        """Give the credits back. A second call raises RuntimeError: the image would end twice."""
        if not self._open:
            raise RuntimeError("the credits of this image were given back already")
        self._open = False
        self._gate.held -= self.charged
        self._gate.permits -= 1

    def __enter__(self) -> Permit:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._open:
            self.finish()
