"""What counts as the bytes of a file here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Data = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
"""An encoded file: bytes, or a uint8 (n,) array (read-only is fine) that crossed processes without a copy."""


def view_of(data: Data) -> memoryview:
    """The bytes of a file without a copy."""
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).data.cast("B")
    return memoryview(data).cast("B")
