"""S3 Inventories as S3's documentation describes them, read from the embedded S3 server or from memory."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from typing import Any
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_store import MemoryStore

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import SourceError
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.sources.inventory import Inventory
from mattemill.pipeline.sources.open import open_source
from mattemill.pipeline.storage.location import Location

CURRENT = "Bucket, Key, Size, ETag"
VERSIONS = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag"
WHERE = "inv/shop/daily/2026-11-23T01-00Z/manifest.json"


def csv_gz(*rows: tuple[Any, ...]) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return gzip.compress(text.getvalue().encode())


def parquet(**columns: list[Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def objects_of(
    schema: str, *files: bytes, kind: str = "CSV", source: str = "shop", to: str = "lists"
) -> dict[str, bytes]:
    """The objects of an inventory in its destination bucket."""
    keys = [f"inv/shop/daily/data/{i}" for i in range(len(files))]
    manifest = {
        "sourceBucket": source,
        "destinationBucket": f"arn:aws:s3:::{to}",
        "version": "2016-11-30",
        "creationTimestamp": "1514944800000",
        "fileFormat": kind,
        "fileSchema": schema,
        "files": [
            {"key": key, "size": len(data), "MD5checksum": hashlib.md5(data).hexdigest()}
            for key, data in zip(keys, files, strict=True)
        ],
    }
    return {WHERE: json.dumps(manifest).encode(), **dict(zip(keys, files, strict=True))}


def inventory(objects: dict[str, bytes]) -> Inventory:
    store = MemoryStore()
    for key, data in objects.items():
        store.put(key, data, content_type="")

    def open_bucket(bucket: str) -> MemoryStore:
        assert bucket == "lists"
        return store

    return Inventory(Location.parse(f"s3://lists/{WHERE}"), store, open_bucket)


def keys(source: Inventory) -> list[str]:
    return [ref.key for ref in source.list()]


def test_an_inventory_in_a_bucket_is_opened_by_the_address_of_its_manifest(bucket: str, s3_client: Any) -> None:
    data = csv_gz((bucket, "a/x.jpg", "5", "e1"), (bucket, "b.png", "6", "e2"))
    for key, body in objects_of(CURRENT, data, source=bucket, to=bucket).items():
        s3_client.put_object(Bucket=bucket, Key=key, Body=body)

    source = open_source(f"s3://{bucket}/{WHERE}", JobConfig())

    assert source.root == open_source(f"s3://{bucket}", JobConfig()).root
    assert list(source.list()) == [
        ImageRef("a/x.jpg", f"s3://{bucket}/a/x.jpg", "e1", 5),
        ImageRef("b.png", f"s3://{bucket}/b.png", "e2", 6),
    ]


def test_several_data_files_are_read_in_their_order_and_a_repeated_key_is_taken_once() -> None:
    first, second = csv_gz(("shop", "z.jpg", "1", "")), csv_gz(("shop", "a.jpg", "", "e"), ("shop", "z.jpg", "1", ""))
    source = inventory(objects_of(CURRENT, first, second))

    assert list(source.list()) == [
        ImageRef("z.jpg", "s3://shop/z.jpg", None, 1),
        ImageRef("a.jpg", "s3://shop/a.jpg", "e", None),
    ]
    assert source.skipped == {"duplicate key": 1}


def test_parquet_and_csv_of_the_same_versions_give_the_same_photographs() -> None:
    rows = [
        ("a b+%.jpg", True, False, 7, "new"),
        ("a b+%.jpg", False, False, 6, "old"),
        ("gone.jpg", True, True, None, None),
        ("gone.jpg", False, False, 3, "was"),
        ("notes.txt", True, False, 3, "t"),
    ]
    lines = [
        ("shop", quote_plus(key, safe="/"), f"v{i}", str(latest).lower(), str(deleted).lower(), size or "", etag or "")
        for i, (key, latest, deleted, size, etag) in enumerate(rows)
    ]
    named = ("key", "is_latest", "is_delete_marker", "size", "e_tag")
    columns = {name: list(values) for name, values in zip(named, zip(*rows, strict=True), strict=True)}
    as_parquet = parquet(bucket=["shop"] * 5, version_id=[f"v{i}" for i in range(5)], **columns)

    for source in (
        inventory(objects_of(VERSIONS, csv_gz(*lines))),
        inventory(objects_of("message s3.inventory { ... }", as_parquet, kind="Parquet")),
    ):
        assert list(source.list()) == [ImageRef("a b+%.jpg", "s3://shop/a b+%.jpg", "new", 7)]
        assert source.skipped == {"older version": 2, "delete marker": 1, ".txt file": 1}


@given(st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(lambda key: key + ".jpg"), max_size=8))
def test_every_key_comes_back_from_csv_whatever_its_letters(names: set[str]) -> None:
    ordered = sorted(names)
    for encode in (quote, quote_plus):  # a space as %20 and as +
        data = csv_gz(*(("shop", encode(key), "1", "e") for key in ordered))
        expected = [key for key in ordered if "/_mattemill/" not in f"/{key}"]

        assert keys(inventory(objects_of(CURRENT, data))) == expected


def test_a_data_file_that_is_not_the_one_of_the_manifest_is_an_error_before_any_of_its_rows() -> None:
    objects = objects_of(CURRENT, csv_gz(("shop", "a.jpg", "1", "e")))
    altered = csv_gz(("shop", "b.jpg", "1", "e"))
    name = "inv/shop/daily/data/0"
    for data in (altered, objects[name][:-1], objects[name] + b"x"):
        with pytest.raises(SourceError, match=f"s3://lists/{name}.*(MD5|longer)"):
            next(inventory({**objects, name: data}).list())
    del objects[name]
    with pytest.raises(SourceError, match="it is not there"):
        next(inventory(objects).list())


def test_nothing_but_the_manifest_is_read_before_the_first_photograph_is_asked_for_and_then_one_file() -> None:
    one = csv_gz(("shop", "a.jpg", "1", "e"))
    objects = objects_of(CURRENT, one, one)
    del objects["inv/shop/daily/data/1"]
    listing = inventory(objects).list()

    assert next(listing).key == "a.jpg"
    with pytest.raises(SourceError, match="data/1"):
        next(listing)


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (objects_of(CURRENT, b"x", kind="ORC"), "ORC is not supported; set the inventory's format to Parquet"),
        ({WHERE: b"[1]"}, "is not the manifest.json of an S3 Inventory"),
        ({WHERE: b"{"}, "not JSON"),
        (objects_of(CURRENT), "is empty"),
        (objects_of("Bucket, Key, VersionId, Size", b"x"), "no column IsLatest"),
        (objects_of("Bucket, Size", b"x"), "no column Key"),
    ],
)
def test_a_manifest_that_cannot_be_used_says_why(objects: dict[str, bytes], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        inventory(objects)


@pytest.mark.parametrize(
    ("schema", "data", "message"),
    [
        (CURRENT, csv_gz(("shop", "a.jpg", "1")), "line 1: 3 values for the 4 columns"),
        (CURRENT, csv_gz(("shop", "a.jpg", "many", "e")), "near line 2"),
        (CURRENT, csv_gz(("shop", "%ff.jpg", "1", "e")), "not the CSV of an inventory"),
        (CURRENT, csv_gz(("other", "a.jpg", "1", "e")), "of bucket 'other'"),
        (CURRENT, b"not gzip", "not the CSV of an inventory"),
        (VERSIONS, csv_gz(("shop", "a.jpg", "v", "perhaps", "false", "1", "e")), "neither true nor false"),
    ],
)
def test_a_data_file_that_cannot_be_read_names_file_and_line(schema: str, data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        keys(inventory(objects_of(schema, data)))
    assert "s3://lists/inv/shop/daily/data/0" in str(caught.value)


def test_a_parquet_file_without_its_columns_is_an_error() -> None:
    for data, message in (
        (parquet(bucket=["shop"], size=[1]), "no column key"),
        (parquet(bucket=["shop"], key=["a.jpg"], version_id=["v"]), "no column is_latest"),
        (b"PAR?", "not a readable Parquet file"),
    ):
        with pytest.raises(SourceError, match=message):
            keys(inventory(objects_of("message s3.inventory { }", data, kind="Parquet")))
