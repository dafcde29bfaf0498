from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import SourceError, UsageError
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.sources.open import open_source
from mattemill.pipeline.sources.seen_keys import SeenKeys
from mattemill.pipeline.storage.location import Location, open_store, split_uri

CONFIG = JobConfig()


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * len(name))


def keys(source: Any) -> list[str]:
    return [ref.key for ref in source.list()]


def test_a_folder_gives_its_photographs_with_size_version_and_address(tmp_path: Path) -> None:
    fill(tmp_path, "b.jpg", "a/x.png")

    source = open_source(str(tmp_path), CONFIG)
    refs = list(source.list())

    assert source.root == f"file://{tmp_path}/"
    assert [ref.key for ref in refs] == ["a/x.png", "b.jpg"]
    assert refs[1].uri == f"file://{tmp_path}/b.jpg"
    assert refs[1].size == 5
    assert refs[1].etag


def test_a_prefix_gives_its_photographs_with_size_version_and_address(bucket: str, s3_client: Any) -> None:
    for key in ("photos/b.jpg", "photos/a/x.png", "photos-old/c.jpg"):
        s3_client.put_object(Bucket=bucket, Key=key, Body=b"12345")

    for text in (f"s3://{bucket}/photos", f"s3://{bucket}/photos/"):
        source = open_source(text, CONFIG)
        refs = list(source.list())

        assert source.root == f"s3://{bucket}/photos/"
        assert [ref.key for ref in refs] == ["a/x.png", "b.jpg"]
        assert refs[1] == ImageRef("b.jpg", f"s3://{bucket}/photos/b.jpg", refs[1].etag, 5)
        assert refs[1].etag
        assert '"' not in refs[1].etag


def test_what_is_no_photograph_is_left_out_and_counted_by_kind(bucket: str, s3_client: Any) -> None:
    for key in ("p/a.jpg", "p/no_suffix", "p/odd.xyz", "p/.jpg", "p/readme.TXT", "p/x.json", "p/y.json", "p/sub/"):
        s3_client.put_object(Bucket=bucket, Key=key, Body=b"")

    source = open_source(f"s3://{bucket}/p/", CONFIG)

    assert sorted(keys(source)) == [".jpg", "a.jpg", "no_suffix", "odd.xyz"]
    assert source.skipped == {".txt file": 1, ".json file": 2, "folder marker": 1}


def test_the_counts_are_those_of_the_last_listing_alone(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b.txt")
    source = open_source(str(tmp_path), CONFIG)

    list(source.list())
    list(source.list())

    assert source.skipped == {".txt file": 1}


def test_a_sink_below_the_source_is_left_out_and_counted(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "mattes/a.jpg.png", "mattes/_mattemill/x", "mattes2/b.jpg", "_mattemill/outcomes/c")

    source = open_source(str(tmp_path), CONFIG, exclude=Location.parse(str(tmp_path / "mattes")))

    assert keys(source) == ["a.jpg", "mattes2/b.jpg"]
    assert source.skipped == {"output of mattemill": 3}


@pytest.mark.parametrize(
    ("source", "sink"),
    [("alias", "photos/mattes"), ("photos", "alias/mattes"), ("photos", "mattes"), ("photos", "elsewhere/mattes")],
    ids=["source by a link", "sink by a link", "sink is a link into the source", "link in the source to the sink"],
)
def test_a_sink_is_left_out_under_every_path_that_leads_to_it(tmp_path: Path, source: str, sink: str) -> None:
    fill(tmp_path, "photos/a.jpg", "photos/mattes2/b.jpg")
    (tmp_path / "photos" / "mattes").mkdir()
    (tmp_path / "elsewhere" / "mattes").mkdir(parents=True)
    (tmp_path / "alias").symlink_to(tmp_path / "photos")
    (tmp_path / "mattes").symlink_to(tmp_path / "photos" / "mattes")
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "elsewhere")

    for outputs in (0, 1):  # a first run writes its outputs, a second one lists again
        listed = open_source(str(tmp_path / source), CONFIG, exclude=Location.parse(str(tmp_path / sink)))

        assert listed.root == f"file://{tmp_path / source}/"
        assert keys(listed) == ["a.jpg", "mattes2/b.jpg"]
        assert listed.skipped.get("output of mattemill", 0) == outputs
        fill(tmp_path / sink, "a.jpg.png")


def test_a_matte_that_a_link_in_the_source_points_to_is_no_photograph(tmp_path: Path) -> None:
    fill(tmp_path, "photos/a.jpg", "sink/x.jpg.png")
    (tmp_path / "photos" / "x.png").symlink_to(tmp_path / "sink" / "x.jpg.png")
    sink = Location.parse(str(tmp_path / "sink"))

    assert keys(open_source(str(tmp_path / "photos"), CONFIG, exclude=sink)) == ["a.jpg"]


@pytest.mark.parametrize(("source", "sink"), [("photos", "alias"), ("alias", "photos"), ("alias/sub", "photos")])
def test_a_sink_that_holds_the_source_by_another_path_is_wrong_use(tmp_path: Path, source: str, sink: str) -> None:
    fill(tmp_path, "photos/sub/a.jpg")
    (tmp_path / "alias").symlink_to(tmp_path / "photos")

    with pytest.raises(UsageError, match="holds the source"):
        open_source(str(tmp_path / source), CONFIG, exclude=Location.parse(str(tmp_path / sink)))


@pytest.mark.parametrize("sink", ["photos", "."])
def test_a_sink_that_holds_the_source_is_wrong_use(tmp_path: Path, sink: str) -> None:
    fill(tmp_path, "photos/a.jpg")

    with pytest.raises(UsageError, match="holds the source"):
        open_source(str(tmp_path / "photos"), CONFIG, exclude=Location.parse(str(tmp_path / sink)))


def test_a_source_that_is_not_there_or_empty_is_an_error_that_names_it(tmp_path: Path, bucket: str) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        open_source(str(tmp_path / "nowhere"), CONFIG)
    with pytest.raises(SourceError, match="nothing lies there"):
        list(open_source(str(tmp_path), CONFIG).list())
    with pytest.raises(SourceError, match="nothing lies there"):
        list(open_source(f"s3://{bucket}/typo/", CONFIG).list())
    with pytest.raises(SourceError, match="no such bucket"):
        list(open_source("s3://never-made/photos/", CONFIG).list())


def test_a_single_photograph_is_no_source(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")

    with pytest.raises(UsageError, match="mattemill cut"):
        open_source(str(tmp_path / "a.jpg"), CONFIG)


ROWS = [{"key": "a.jpg", "etag": '"abc"', "size": 7}, {"key": "x/b c.jpg", "etag": None, "size": None}]


def write_manifest(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ".CSV"])
def test_a_manifest_of_relative_keys_lies_beside_its_photographs(tmp_path: Path, suffix: str) -> None:
    manifest = write_manifest(tmp_path / f"list{suffix}", ROWS)

    source = open_source(str(manifest), CONFIG)

    assert source.root == f"file://{tmp_path}/"
    assert list(source.list()) == [
        ImageRef("a.jpg", f"file://{tmp_path}/a.jpg", "abc", 7),
        ImageRef("x/b c.jpg", f"file://{tmp_path}/x/b c.jpg", None, None),
    ]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_manifest_of_absolute_addresses_has_them_as_keys(tmp_path: Path, suffix: str) -> None:
    rows = [{"uri": "s3://one/a.jpg"}, {"uri": "s3://two/a.jpg"}]

    source = open_source(str(write_manifest(tmp_path / f"list{suffix}", rows)), CONFIG)

    assert source.root == "s3://"
    assert [(ref.key, ref.uri) for ref in source.list()] == [(row["uri"], row["uri"]) for row in rows]
    assert [split_uri(ref.uri)[0].bucket for ref in source.list()] == ["one", "two"]


def test_a_manifest_on_s3_is_read_and_its_keys_lie_beside_it(bucket: str, s3_client: Any) -> None:
    s3_client.put_object(Bucket=bucket, Key="lists/today.csv", Body=b"a.jpg\nb/c.jpg\n")

    source = open_source(f"s3://{bucket}/lists/today.csv", CONFIG)

    assert source.root == f"s3://{bucket}/lists/"
    assert [ref.uri for ref in source.list()] == [f"s3://{bucket}/lists/a.jpg", f"s3://{bucket}/lists/b/c.jpg"]


def test_absolute_paths_in_a_local_manifest_are_addresses(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("/data/a.jpg\nfile:///data/b.jpg\n")

    source = open_source(str(tmp_path / "list.csv"), CONFIG)

    assert source.root == "file:///"
    assert keys(source) == ["file:///data/a.jpg", "file:///data/b.jpg"]


def test_a_csv_may_lack_a_header_and_have_a_byte_order_mark_quotes_blank_lines_and_windows_line_ends(
    tmp_path: Path,
) -> None:
    (tmp_path / "list.csv").write_bytes('\ufeffa.jpg\r\n\r\n"with, comma.jpg"\r\nü.jpg'.encode())

    assert keys(open_source(str(tmp_path / "list.csv"), CONFIG)) == ["a.jpg", "with, comma.jpg", "ü.jpg"]


def test_a_key_named_twice_is_taken_once_and_counted(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("a.jpg\nb.jpg\na.jpg\na.jpg\n")
    source = open_source(str(tmp_path / "list.csv"), CONFIG)

    assert keys(source) == ["a.jpg", "b.jpg"]
    assert source.skipped == {"duplicate key": 2}


def test_a_manifest_as_find_writes_it_names_the_photographs_that_lie_there(tmp_path: Path) -> None:
    fill(tmp_path, "p/a.jpg", "b.jpg")
    (tmp_path / "list.csv").write_text("./\n.\n./p/a.jpg\n././p//./a.jpg\np/a.jpg\n.//b.jpg\n")

    source = open_source(str(tmp_path / "list.csv"), CONFIG)
    refs = list(source.list())

    assert [ref.key for ref in refs] == ["p/a.jpg", "b.jpg"]
    for ref in refs:
        location, key = split_uri(ref.uri)
        assert open_store(location, CONFIG).get(key).data == b"x" * len(ref.key)
    assert source.skipped == {"folder marker": 2, "duplicate key": 2}


def test_absolute_paths_have_one_spelling_and_s3_keys_are_literal(tmp_path: Path, bucket: str, s3_client: Any) -> None:
    (tmp_path / "list.csv").write_text("/data/./a.jpg\nfile:///data//b.jpg\n")
    s3_client.put_object(Bucket=bucket, Key="lists/odd.csv", Body=b"./a.jpg\nx/../b.jpg\nc//d.jpg\n")

    assert keys(open_source(str(tmp_path / "list.csv"), CONFIG)) == ["file:///data/a.jpg", "file:///data/b.jpg"]
    assert keys(open_source(f"s3://{bucket}/lists/odd.csv", CONFIG)) == ["./a.jpg", "x/../b.jpg", "c//d.jpg"]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_sizes_that_pandas_made_floats_are_sizes(tmp_path: Path, suffix: str) -> None:
    table = pd.DataFrame({"key": ["a", "b", "c"], "size": [123, None, 2**40], "etag": ["x", None, "y"]})
    path = tmp_path / f"list{suffix}"
    if suffix == ".parquet":
        table.to_parquet(path)
    elif suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_dict("records")))

    refs = list(open_source(str(path), CONFIG).list())

    assert table["size"].dtype == "float64"
    assert [ref.size for ref in refs] == [123, None, 2**40]
    assert [ref.etag for ref in refs] == ["x", None, "y"]


def test_a_missing_size_may_be_written_as_nan(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("key,size\na,nan\nb,NaN\nc, 7 \n")

    assert [ref.size for ref in open_source(str(tmp_path / "list.csv"), CONFIG).list()] == [None, None, 7]


def test_what_a_manifest_names_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("a.txt\n")

    assert keys(open_source(str(tmp_path / "list.csv"), CONFIG)) == ["a.txt"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.csv", b"key,size\na.jpg,7\nb.jpg,many\n", r"l\.csv: line 3: size = 'many'"),
        ("l.csv", b"key,size\na.jpg,-7\n", r"line 2: size = '-7'"),
        ("l.csv", b"a.jpg\nb.jpg,c\n", r"line 2: 2 values"),
        ("l.csv", b"key,etag\na.jpg\n", r"line 2: 1 values"),
        ("l.csv", b"key,uri\na,b\n", "both `key` and `uri`"),
        ("l.csv", b"a.jpg\n\xff\xfe\n", r"l\.csv: line \d"),
        ("l.csv", b'a.jpg\n"open\n', r"l\.csv: line \d"),
        ("l.csv", b"a.jpg\ns3://bucket/b.jpg\n", r"line 2: 's3://bucket/b.jpg' is of another kind"),
        ("l.csv", b"s3://bucket/b.jpg\ns3://bucket\n", r"line 2: 's3://bucket': write s3://bucket/key"),
        ("l.csv", b"key,size\n,7\n", r"line 2: key = ''"),
        ("l.csv", b"", "is empty"),
        ("l.csv", b"key,size\n", "is empty"),
        ("l.jsonl", b'{"key": "a"}\nnot json\n', r"l\.jsonl: line 2: not JSON"),
        ("l.jsonl", b'{"key": "a"}\n{"name": "b"}\n', "line 2: needs either"),
        ("l.jsonl", b'{"key": 7}\n', "line 1: key = 7"),
        ("l.jsonl", b'{"key": "a", "size": 1.5}\n', "size = 1.5"),
        ("l.csv", b"key,size\na.jpg,1.5\n", r"line 2: size = '1\.5'"),
        ("l.csv", b"key,size\na.jpg,inf\n", "line 2: size = 'inf'"),
        ("l.jsonl", b'{"key": "a", "size": true}\n', "size = True"),
        ("l.csv", b"a.jpg\nx/../b.jpg\n", r"l\.csv: line 2: 'x/\.\./b\.jpg': '\.\.' is not allowed"),
        ("l.csv", b"/x/a.jpg\n/x/../b.jpg\n", r"l\.csv: line 2: '/x/\.\./b\.jpg': '\.\.' is not allowed"),
        ("l.jsonl", b'{"key": "\\ud800"}\n', "not valid Unicode"),
        ("l.jsonl", b"[1]\n", "line 1: expected an object"),
        ("l.parquet", b"PAR1 no", r"l\.parquet: not a readable Parquet file"),
    ],
)
def test_a_bad_row_is_an_error_that_names_the_file_and_the_row(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(SourceError, match=message):
        list(open_source(str(tmp_path / name), CONFIG).list())


def test_a_parquet_manifest_without_its_column_or_with_an_empty_cell_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"name": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"key": ["a", None]}), tmp_path / "b.parquet")

    with pytest.raises(SourceError, match="needs a column `key` or `uri`; it has name"):
        open_source(str(tmp_path / "a.parquet"), CONFIG)
    with pytest.raises(SourceError, match="row 2: key = None"):
        list(open_source(str(tmp_path / "b.parquet"), CONFIG).list())


def test_a_manifest_that_is_missing_on_s3_is_an_error_that_names_it(bucket: str) -> None:
    with pytest.raises(SourceError, match=r"lists/none\.csv: cannot be read"):
        open_source(f"s3://{bucket}/lists/none.csv", CONFIG)


def test_no_file_stays_open_after_a_listing_that_was_left(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("a.jpg\nb.jpg\n")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        listing = open_source(str(tmp_path / "list.csv"), CONFIG).list()
        next(listing)
        listing.close()  # type: ignore[attr-defined]

    assert len(os.listdir("/proc/self/fd")) <= before


def test_seen_keys_knows_old_and_recent_keys_and_no_others() -> None:
    seen = SeenKeys()
    count = 140_000  # past two merges

    assert all(seen.add(f"photos/{number}") for number in range(count))
    assert not any(seen.add(f"photos/{number}") for number in range(0, count, 97))
    assert all(seen.add(f"other/{number}") for number in range(1000))
