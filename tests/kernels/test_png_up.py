from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mattemill.kernels.png_up import png_up


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([None, 3, 4]), st.integers(0, 2**32 - 1))
def test_adding_up_the_rows_gives_back_the_pixels(height: int, width: int, channels: int | None, seed: int) -> None:
    shape = (height, width) if channels is None else (height, width, channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    rows = png_up(pixels)
    assert rows.shape == (height, 1 + width * (channels or 1))
    assert rows.flags.c_contiguous
    assert (rows[:, 0] == 2).all()
    assert np.array_equal(np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).reshape(shape), pixels)
