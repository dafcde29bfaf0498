"""A whole job, real networks on real photographs, through an S3 that fails in every way; and the jobs after it."""

from __future__ import annotations

import io
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import Fault, FaultyProxy
from PIL import Image
from s3_sink import S3Sink

from mattemill.cluster.job import run_job
from mattemill.cluster.progress import JobSummary
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.ledger.resume import RetrySelection
from mattemill.pipeline.output_key import output_key
from mattemill.pipeline.storage.embedded_server import EmbeddedS3

pytestmark = [pytest.mark.slow]

SAMPLES = ("raccoon.jpg", "astronaut.jpg", "grace-hopper.jpg")

PASSING = {  # what goes wrong for a while, and then well
    "slow-down": Fault("slow_down", "/slow-down", times=2),
    "internal": Fault("internal", "/internal", times=2),
    "cut-twice": Fault("cut_body", "/cut-twice", times=2),
    "stall": Fault("stall", "/stall", seconds=30.0),
    "dropped": Fault("drop", "/dropped", times=2),
    "damaged": Fault("damaged_body", "/damaged", times=2),
    "short": Fault("short_body", "/short"),
    "late": Fault("latency", "/late", seconds=1.0),
    "put-slow-down": Fault("slow_down", "/mattes/put-slow-down", methods=("PUT",), times=2),
    "put-lost": Fault("lost_answer", "/mattes/put-lost", methods=("PUT",), times=2),
    "put-dropped": Fault("drop", "/mattes/put-dropped", methods=("PUT",)),
}
LASTING = {  # what stays wrong, and how such a photograph ends
    "forbidden": (Fault("forbidden", "/photos/forbidden", times=None), "forbidden"),
    "missing": (Fault("missing", "/photos/missing", times=None), "missing"),
    "always-cut": (Fault("cut_body", "/photos/always-cut", times=None), "read_failed"),
    "put-forbidden": (Fault("forbidden", "/mattes/put-forbidden", methods=("PUT",), times=None), "store_failed"),
}
LEDGER = [  # commits: the first try of each is lost in another way
    Fault("lost_answer", r"_mattemill/outcomes/.*\.parquet$", methods=("PUT",), times=1, each_key=False),
    Fault("slow_down", r"_mattemill/outcomes/.*\.parquet$", methods=("PUT",), times=1, skip=1, each_key=False),
    Fault("slow_down", r"_mattemill/failures/.*\.parquet$", methods=("PUT",), times=1, each_key=False),
]


@dataclass
class Runs:
    """The job with faults, and the job that tried the failures again without them."""

    keys: set[str]
    requests: list[tuple[str, str, str | None]]
    first: JobSummary
    after_first: S3Sink
    second: JobSummary
    after_second: S3Sink
    third: JobSummary


@pytest.fixture(scope="module")
def runs(s3_server: EmbeddedS3, s3_client: Any, sample_photos: Path, u2netp: Path) -> Runs:
    bucket = f"faulty-job-{os.getpid()}"
    s3_server.make_bucket(bucket)
    names = [*PASSING, *LASTING, "well"]
    keys = set()
    for number in range(24):
        photo = Image.open(sample_photos / SAMPLES[number % 3]).convert("RGB")
        photo.thumbnail((256, 256))
        data = io.BytesIO()
        photo.save(data, "JPEG", quality=90)
        key = f"{names[number % len(names)]}-{number}.jpg"
        s3_client.put_object(Bucket=bucket, Key=f"photos/{key}", Body=data.getvalue())
        keys.add(key)
    source, sink = f"s3://{bucket}/photos/", f"s3://{bucket}/mattes/"
    faults = [*PASSING.values(), *(fault for fault, _ in LASTING.values()), *LEDGER]
    with pytest.MonkeyPatch.context() as patch, FaultyProxy(s3_server.endpoint_url, *faults) as proxy:
        for name, value in s3_server.environment().items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint_url)
        # No threshold on the score: this is about where each photograph ends, not about how well it is cut.
        config = JobConfig(shard_size=7, fetch_batch=4, confidence_threshold=0.0, device="cpu")
        first = run_job(source, sink, config)
        requests = list(proxy.requests)
        after_first = S3Sink.read(s3_client, bucket)
        proxy.faults.clear()
        second = run_job(source, sink, config, retry_failed=RetrySelection())
        after_second = S3Sink.read(s3_client, bucket)
        third = run_job(source, sink, config)
    return Runs(keys, requests, first, after_first, second, after_second, third)


def expected_reason(key: str) -> str | None:
    return next((reason for name, (_, reason) in LASTING.items() if key.startswith(name + "-")), None)


def test_every_fault_really_struck(runs: Runs) -> None:
    struck = {kind for _, _, kind in runs.requests if kind}

    assert struck == {f.kind for f in [*PASSING.values(), *(fault for fault, _ in LASTING.values()), *LEDGER]}
    for fault in LEDGER:
        assert any(k == fault.kind and "_mattemill" in path for _, path, k in runs.requests)


def test_every_photograph_ends_exactly_once_and_for_its_own_reason(runs: Runs) -> None:
    assert runs.after_first.rows == Counter({(key, 0): 1 for key in runs.keys})
    for key, row in runs.after_first.newest.items():
        assert row["reason"] == expected_reason(key), key
        assert row["outcome"] == ("failure" if expected_reason(key) else "matte")


def test_the_summary_counts_what_the_ledger_holds(runs: Runs) -> None:
    reasons = Counter(reason for key in runs.keys if (reason := expected_reason(key)))

    assert runs.first.images == len(runs.keys)
    assert dict(runs.first.failed) == dict(reasons)
    assert runs.first.cut == len(runs.keys) - sum(reasons.values())
    assert runs.first.spilled_bytes == 0


def test_there_is_an_output_for_every_matte_and_no_other(runs: Runs) -> None:
    cut = {key for key in runs.keys if expected_reason(key) is None}

    assert runs.after_first.outputs == {"mattes/" + output_key(key, "png") for key in cut}
    assert {runs.after_first.newest[key]["output_key"] for key in cut} == runs.after_first.outputs


def test_every_failure_is_in_the_failure_log_once(runs: Runs) -> None:
    assert runs.after_first.logged == Counter(
        {(key, reason, 0): 1 for key in runs.keys if (reason := expected_reason(key))}
    )


def test_a_retry_without_the_faults_cuts_the_failures_and_nothing_else(runs: Runs) -> None:
    failed = {key for key in runs.keys if expected_reason(key)}

    assert runs.second.images == runs.second.cut == len(failed)
    # Packing keeps the newest row of a key; the failure log keeps what went before.
    assert runs.after_second.rows == Counter({(key, 1 if key in failed else 0): 1 for key in runs.keys})
    assert runs.after_second.logged == runs.after_first.logged
    assert {row["outcome"] for row in runs.after_second.newest.values()} == {"matte"}
    assert runs.after_second.outputs == {"mattes/" + output_key(key, "png") for key in runs.keys}


def test_the_run_after_that_has_nothing_to_do(runs: Runs) -> None:
    assert runs.third.images == 0
    assert runs.third.already_done == len(runs.keys)
