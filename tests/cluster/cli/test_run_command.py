"""`mattemill run` as a user starts it: real S3, real Ray, the real network, the sample photographs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mattemill.cluster.cli.demo import EXPECTED_FAILURES, find_photographs

Command = Callable[..., subprocess.CompletedProcess[bytes]]

pytestmark = [pytest.mark.usefixtures("default_model"), pytest.mark.slow]


@pytest.fixture
def source(bucket: str, s3_client: Any, samples: Path) -> str:
    """The samples below a prefix, and two objects that are no photographs."""
    for key, path in find_photographs(samples).items():
        s3_client.put_object(Bucket=bucket, Key=f"photos/{key}", Body=path.read_bytes())
    s3_client.put_object(Bucket=bucket, Key="photos/notes.txt", Body=b"no photograph")
    s3_client.put_object(Bucket=bucket, Key="photos/folder/", Body=b"")
    return f"s3://{bucket}/photos/"


def test_a_job_is_planned_run_once_and_told_by_its_exit_code_and_its_json(
    mattemill: Command, source: str, bucket: str, s3_client: Any, samples: Path
) -> None:
    sink = f"s3://{bucket}/mattes/"
    photographs = find_photographs(samples)

    planned = mattemill("run", source, sink, "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert (plan["listed"], plan["due"], plan["already_done"]) == (len(photographs), len(photographs), 0)
    assert plan["listed_bytes"] == sum(path.stat().st_size for path in photographs.values())
    assert sum(plan["skipped"].values()) == 2
    assert "Contents" not in s3_client.list_objects_v2(Bucket=bucket, Prefix="mattes/"), "a dry run writes nothing"

    done = mattemill("run", source, sink, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["images"] == len(photographs)
    assert summary["cut"] == len(photographs) - len(EXPECTED_FAILURES)
    assert sorted(summary["failed"]) == sorted(EXPECTED_FAILURES.values())
    assert summary["finished"] is True
    assert summary["spilled_bytes"] == 0
    assert set(summary["devices"].values()) == {"cpu"}
    assert summary["fingerprint"] == plan["fingerprint"]
    progress = [json.loads(line) for line in done.stderr.decode().splitlines()]
    assert progress[-1]["done"] == progress[-1]["total"] == len(photographs)

    listed = s3_client.list_objects_v2(Bucket=bucket, Prefix="mattes/")["Contents"]
    mattes = {entry["Key"] for entry in listed if "/_mattemill/" not in entry["Key"]}
    assert mattes == {f"mattes/{key}.png" for key in photographs if key not in EXPECTED_FAILURES}

    again = mattemill("run", source, sink)
    assert again.returncode == 0, again.stderr
    assert again.stdout.decode().startswith(f"nothing to do: {len(photographs)} images done before")

    failures = json.loads(mattemill("failures", sink, "--json").stdout)
    got = {example["key"]: group["reason"] for group in failures["groups"] for example in group["examples"]}
    assert got == EXPECTED_FAILURES


def test_a_first_sigterm_drains_the_job_and_the_same_command_finishes_it(
    mattemill: Command, tmp_path: Path, samples: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for n in range(30):
        (photos / f"{n:02d}.jpg").write_bytes((samples / "astronaut.jpg").read_bytes())
    arguments = ["run", str(photos), str(tmp_path / "mattes"), "--json", "--set", "shard_size=5"]
    job = subprocess.Popen(
        [sys.executable, "-m", "mattemill.cluster.cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and not list((tmp_path / "mattes").glob("*.png")):
            time.sleep(0.1)
        job.send_signal(signal.SIGTERM)
        out, err = job.communicate(timeout=200)
    finally:
        job.kill()
    assert job.returncode == 1, err
    first = json.loads(out)
    assert first["drained"] is True
    assert 0 < first["images"] < 30
    assert first["images"] + first["remaining"] == 30
    assert "no new images are taken" in err

    second = json.loads(mattemill(*arguments).stdout)
    assert second["finished"] is True
    assert second["images"] + second["already_done"] == 30
    assert len(list((tmp_path / "mattes").glob("*.png"))) == 30
