"""The feed lists in its own thread and hands out shards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from simulated_cell import refs

from mattemill.cluster.feed import ShardFeed
from mattemill.pipeline.errors import SourceError
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import Shard


def drawn(feed: ShardFeed) -> list[Shard]:
    shards = []
    deadline = time.monotonic() + 10
    while not feed.exhausted and time.monotonic() < deadline:
        shard = feed.take()
        if shard is None:
            time.sleep(0.001)
        else:
            shards.append(shard)
    return shards


def test_all_that_is_due_comes_out_in_shards() -> None:
    feed = ShardFeed(lambda: ((ref, 0) for ref in refs(100)), 32, None, wake=lambda: None)
    feed.start()
    assert [len(shard.refs) for shard in drawn(feed)] == [32, 32, 32, 4]
    assert feed.found == 100
    assert feed.ended


def test_references_are_counted_before_it_is_known_whether_they_are_due() -> None:
    feed = ShardFeed(
        lambda: ((ref, 0) for ref in feed.counting(refs(100)) if ref.key >= "k00090"), 32, None, wake=lambda: None
    )
    feed.start()
    assert [len(shard.refs) for shard in drawn(feed)] == [10]
    assert (feed.seen, feed.found) == (100, 10)


def test_a_limit_takes_only_so_many() -> None:
    feed = ShardFeed(lambda: ((ref, 0) for ref in refs(100)), 32, 40, wake=lambda: None)
    feed.start()
    assert [len(shard.refs) for shard in drawn(feed)] == [32, 8]
    assert feed.found == 40


def test_a_listing_with_nothing_due_says_so_at_once() -> None:
    feed = ShardFeed(lambda: (), 32, None, wake=lambda: None)
    feed.start()
    assert feed.wait_for_first(10.0) is False
    assert feed.exhausted


def test_an_error_of_the_listing_comes_out_after_the_shards_before_it() -> None:
    def listing() -> Iterator[tuple[ImageRef, int]]:
        yield from ((ref, 0) for ref in refs(32))
        raise SourceError("the bucket is gone")

    feed = ShardFeed(listing, 32, None, wake=lambda: None)
    feed.start()
    assert feed.wait_for_first(10.0) is True
    shard = feed.take()
    assert shard is not None
    assert len(shard.refs) == 32
    feed._thread.join(10)
    with pytest.raises(SourceError, match="the bucket is gone"):
        feed.take()
    assert not feed.exhausted


def test_a_stopped_feed_lists_no_further() -> None:
    listed = 0
    go = threading.Event()

    def endless() -> Iterator[tuple[ImageRef, int]]:
        nonlocal listed
        while True:
            listed += 1
            if listed == 1000:
                go.set()
            yield ImageRef(f"k{listed}", "file:///x"), 0

    feed = ShardFeed(endless, 16, None, wake=lambda: None)
    feed.start()
    assert go.wait(10)
    feed.stop()
    assert not feed._thread.is_alive()


def test_a_listing_runs_only_so_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mattemill.cluster.feed._AHEAD", 64)
    feed = ShardFeed(lambda: ((ref, 0) for ref in refs(1000)), 32, None, wake=lambda: None)
    feed.start()
    assert feed.wait_for_first(10.0)
    time.sleep(0.05)
    assert feed.found <= 64 + 2 * 32
    assert sum(len(shard.refs) for shard in drawn(feed)) == 1000
