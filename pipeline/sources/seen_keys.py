"""Which keys were there before, in 16 bytes a key."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

_RECENT = 65_536  # keys in the hash set before they are sorted into an array


class SeenKeys:
    """A set of keys that only grows: 128-bit digests in sorted arrays of doubling sizes.

    Ten million keys take 160 MB (a set of strings: more than 1.2 GB). Two different keys are taken for one with
    a probability of n^2 / 2^129: 1e-25 for ten million.
    """

    def __init__(self) -> None:
        self._recent: set[bytes] = set()
        self._runs: list[npt.NDArray[np.void]] = []

    def add(self, key: str) -> bool:
        """Remember a key; whether it is new."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).digest()
        if digest in self._recent:
            return False
        if self._runs:
            wanted = np.frombuffer(digest, _DIGEST)
            for run in self._runs:
                at = int(np.searchsorted(run, wanted)[0])
                if at < len(run) and run[at] == wanted[0]:
                    return False
        self._recent.add(digest)
        if len(self._recent) >= _RECENT:
            self._merge()
        return True

    def _merge(self) -> None:
        run = np.sort(np.frombuffer(b"".join(self._recent), _DIGEST))
        self._recent = set()
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]))
        self._runs.append(run)


_DIGEST = np.dtype([("high", ">u8"), ("low", ">u8")])
