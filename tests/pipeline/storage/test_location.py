from __future__ import annotations

import os
from pathlib import Path

import pytest

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.storage.location import Location, open_store, split_uri


@pytest.mark.parametrize(
    ("text", "root", "key"),
    [
        ("s3://catalog/photos/", "s3://catalog/photos/", "photos/a.jpg"),
        ("s3://catalog/photos", "s3://catalog/photos/", "photos/a.jpg"),
        ("s3://catalog", "s3://catalog/", "a.jpg"),
        ("s3://catalog/", "s3://catalog/", "a.jpg"),
        ("/data/photos/", "file:///data/photos/", "a.jpg"),
        ("/data/x/../photos", "file:///data/photos/", "a.jpg"),
        ("file:///data/photos", "file:///data/photos/", "a.jpg"),
        ("/", "file:///", "a.jpg"),
    ],
)
def test_a_location_has_one_root_however_it_is_written(text: str, root: str, key: str) -> None:
    location = Location.parse(text)

    assert location.root == root
    assert location.key("a.jpg") == key


def test_a_relative_path_is_below_the_working_folder() -> None:
    assert Location.parse("photos").path == os.path.join(os.getcwd(), "photos")


@pytest.mark.parametrize("text", ["", "s3://", "s3:///key", "gs://bucket/x", "http://host/x", "file://relative"])
def test_what_is_no_location_is_wrong_use(text: str) -> None:
    with pytest.raises(UsageError):
        Location.parse(text)


def test_the_parent_of_a_manifest_is_the_folder_that_holds_it() -> None:
    assert Location.parse("s3://catalog/lists/today.csv").parent.root == "s3://catalog/lists/"
    assert Location.parse("s3://catalog/today.csv").parent.root == "s3://catalog/"
    assert Location.parse("/data/today.csv").parent.root == "file:///data/"


def test_a_location_contains_itself_and_what_is_below_but_not_its_namesakes() -> None:
    photos = Location.parse("s3://catalog/photos")

    assert photos.contains(Location.parse("s3://catalog/photos/"))
    assert photos.contains(Location.parse("s3://catalog/photos/x"))
    assert not photos.contains(Location.parse("s3://catalog/photos-old"))
    assert not photos.contains(Location.parse("s3://catalog"))


def test_the_address_of_an_object_is_literal() -> None:
    location, key = split_uri("s3://catalog/a%20b/ü?#.jpg")

    assert (location.bucket, key) == ("catalog", "a%20b/ü?#.jpg")
    with pytest.raises(UsageError):
        split_uri("s3://catalog/")
    with pytest.raises(UsageError):
        split_uri("a.jpg")


def test_a_store_is_opened_once_for_a_place(tmp_path: Path) -> None:
    location = Location.parse(str(tmp_path))

    assert open_store(location, JobConfig()) is open_store(location, JobConfig())
    assert open_store(location, JobConfig()) is not open_store(Location.parse(str(tmp_path / "x")), JobConfig())
