"""Whole jobs on a real Ray: folders and S3 in, files and a ledger out; networks are stand-ins."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sink_contents import SinkContents

from mattemill.cluster.job import plan_job, run_job
from mattemill.cluster.progress import Progress
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import JobRunningError, MattemillError, SinkError, SourceError
from mattemill.pipeline.ledger.layout import layout_below
from mattemill.pipeline.ledger.resume import RetrySelection
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.sources.open import open_source

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_here")]

CONFIG = JobConfig(detector="yolox", detector_model="real ends", shard_size=16, device="cpu")
SPLIT = JobConfig(detector="yolox", detector_model="real ends", shard_size=16, device="cpu", placement="split")


def jpeg(seed: int = 0, size: tuple[int, int] = (64, 48)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "jpeg")
    return out.getvalue()


def photographs(folder: Path, names: list[str]) -> Path:
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(i))
    return folder


def run(source: object, sink: object, config: JobConfig = CONFIG, **options: Any) -> Any:
    return run_job(str(source), str(sink), config, stages="standin_stages", **options)


@pytest.mark.parametrize("config", [CONFIG, SPLIT], ids=["fused", "split"])
def test_a_folder_is_cut_and_the_second_run_does_nothing(config: JobConfig, tmp_path: Path) -> None:
    names = [f"shoes/{i}.jpg" for i in range(40)] + ["a b.jpg", "ü'\".jpg"]
    source = photographs(tmp_path / "in", names)
    (source / "empty.jpg").write_bytes(b"")
    (source / "text.jpg").write_bytes(b"not an image")
    (source / "notes.txt").write_bytes(b"not listed")
    told: list[Progress] = []
    summary = run(source, tmp_path / "out", config, on_progress=told.append)
    assert (summary.images, summary.cut, summary.failures) == (44, 42, 2)
    assert summary.finished
    assert summary.shards == 3
    assert sum(summary.skipped.values()) == 1
    assert summary.placement == config.placement.replace("auto", "fused")
    assert set(summary.devices.values()) == {"cpu"}
    assert summary.first_matte_seconds is not None
    assert summary.spilled_bytes == 0
    assert told[-1].done == told[-1].total == 44
    assert told[-1].failed == 2

    found = SinkContents.read(tmp_path / "out")
    assert set(found.rows.values()) == {1}
    assert set(found.outcomes) == {*names, "empty.jpg", "text.jpg"}
    assert found.outputs == {key for key in found.output_keys.values() if key is not None}

    again = run(source, tmp_path / "out", config)
    assert (again.images, again.already_done) == (0, 44)
    assert again.setup_seconds.keys() == {"prepare", "ledger"}, "Ray is not started for nothing"


def test_a_resume_may_list_for_longer_than_the_stall_timeout_before_anything_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photographs(tmp_path / "in", [f"{i:02d}.jpg" for i in range(40)])
    run(source, tmp_path / "out")
    (source / "new.jpg").write_bytes(jpeg(99))
    opened = open_source(str(source), CONFIG)

    class SlowSource:
        """The same folder behind a store that takes its time."""

        root = opened.root
        skipped = opened.skipped

        def list(self) -> Iterator[ImageRef]:
            for ref in sorted(opened.list(), key=lambda ref: ref.key):
                time.sleep(0.25)
                yield ref

    monkeypatch.setattr("mattemill.cluster.job.open_source", lambda *_, **__: SlowSource())
    summary = run(source, tmp_path / "out", replace(CONFIG, stall_timeout=1.0))
    assert (summary.images, summary.cut, summary.already_done) == (1, 1, 40)


def test_new_and_changed_photographs_are_done_and_failures_when_asked(tmp_path: Path) -> None:
    source = photographs(tmp_path / "in", [f"{i}.jpg" for i in range(20)])
    (source / "bad.jpg").write_bytes(b"no")
    run(source, tmp_path / "out")
    (source / "new.jpg").write_bytes(jpeg(99))
    (source / "3.jpg").write_bytes(jpeg(98, (80, 80)))
    plan = plan_job(str(source), str(tmp_path / "out"), CONFIG, stages="standin_stages")
    assert (plan.listed, plan.due, plan.changed, plan.already_done, plan.failed_before) == (22, 2, 1, 20, 1)
    assert run(source, tmp_path / "out").images == 2
    (source / "bad.jpg").write_bytes(jpeg(5))
    retried = run(source, tmp_path / "out", retry_failed=RetrySelection())
    assert (retried.images, retried.cut) == (1, 1)
    found = SinkContents.read(tmp_path / "out")
    assert set(found.outcomes.values()) == {"matte"}
    assert found.rows["3.jpg", 1] == 1
    assert run(source, tmp_path / "out").images == 0


def test_a_limit_does_so_many_and_the_next_run_the_rest(tmp_path: Path) -> None:
    source = photographs(tmp_path / "in", [f"{i}.jpg" for i in range(30)])
    assert run(source, tmp_path / "out", limit=11).images == 11
    rest = run(source, tmp_path / "out")
    assert (rest.images, rest.already_done) == (19, 11)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    source = photographs(tmp_path / "in", [f"{i}.jpg" for i in range(30)])
    plan = plan_job(str(source), str(tmp_path / "out"), CONFIG, stages="standin_stages", limit=20)
    assert (plan.listed, plan.due, plan.shards) == (30, 20, 2)
    assert plan.examples[0] == ("0.jpg", "0.jpg.png")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_stopped_job_commits_what_ended_and_the_next_run_does_the_rest(tmp_path: Path) -> None:
    names = [f"slow-cut-{i}.jpg" for i in range(700)]  # that a fast machine is not done before the stop comes
    source = photographs(tmp_path / "in", names)
    stop = threading.Event()

    def stop_soon(progress: Progress) -> None:
        if progress.done > 50:
            stop.set()

    summary = run(source, tmp_path / "out", on_progress=stop_soon, stop=stop)
    assert summary.drained
    assert not summary.finished
    assert 0 < summary.images < 700
    assert summary.remaining == 700 - summary.images
    before = SinkContents.read(tmp_path / "out")
    assert len(before.rows) == summary.images
    assert before.outputs == {key for key in before.output_keys.values() if key is not None}, "no matte without a row"
    rest = run(source, tmp_path / "out")
    assert rest.images == 700 - summary.images
    found = SinkContents.read(tmp_path / "out")
    assert set(found.rows.values()) == {1}
    assert set(found.outcomes) == set(names)


def test_a_job_whose_lease_is_taken_over_stops_without_committing_more(tmp_path: Path) -> None:
    source = photographs(tmp_path / "in", [f"{i}.jpg" for i in range(4000)])
    sink = tmp_path / "out"
    committed: list[int] = []

    def take_over(progress: Progress) -> None:
        leases = sorted((sink / "_mattemill" / "lease").rglob("*.json"))
        if progress.done > 50 and not committed and leases:
            newest = leases[-1]
            prefix = layout_below("").leases
            assert prefix.startswith("_mattemill/lease")
            higher = newest.with_name(f"{int(newest.stem) + 7:0{len(newest.stem)}d}.json")
            higher.write_text(newest.read_text())
            committed.append(sum(SinkContents.read(sink).rows.values()))

    with pytest.raises(JobRunningError, match="taken over"):
        run(source, sink, on_progress=take_over)
    # Commits that were past their check when the lease went may still land: two threads of them.
    assert sum(SinkContents.read(sink).rows.values()) <= committed[0] + 3 * 16


def test_a_sink_that_cannot_be_written_is_found_before_a_photograph_is_read(tmp_path: Path) -> None:
    source = photographs(tmp_path / "in", ["a.jpg"])
    (tmp_path / "file").write_text("in the way")
    began = time.monotonic()
    with pytest.raises(MattemillError, match="file"):
        run(source, tmp_path / "file" / "out")
    assert time.monotonic() - began < 60


def test_a_sink_of_another_source_is_refused(tmp_path: Path) -> None:
    run(photographs(tmp_path / "in", ["a.jpg"]), tmp_path / "out")
    with pytest.raises(SinkError, match="use another sink"):
        run(photographs(tmp_path / "other", ["a.jpg"]), tmp_path / "out")


def test_a_source_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        run(tmp_path / "nowhere", tmp_path / "out")


def test_a_bucket_is_cut_into_another_prefix(bucket: str, s3_client: Any) -> None:
    for i in range(25):
        s3_client.put_object(Bucket=bucket, Key=f"photos/{i}.jpg", Body=jpeg(i))
    config = JobConfig(detector="yolox", detector_model="real ends", shard_size=10, device="cpu", region="us-east-1")
    summary = run(f"s3://{bucket}/photos/", f"s3://{bucket}/mattes/", config)
    assert (summary.images, summary.cut) == (25, 25)
    keys = {item["Key"] for item in s3_client.list_objects_v2(Bucket=bucket, Prefix="mattes/")["Contents"]}
    assert {f"mattes/{i}.jpg.png" for i in range(25)} <= keys
    assert run(f"s3://{bucket}/photos/", f"s3://{bucket}/mattes/", config).images == 0


def test_credentials_that_may_not_write_end_the_job_before_a_photograph_is_read(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    source = photographs(tmp_path / "in", ["a.jpg"])
    told: list[Progress] = []
    with pytest.raises(MattemillError, match=bucket):
        run(source, f"s3://{bucket}/mattes/", on_progress=told.append)
    assert told == [], "not even Ray was started"
