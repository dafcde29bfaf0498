from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty_proxy import Fault, FaultyProxy
from PIL import Image

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.photo import ImageRef, Photo
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.sources.open import open_source
from mattemill.pipeline.stages.fetch import FetchStage
from mattemill.pipeline.stages.messages import Cut, Stored
from mattemill.pipeline.stages.stage import Done, Failed, Stage, StageResult
from mattemill.pipeline.stages.store_stage import StoreStage
from mattemill.pipeline.stages.thread_map import ThreadMap
from mattemill.pipeline.storage.embedded_server import EmbeddedS3


def jpeg(width: int = 40, height: int = 30, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "JPEG", exif=exif)
    return file.getvalue()


def reason(result: StageResult) -> Reason:
    assert isinstance(result, Failed)
    assert result.failure.stage in ("fetch", "store")
    return result.failure.reason


def test_a_photograph_is_fetched_with_its_facts(tmp_path: Path) -> None:
    data = jpeg(40, 30, orientation=6)
    (tmp_path / "a.jpg").write_bytes(data)
    (ref,) = open_source(str(tmp_path), JobConfig()).list()

    (result,) = FetchStage(JobConfig())([(ref,)])

    assert isinstance(result, Done)
    photo: Photo = result.output
    assert photo.ref is ref
    assert photo.data.dtype == np.uint8
    assert photo.data.tobytes() == data
    assert result.held_bytes == 40 * 30 * 3
    assert (result.facts.width, result.facts.height) == (30, 40)
    assert (result.facts.format, result.facts.encoded_bytes, result.facts.etag) == ("jpeg", len(data), ref.etag)
    assert result.facts.seconds["fetch"] > 0


def test_each_bad_file_fails_for_its_own_reason_and_its_neighbours_are_fetched(tmp_path: Path) -> None:
    good = jpeg()
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (50_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + b"\0\0\0\0"
    for name, data in {
        "a.jpg": good,
        "bomb.png": bomb,
        "empty.jpg": b"",
        "text.jpg": b"this is a text",
        "big.jpg": good + b"\0" * 5000,
        "gone.jpg": good,
        "touched.jpg": good,
        "z.jpg": good,
    }.items():
        (tmp_path / name).write_bytes(data)
    config = JobConfig(max_file_bytes=len(good) + 1000)
    refs = {ref.key: ref for ref in open_source(str(tmp_path), config).list()}
    (tmp_path / "gone.jpg").unlink()
    os.utime(tmp_path / "touched.jpg", ns=(1, 1))

    results = dict(zip(refs, FetchStage(config)([(ref,) for ref in refs.values()]), strict=True))

    assert isinstance(results.pop("a.jpg"), Done)
    assert isinstance(results.pop("z.jpg"), Done)
    assert {key: reason(result) for key, result in results.items()} == {
        "bomb.png": Reason.TOO_LARGE,
        "empty.jpg": Reason.TRUNCATED,
        "text.jpg": Reason.UNSUPPORTED_TYPE,
        "big.jpg": Reason.TOO_LARGE,
        "gone.jpg": Reason.MISSING,
        "touched.jpg": Reason.CHANGED_WHILE_READING,
    }


def test_a_failure_keeps_what_was_learnt_before_it(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(40, 30))
    (ref,) = open_source(str(tmp_path), JobConfig()).list()

    (result,) = FetchStage(JobConfig(max_pixels=1000))([(ref,)])

    assert reason(result) is Reason.TOO_LARGE
    assert isinstance(result, Failed)
    assert (result.failure.facts.width, result.failure.facts.height) == (40, 30)
    assert result.failure.facts.etag == ref.etag


def test_an_object_that_is_listed_as_too_large_is_not_asked_for(s3: EmbeddedS3, bucket: str) -> None:
    with FaultyProxy(s3.endpoint_url) as proxy:
        config = JobConfig(endpoint_url=proxy.endpoint_url, max_file_bytes=1000)

        (result,) = FetchStage(config)([(ImageRef("a", f"s3://{bucket}/a", size=1001),)])

        assert reason(result) is Reason.TOO_LARGE
        assert proxy.requests == []


def test_an_object_that_is_too_large_and_was_not_listed_is_not_read(
    s3: EmbeddedS3, bucket: str, s3_client: Any
) -> None:
    s3_client.put_object(Bucket=bucket, Key="a", Body=jpeg() + b"\0" * 2_000_000)

    (result,) = FetchStage(JobConfig(max_file_bytes=1_000_000))([(ImageRef("a", f"s3://{bucket}/a"),)])

    assert reason(result) is Reason.TOO_LARGE


def test_a_size_that_is_wrong_fails_no_photograph(bucket: str, s3_client: Any) -> None:
    s3_client.put_object(Bucket=bucket, Key="a", Body=jpeg())
    etag = s3_client.head_object(Bucket=bucket, Key="a")["ETag"].strip('"')
    uri = f"s3://{bucket}/a"

    results = FetchStage(JobConfig())([(ImageRef("a", uri, size=5),), (ImageRef("a", uri, etag, 50_000),)])

    assert [result.output.data.tobytes() for result in results if isinstance(result, Done)] == [jpeg()] * 2


@pytest.mark.parametrize("client", ["boto3", "obstore"])
def test_the_stale_etag_of_a_manifest_is_named_with_what_to_do(client: str, bucket: str, s3_client: Any) -> None:
    s3_client.put_object(Bucket=bucket, Key="a.jpg", Body=jpeg())
    s3_client.put_object(Bucket=bucket, Key="list.csv", Body=b"key,etag\na.jpg,0123abc\n")
    config = JobConfig(s3_client=client)
    (ref,) = open_source(f"s3://{bucket}/list.csv", config).list()

    (result,) = FetchStage(config)([(ref,)])

    assert reason(result) is Reason.CHANGED_WHILE_READING
    assert isinstance(result, Failed)
    message = result.failure.message
    assert f"s3://{bucket}/a.jpg" in message
    assert "the object's ETag is not 0123abc" in message
    assert "the manifest is out of date, write it again" in message


@pytest.mark.parametrize("client", ["boto3", "obstore"])
def test_each_answer_of_s3_is_its_own_reason_and_the_neighbours_are_fetched(
    client: str, s3: EmbeddedS3, bucket: str, s3_client: Any
) -> None:
    for name in ("ok-1", "forbidden", "missing", "cut", "replaced", "ok-2"):
        s3_client.put_object(Bucket=bucket, Key=name, Body=jpeg())
    faults = [
        Fault("forbidden", "/forbidden$", times=None),
        Fault("missing", "/missing$", times=None),
        Fault("cut_body", "/cut$", times=2),
    ]
    with FaultyProxy(s3.endpoint_url, *faults) as proxy:
        config = JobConfig(endpoint_url=proxy.endpoint_url, s3_client=client)
        refs = list(open_source(f"s3://{bucket}/", config).list())
        s3_client.put_object(Bucket=bucket, Key="replaced", Body=jpeg(60, 60))

        results = {
            ref.key: result for ref, result in zip(refs, FetchStage(config)([(ref,) for ref in refs]), strict=True)
        }

    assert {key for key, result in results.items() if isinstance(result, Done)} == {"ok-1", "ok-2", "cut"}
    assert reason(results["forbidden"]) is Reason.FORBIDDEN
    assert reason(results["missing"]) is Reason.MISSING
    assert reason(results["replaced"]) is Reason.CHANGED_WHILE_READING


def test_an_output_is_written_where_its_key_says_and_twice_is_once(bucket: str, s3_client: Any) -> None:
    alpha = np.arange(200, dtype=np.uint8).reshape(10, 20)
    stage = StoreStage(JobConfig(), f"s3://{bucket}/mattes/")

    (first,) = stage([(ImageRef("x/a.jpg", "s3://elsewhere/x/a.jpg"), Cut(alpha))])
    (second,) = stage([(ImageRef("x/a.jpg", "s3://elsewhere/x/a.jpg"), Cut(alpha))])

    assert isinstance(first, Done)
    assert isinstance(second, Done)
    stored: Stored = first.output
    assert stored == second.output
    assert stored.output_key == "mattes/x/a.jpg.png"
    answer = s3_client.get_object(Bucket=bucket, Key="mattes/x/a.jpg.png")
    data = answer["Body"].read()
    assert answer["ContentType"] == "image/png"
    assert len(data) == stored.output_bytes
    assert (stored.output_width, stored.output_height) == (20, 10)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), alpha)
    assert s3_client.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_outputs_go_to_a_folder_too(tmp_path: Path) -> None:
    stage = StoreStage(JobConfig(format="webp"), str(tmp_path / "out"))

    (result,) = stage([(ImageRef("x/a.jpg", "file:///x/a.jpg"), Cut(np.zeros((4, 4, 4), np.uint8)))])

    assert isinstance(result, Done)
    assert result.output.output_key == "x/a.jpg.webp"
    assert Image.open(tmp_path / "out" / "x" / "a.jpg.webp").mode == "RGBA"


def test_an_output_that_cannot_be_written_is_that_images_failure_alone(s3: EmbeddedS3, bucket: str) -> None:
    with FaultyProxy(s3.endpoint_url, Fault("forbidden", "b.jpg", methods=("PUT",), times=None)) as proxy:
        stage = StoreStage(JobConfig(endpoint_url=proxy.endpoint_url), f"s3://{bucket}/m/")
        cut = Cut(np.zeros((4, 4), np.uint8))

        results = stage([(ImageRef(key, f"s3://x/{key}"), cut) for key in ("a.jpg", "b.jpg", "c.jpg")])

    assert [isinstance(result, Done) for result in results] == [True, False, True]
    assert reason(results[1]) is Reason.STORE_FAILED
    assert isinstance(results[1], Failed)
    assert "AccessDenied" in results[1].failure.message


def test_both_are_stages(tmp_path: Path) -> None:
    assert isinstance(FetchStage(JobConfig()), Stage)
    assert isinstance(StoreStage(JobConfig(), str(tmp_path)), Stage)
    assert FetchStage(JobConfig())([]) == []


def test_threads_give_results_in_order_and_the_first_error() -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0  # every item seems slow, so that the threads join
        return now[0]

    threads = ThreadMap(4, "test", clock)

    assert threads(lambda n: n * n, range(100)) == [n * n for n in range(100)]
    assert threads(lambda n: n * n, []) == []
    with pytest.raises(ZeroDivisionError):
        threads(lambda n: 1 // n, [1, 2, 0, 4])
    assert threads(lambda n: n + 1, [1, 2]) == [2, 3]
