"""Batches close by size, by bytes or by age, and hold one shape."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mattemill.cluster.batcher import Batcher


def test_a_batch_closes_when_it_is_full() -> None:
    batcher: Batcher[int] = Batcher(max_age=1.0, max_bytes=10**9)
    for i in range(3):
        batcher.put(i, "a", 1, 0.0)
    assert batcher.take(4, 0.5) == []
    batcher.put(3, "a", 1, 0.5)
    assert batcher.take(4, 0.5) == [0, 1, 2, 3]
    assert len(batcher) == 0


def test_a_batch_closes_when_its_oldest_item_is_old_enough() -> None:
    batcher: Batcher[int] = Batcher(max_age=1.0, max_bytes=10**9)
    batcher.put(0, "a", 1, 0.0)
    batcher.put(1, "a", 1, 0.9)
    assert batcher.next_close() == 1.0
    assert batcher.take(4, 0.99) == []
    assert batcher.take(4, 1.0) == [0, 1]
    assert batcher.next_close() is None


def test_shapes_do_not_mix_and_the_longest_waiting_goes_first() -> None:
    batcher: Batcher[str] = Batcher(max_age=1.0, max_bytes=10**9)
    batcher.put("b0", "b", 1, 0.0)
    batcher.put("a0", "a", 1, 0.1)
    batcher.put("a1", "a", 1, 0.2)
    assert batcher.take(2, 0.2) == ["a0", "a1"], "the full one, though the other is older"
    assert batcher.take(2, 0.2, flush=True) == ["b0"]


def test_a_batch_ends_at_its_bytes_and_one_larger_item_goes_alone() -> None:
    batcher: Batcher[int] = Batcher(max_age=1.0, max_bytes=100)
    for i, n_bytes in enumerate((60, 30, 30, 500, 10)):
        batcher.put(i, "a", n_bytes, 0.0)
    taken = [batcher.take(8, 0.0, flush=True) for _ in range(4)]
    assert taken == [[0, 1], [2], [3], [4]]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50)), max_size=60),
    st.integers(1, 8),
    st.integers(1, 200),
)
def test_every_item_comes_out_once_in_the_order_of_its_shape(
    puts: list[tuple[int, int]], size: int, max_bytes: int
) -> None:
    batcher: Batcher[tuple[int, int]] = Batcher(max_age=1.0, max_bytes=max_bytes)
    for i, (shape, n_bytes) in enumerate(puts):
        batcher.put((shape, i), shape, n_bytes, float(i))
    out: list[tuple[int, int]] = []
    while batch := batcher.take(size, 0.0, flush=True):
        assert len({shape for shape, _ in batch}) == 1
        assert len(batch) <= size
        assert len(batch) == 1 or sum(puts[i][1] for _, i in batch) <= max_bytes
        out += batch
    assert len(batcher) == 0
    for shape in range(4):
        assert [i for s, i in out if s == shape] == [i for i, (s, _) in enumerate(puts) if s == shape]
