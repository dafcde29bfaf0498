"""What every store promises, tried on each of the three."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from mattemill.pipeline.errors import (
    AlreadyThereError,
    ChangedObjectError,
    MissingObjectError,
    ObjectTooLargeError,
)
from mattemill.pipeline.storage.store import Store

PNG = "image/png"
ODD_KEYS = [
    "plain.jpg",
    "with space.jpg",
    "a folder/deep/er/x.jpg",
    "quotes'\".jpg",
    "percent%20sign.jpg",
    "hash#and?question=mark&more.jpg",
    "plus+plus.jpg",
    "ümläut.jpg",
    "decomposed-e\u0301.jpg",
    "日本語.jpg",
    "smile-😀.jpg",
    "trailing space ",
    ".hidden",
    "dots...jpg",
    "brackets[1]{2}(3).jpg",
    "under_score-dash~tilde.jpg",
    "$dollar@at:colon,comma;semicolon=equal!.jpg",
    "no_suffix",
]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_what_was_put_is_what_is_got_under_the_same_key(store: Store, key: str) -> None:
    data = b"bytes of " + key.encode()

    store.put(key, data, content_type=PNG)

    blob = store.get(key)
    assert blob.data == data
    assert [entry.key for entry in store.list("")] == [key]
    assert store.head(key).etag == blob.etag


def test_an_empty_object_is_kept_empty(store: Store) -> None:
    store.put("empty", b"", content_type=PNG)

    assert store.get("empty").data == b""
    assert store.head("empty").size == 0


def test_a_large_object_comes_back_whole(store: Store) -> None:
    data = bytes(range(256)) * 4 * 20_000

    store.put("large", data, content_type=PNG)

    assert store.get("large").data == data


def test_a_second_put_replaces_the_first(store: Store) -> None:
    store.put("a", b"old", content_type=PNG)
    store.put("a", b"newer", content_type=PNG)

    assert store.get("a").data == b"newer"
    assert store.head("a").size == 5


def test_a_missing_object_is_a_missing_object(store: Store) -> None:
    with pytest.raises(MissingObjectError, match="nowhere"):
        store.get("nowhere")
    with pytest.raises(MissingObjectError, match="nowhere"):
        store.head("nowhere")


def test_a_get_with_the_listed_etag_gives_that_version(store: Store) -> None:
    store.put("a", b"one", content_type=PNG)
    (listed,) = store.list("a")

    assert store.get("a", etag=listed.etag).data == b"one"


def test_a_get_of_a_version_that_was_replaced_says_that_it_changed(store: Store) -> None:
    store.put("a", b"one", content_type=PNG)
    (listed,) = store.list("a")
    store.put("a", b"three", content_type=PNG)

    with pytest.raises(ChangedObjectError, match="a"):
        store.get("a", etag=listed.etag)


def test_an_object_over_the_limit_is_refused_and_one_at_the_limit_is_read(store: Store) -> None:
    store.put("a", b"12345", content_type=PNG)

    with pytest.raises(ObjectTooLargeError, match="5 bytes, over the limit of 4"):
        store.get("a", max_bytes=4)
    assert store.get("a", max_bytes=5).data == b"12345"


def test_a_put_if_absent_writes_once(store: Store) -> None:
    store.put("a", b"first", content_type=PNG, if_absent=True)

    with pytest.raises(AlreadyThereError, match="a"):
        store.put("a", b"second", content_type=PNG, if_absent=True)
    assert store.get("a").data == b"first"


def test_of_many_writers_if_absent_exactly_one_wins(store: Store) -> None:
    won: list[int] = []
    refused: list[int] = []
    together = threading.Barrier(8)

    def write(number: int) -> None:
        together.wait()
        try:
            store.put("race", b"%d" % number, content_type=PNG, if_absent=True)
            won.append(number)
        except AlreadyThereError:
            refused.append(number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert len(refused) == 7
    assert store.get("race").data == b"%d" % won[0]


def test_a_listing_holds_the_prefix_and_nothing_else(store: Store) -> None:
    for key in ("photos/a", "photos/b/c", "photos-old/d", "photo", "z"):
        store.put(key, b"x", content_type=PNG)

    assert [entry.key for entry in store.list("photos/")] == ["photos/a", "photos/b/c"]
    assert {entry.key for entry in store.list("photo")} == {"photos/a", "photos/b/c", "photos-old/d", "photo"}
    assert list(store.list("nothing/")) == []


def test_a_listing_says_size_etag_and_time(store: Store) -> None:
    store.put("a", b"12345", content_type=PNG)

    (entry,) = store.list("")

    assert entry.size == 5
    assert entry.etag == store.get("a").etag
    assert '"' not in entry.etag
    assert abs(entry.modified - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_listing_can_start_after_a_key(store: Store) -> None:
    for number in range(5):
        store.put(f"k/{number}", b"x", content_type=PNG)

    assert [entry.key for entry in store.list("k/", start_after="k/2")] == ["k/3", "k/4"]


def test_a_deleted_object_is_gone_and_deleting_it_again_is_no_error(store: Store) -> None:
    store.put("a", b"x", content_type=PNG)

    store.delete("a")
    store.delete("a")

    assert list(store.list("")) == []


def test_one_store_serves_many_threads(store: Store) -> None:
    wrong: list[str] = []

    def use(number: int) -> None:
        data = b"%d" % number * 1000
        store.put(f"t/{number}", data, content_type=PNG)
        if store.get(f"t/{number}").data != data:
            wrong.append(str(number))

    threads = [threading.Thread(target=use, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert len(list(store.list("t/"))) == 24
