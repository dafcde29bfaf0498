from __future__ import annotations

import numpy as np
import pytest

from mattemill.kernels.alpha_stats import alpha_stats


def test_the_figures_of_a_known_alpha() -> None:
    alpha = np.zeros((10, 20), np.float32)
    alpha[0:5, 0:10] = 1.0  # 50 px sure, 10 + 4 of them on the frame of 56 px
    alpha[5:7, 0:10] = 0.25  # 20 px soft
    stats = alpha_stats(alpha)
    assert stats["area"] == pytest.approx(55 / 200)
    assert stats["soft_share"] == pytest.approx(20 / 200)
    assert stats["soft_of_subject"] == pytest.approx(20 / 70)
    assert stats["certainty"] == pytest.approx((50 * 1.0 + 20 * 0.5) / 70)
    assert stats["border_contact"] == pytest.approx(14 / 56)
    assert stats["peak"] == 1.0


def test_an_empty_alpha_has_no_figure_that_is_not_0() -> None:
    assert set(alpha_stats(np.zeros((4, 5), np.float32)).values()) == {0.0}
