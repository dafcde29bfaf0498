from __future__ import annotations

import bisect
import random
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mattemill.pipeline.errors import StoreUnavailableError
from mattemill.pipeline.sources.folder_source import FolderSource
from mattemill.pipeline.storage.key_ahead import key_ahead
from mattemill.pipeline.storage.location import Location
from mattemill.pipeline.storage.parallel_listing import THREADS, parallel_listing
from mattemill.pipeline.storage.s3_store import S3Store
from mattemill.pipeline.storage.store import Entry

NOW = datetime(2026, 11, 24, tzinfo=UTC)
KEYS = st.sets(st.text(st.characters(codec="utf-8", min_codepoint=1), min_size=1, max_size=6), max_size=120)


class Pages:
    """A listing in memory, as S3 would page it, that counts its requests."""

    def __init__(self, keys: Sequence[str], size: int) -> None:
        self.keys = sorted(keys)
        self.size = size
        self.requests = 0
        self.threads: set[int] = set()

    def __call__(self, after: str | None) -> tuple[list[Entry], bool]:
        self.requests += 1
        self.threads.add(threading.get_ident())
        start = 0 if after is None else bisect.bisect_right(self.keys, after)
        found = self.keys[start : start + self.size]
        return [Entry(key, 1, "e", NOW) for key in found], start + self.size < len(self.keys)


def listed(pages: Any, **options: int) -> list[str]:
    return [entry.key for entry in parallel_listing(pages, "s3://shop/", **options)]


def ranges_alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("mattemill-range")]


@settings(max_examples=60, deadline=None)
@given(keys=KEYS, size=st.integers(1, 5), threads=st.integers(1, 5))
def test_any_keys_come_once_and_in_order(keys: set[str], size: int, threads: int) -> None:
    assert listed(Pages(list(keys), size), threads=threads, patience=1) == sorted(keys)


@settings(max_examples=200, deadline=None)
@given(keys=KEYS, pages=st.integers(1, 50))
def test_a_key_ahead_lies_ahead(keys: set[str], pages: int) -> None:
    ordered = sorted(keys)
    guess = key_ahead(ordered, pages)

    assert guess is None or guess > ordered[-1]


def test_numbered_keys_are_guessed_to_the_number() -> None:
    page = [f"shop/{n:07d}.jpg" for n in range(995_000, 996_000)]

    assert key_ahead(page, 10) == f"shop/{995_999 + 10 * 999:07d}.jpg"


@pytest.mark.parametrize("shape", ["{0:07d}.jpg", "{1:02d}/{0:06d}.jpg", "{2:08x}.jpg", "n{0}.jpg"])
def test_keys_of_usual_shapes_are_listed_by_several_threads_with_few_requests_in_vain(shape: str) -> None:
    keys = {shape.format(n, n // 4000, n * 2_654_435_761 % 2**32) for n in range(40_000)}
    pages = Pages(list(keys), 100)

    assert listed(pages) == pages.keys
    assert len(pages.threads) > 1
    assert pages.requests < 2 * 400


class SlowPages(Pages):
    """A page takes 2 ms: while it is awaited, other threads cut ranges without knowing what it says."""

    def __call__(self, after: str | None) -> tuple[list[Entry], bool]:
        time.sleep(0.002)
        return super().__call__(after)


def skewed_keys(seed: int) -> list[str]:
    """Numbered keys of two to six parts, each with another distance between its keys, some far from the one before."""
    dice = random.Random(seed)
    at = 0
    numbers = []
    for _ in range(dice.randint(2, 6)):
        step = dice.choice([1, 1, 3, 10, 100, 1000, 20_000])
        for _ in range(dice.choice([200, 2000, 8000])):
            at += dice.randint(1, 2 * step - 1)
            numbers.append(at)
        at += dice.choice([0, 0, 10**6, 10**8])
    return [f"{number:012d}" for number in numbers]


@pytest.mark.parametrize("kind", [Pages, SlowPages])
@pytest.mark.parametrize("seed", range(8))
def test_keys_that_lie_close_here_and_far_there_cost_few_requests_in_vain(seed: int, kind: type[Pages]) -> None:
    pages = kind(skewed_keys(seed), 50)

    assert listed(pages) == pages.keys
    assert pages.requests < 1.5 * len(pages.keys) / 50 + 2 * THREADS


def test_beyond_the_last_key_nothing_is_searched() -> None:
    pages = SlowPages([f"{n:010d}" for n in range(20_000)], 100)

    assert listed(pages) == pages.keys
    assert pages.requests < 1.25 * 200 + 2 * THREADS


def test_a_short_listing_starts_no_thread() -> None:
    pages = Pages([f"{n:03d}" for n in range(100)], 10)

    assert len(listed(pages)) == 100
    assert pages.requests == 10
    assert pages.threads == {threading.get_ident()}


def test_a_consumer_that_waits_stops_the_listing_and_closing_it_ends_the_threads() -> None:
    pages = Pages([f"{n:06d}" for n in range(100_000)], 10)
    listing = parallel_listing(pages, "s3://shop/", threads=3, patience=1)
    for _ in range(11):
        next(listing)
    quiet = threading.Event()
    before = -1
    while before != pages.requests:
        before = pages.requests
        quiet.wait(0.1)

    assert pages.requests < 1 + 2 * (2 * 6 * 3 + 3)
    assert ranges_alive()
    listing.close()
    assert ranges_alive() == []


def test_an_error_in_a_thread_comes_out_and_ends_the_threads() -> None:
    pages = Pages([f"{n:05d}" for n in range(10_000)], 10)

    def fetch(after: str | None) -> tuple[list[Entry], bool]:
        if after is not None and after > "05":
            raise StoreUnavailableError("away")
        return pages(after)

    with pytest.raises(StoreUnavailableError, match="away"):
        listed(fetch, patience=2)
    assert ranges_alive() == []


def test_a_store_that_lists_in_another_order_is_refused_by_name() -> None:
    def fetch(after: str | None) -> tuple[list[Entry], bool]:
        return [Entry(key, 1, "e", NOW) for key in ("a/z", "a-b")], False

    with pytest.raises(StoreUnavailableError, match=r"s3://shop/: the store lists 'a-b' after 'a/z'"):
        listed(fetch)


def test_keys_that_come_and_go_meanwhile_do_not_disturb_those_that_stay() -> None:
    stay = [f"{n:05d}" for n in range(0, 20_000, 2)]
    pages = Pages([*stay, *(f"{n:05d}" for n in range(1, 20_000, 4))], 50)
    lock = threading.Lock()

    def fetch(after: str | None) -> tuple[list[Entry], bool]:
        with lock:
            for n in range(pages.requests % 7, 20_000, 700):
                key = f"{n * 2 % 20_000 + 1:05d}"
                at = bisect.bisect_left(pages.keys, key)
                if at < len(pages.keys) and pages.keys[at] == key:
                    del pages.keys[at]
                else:
                    pages.keys.insert(at, key)
            return pages(after)

    found = listed(fetch, patience=2)

    assert [key for key in found if int(key) % 2 == 0] == stay
    assert len(set(found)) == len(found)


def test_a_real_server_gives_odd_keys_once_and_in_order(bucket: str, s3_client: Any) -> None:
    odd = ["a b.jpg", "a+b.jpg", "a%2Fb.jpg", "ä.jpg", "日本/写真.jpg", "\U0001f4f7.jpg", "z&<>.jpg", "~"]
    keys = sorted({*odd, *(f"{n:03d}.jpg" for n in range(60))})
    for key in keys:
        s3_client.put_object(Bucket=bucket, Key="p/" + key, Body=b"1")
    store = S3Store(bucket)

    found = listed(lambda after: store.page("p/", after, 3), threads=4, patience=2)

    assert found == ["p/" + key for key in keys]
    store.in_key_order = True
    assert [ref.key for ref in FolderSource(Location.parse(f"s3://{bucket}/p/"), store).list()] == keys


@pytest.mark.parametrize(
    ("endpoint", "bucket", "sure"),
    [
        ("https://s3.eu-central-1.amazonaws.com", "shop", True),
        ("https://s3.eu-central-1.amazonaws.com", "shop--euc1-az1--x-s3", False),
        ("http://127.0.0.1:8333", "shop", False),
    ],
)
def test_only_a_store_that_is_sure_to_keep_the_order_is_listed_by_ranges(
    endpoint: str, bucket: str, sure: bool, s3: Any
) -> None:
    from mattemill.pipeline.storage.s3_client import S3Options

    assert S3Store(bucket, S3Options(endpoint)).in_key_order is sure
