from __future__ import annotations

import numpy as np
import pytest

from mattemill.pipeline.engines.query_parity import Floats, query_errors


def _queries(seed: int = 0, count: int = 40) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.normal(-3, 3, (count, 8)).astype(np.float32), rng.random((count, 4)).astype(np.float32)


def test_the_order_of_queries_does_not_count() -> None:
    logits, boxes = _queries()
    order = np.random.default_rng(1).permutation(len(boxes))
    assert query_errors((logits[order], boxes[order]), (logits, boxes)) == pytest.approx((0, 0), abs=1e-7)


def test_boxes_that_are_off_count_as_much_as_they_are() -> None:
    logits, boxes = _queries()
    mean, worst = query_errors((logits, boxes + np.float32(0.02)), (logits, boxes))
    assert mean == pytest.approx(0.02, rel=0.01)
    assert 0.015 < worst <= 0.021


def test_a_query_that_is_sure_is_missed_and_one_that_is_nothing_is_not() -> None:
    logits, boxes = _queries()
    logits[:] = -12
    logits[3, 2] = 4
    without = logits.copy()
    without[3, 2] = -12
    assert query_errors((without, boxes), (logits, boxes))[0] > 0.9
    assert query_errors((logits, boxes), (without, boxes))[0] > 0.9, "one too many"
    elsewhere = boxes.copy()
    elsewhere[7] = 0.5
    assert query_errors((logits, elsewhere), (logits, boxes))[0] < 1e-3
