from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mattemill.pipeline.errors import ForbiddenError, MissingObjectError, StoreError
from mattemill.pipeline.storage.folder_store import TEMPORARY, FolderStore

JPEG = "image/jpeg"


def keys(store: FolderStore, prefix: str = "") -> list[str]:
    return [entry.key for entry in store.list(prefix)]


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/hostname", "a//b", "./a", "a/.", "", "a\0b"])
def test_a_key_that_leaves_the_folder_or_has_two_spellings_is_refused(tmp_path: Path, key: str) -> None:
    store = FolderStore(tmp_path / "store")
    (tmp_path / "x").write_bytes(b"outside")

    with pytest.raises(MissingObjectError):
        store.get(key)
    with pytest.raises(StoreError):
        store.put(key, b"x", content_type=JPEG)
    assert (tmp_path / "x").read_bytes() == b"outside"


def test_a_listing_is_in_the_order_of_whole_keys_not_of_names(tmp_path: Path) -> None:
    names = ["a/z", "a-b", "a.jpg", "a/b/c", "a0", "B", "ä", "a/b.x", "😀", "\uff5e"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    assert keys(FolderStore(tmp_path)) == sorted(names, key=str.encode)


def test_a_listing_started_after_any_key_gives_the_keys_behind_it(tmp_path: Path) -> None:
    names = sorted(["a/z", "a-b", "a.jpg", "a/b/c", "a0", "b/b", "c"], key=str.encode)
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    store = FolderStore(tmp_path)

    for after in [*names, "a", "a/", "a/b", "a/zz", "zzz", "0"]:
        found = [entry.key for entry in store.list("", start_after=after)]
        assert found == [name for name in names if name.encode() > after.encode()], after


def test_a_touched_file_has_another_etag(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("a", b"same", content_type=JPEG)
    before = store.head("a").etag
    os.utime(tmp_path / "a", ns=(1, 1))

    assert store.head("a").etag != before


def test_links_are_followed_loops_are_not_and_dangling_links_are_listed_as_missing(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"x")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    store = FolderStore(tmp_path)

    assert keys(store) == ["dangling", "link/a", "real/a", "self"]
    assert store.get("link/a").data == b"x"
    for key in ("dangling", "self"):
        with pytest.raises(MissingObjectError):
            store.get(key)


def test_pipes_are_neither_listed_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert keys(FolderStore(tmp_path)) == []
    with pytest.raises(MissingObjectError, match="not a file"):
        FolderStore(tmp_path).get("pipe")


def test_a_folder_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    with pytest.raises(MissingObjectError):
        FolderStore(tmp_path).get("a")
    with pytest.raises(MissingObjectError):
        FolderStore(tmp_path).head("a")
    with pytest.raises(StoreError):
        FolderStore(tmp_path).put("a", b"x", content_type=JPEG)


def test_files_of_killed_writers_are_not_listed_and_go_when_they_are_old(tmp_path: Path) -> None:
    left = tmp_path / TEMPORARY / "1234-old"
    young = tmp_path / TEMPORARY / "1234-young"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(left, (time.time() - 7200, time.time() - 7200))
    store = FolderStore(tmp_path)

    assert keys(store) == []
    store.put("a", b"x", content_type=JPEG)

    assert keys(store) == ["a"]
    assert not left.exists()
    assert young.exists()


def test_a_put_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    store = FolderStore(tmp_path)

    with pytest.raises(StoreError, match="file/below"):
        store.put("file/below", b"y", content_type=JPEG)

    assert keys(store) == ["file"]
    assert list((tmp_path / TEMPORARY).iterdir()) == []


def test_a_folder_that_was_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "s")
    store.put("f/a", b"x", content_type=JPEG)
    for root, folders, files in os.walk(tmp_path / "s", topdown=False):
        for name in files:
            os.unlink(os.path.join(root, name))
        for name in folders:
            os.rmdir(os.path.join(root, name))

    store.put("f/b", b"y", content_type=JPEG)

    assert keys(store) == ["f/b"]


def test_a_name_that_is_too_long_is_an_error_that_names_it(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)

    with pytest.raises(StoreError, match="File name too long"):
        store.put("x" * 300, b"y", content_type=JPEG)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_forbidden(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "a").chmod(0)

    with pytest.raises(ForbiddenError):
        FolderStore(tmp_path).get("a")


def test_a_folder_that_does_not_exist_holds_nothing(tmp_path: Path) -> None:
    assert keys(FolderStore(tmp_path / "nowhere")) == []


def test_names_that_are_not_utf_8_are_listed_and_read(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb") as file:
        file.write(b"x")
    store = FolderStore(tmp_path)

    (key,) = keys(store)

    assert store.get(key).data == b"x"


def test_many_writes_are_made_durable_by_one_flush(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for number in range(10):
        store.put_soon(f"f/{number}", b"%d" % number, content_type=JPEG)

    store.flush()

    assert [store.get(f"f/{number}").data for number in range(10)] == [b"%d" % number for number in range(10)]
