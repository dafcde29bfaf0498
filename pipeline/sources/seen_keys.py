"""Which keys were there before, in 16 bytes a key."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import numpy.typing as npt

_RECENT = 65_536  # keys in the hash set before they are sorted into an array
_HALVES = struct.Struct("<QQ")
_Words = npt.NDArray[np.uint64]


class SeenKeys:
    """A set of keys that only grows: 128-bit digests in sorted arrays of doubling sizes.

    Ten million keys take 160 MB (a set of strings: more than 1.2 GB). Two different keys are taken for one with
    a probability of n^2 / 2^129: 1e-25 for ten million.
    """

    def __init__(self) -> None:
        self._recent: set[tuple[int, int]] = set()
        self._runs: list[tuple[_Words, _Words]] = []  # high and low halves, sorted by both

    def add(self, key: str) -> bool:
        """Remember a key; whether it is new."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).digest()
        high, low = _HALVES.unpack(digest)
        if (high, low) in self._recent:
            return False
        wanted = np.uint64(high)
        for highs, lows in self._runs:
            at = int(highs.searchsorted(wanted))
            while at < len(highs) and highs[at] == wanted:
                if lows[at] == low:
                    return False
                at += 1
        self._recent.add((high, low))
        if len(self._recent) >= _RECENT:
            self._merge()
        return True

    def _merge(self) -> None:
        """Sort the recent digests into an array, joined with the older ones that are not much longer."""
        new = np.array(list(self._recent), np.uint64)
        highs, lows = new[:, 0], new[:, 1]
        self._recent = set()
        while self._runs and len(self._runs[-1][0]) <= 2 * len(highs):
            older_highs, older_lows = self._runs.pop()
            highs, lows = np.concatenate([older_highs, highs]), np.concatenate([older_lows, lows])
        order = np.lexsort((lows, highs))
        self._runs.append((highs[order], lows[order]))
