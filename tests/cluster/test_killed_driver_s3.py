"""The command is killed at a random point of a job on S3 and given again: every key ends exactly once."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from driver_process import assert_gone, driver_environment, kill_driver
from PIL import Image
from s3_sink import S3Sink, list_keys

pytestmark = pytest.mark.slow

IMAGES = 16
SAMPLES = ("astronaut.jpg", "grace-hopper.jpg", "catalogue/cup-on-white.jpg", "catalogue/mug.jpg")
NO_PHOTOGRAPH = "07.jpg"


@pytest.fixture
def photographs(bucket: str, s3_client: Any, sample_photos: Path) -> set[str]:
    """The keys of small photographs in the bucket, one of which is none."""
    small = []
    for name in SAMPLES:
        photo = Image.open(sample_photos / name).convert("RGB")
        photo.thumbnail((320, 320))
        data = io.BytesIO()
        photo.save(data, "JPEG", quality=90)
        small.append(data.getvalue())
    files = {f"{number:02d}.jpg": small[number % len(small)] for number in range(IMAGES)}
    files[NO_PHOTOGRAPH] = b"not a photograph"
    for key, body in files.items():
        s3_client.put_object(Bucket=bucket, Key=f"photos/{key}", Body=body)
    return set(files)


def command(bucket: str) -> list[str]:
    places = [f"s3://{bucket}/photos/", f"s3://{bucket}/mattes/"]
    options = ["--set", "shard_size=4", "--device", "cpu", "--json", "--quiet"]
    return [sys.executable, "-m", "mattemill.cluster.cli.main", "run", *places, *options]


def run_to_the_end(bucket: str) -> dict[str, Any]:
    done = subprocess.run(
        command(bucket), env=driver_environment(), capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def run_and_kill(client: Any, bucket: str, mattes: int, delay: float, log: Path) -> list[psutil.Process]:
    """SIGKILL the driver `delay` seconds after so many mattes lie in the sink; the processes that it had started."""
    with log.open("w") as out:
        driver = subprocess.Popen(
            command(bucket), stdout=out, stderr=out, text=True, env=driver_environment(), start_new_session=True
        )
    try:
        deadline = time.monotonic() + 200
        while sum("/_mattemill/" not in key for key in list_keys(client, bucket, "mattes/")) < mattes:
            assert driver.poll() is None, f"it ended by itself: {log.read_text()}"
            assert time.monotonic() < deadline, "no matte for 200 seconds"
            time.sleep(0.02)
        time.sleep(delay)
        assert driver.poll() is None, f"it was done before it was killed: {log.read_text()}"
        return kill_driver(driver)
    finally:
        driver.kill()


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.chaos_long)])
def test_a_killed_command_given_again_ends_every_key_once(
    seed: int, photographs: set[str], u2netp: Path, bucket: str, s3_client: Any, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    left = run_and_kill(s3_client, bucket, rng.randrange(1, IMAGES // 2), rng.uniform(0.0, 0.5), tmp_path / "log")
    killed = S3Sink.read(s3_client, bucket)
    assert len(killed.newest) < IMAGES, "it was done: nothing was tested"

    # At once, as a scheduler does it: what the killed driver has left may still be there.
    summary = run_to_the_end(bucket)

    assert summary["finished"] is True
    assert summary["images"] + summary["already_done"] == IMAGES
    assert_gone(left)
    found = S3Sink.read(s3_client, bucket)
    assert set(found.newest) == photographs
    assert set(found.rows.values()) == {1}, "a doubled row"
    assert {key: row["reason"] for key, row in found.newest.items() if row["reason"]} == {
        NO_PHOTOGRAPH: "unsupported_type"
    }
    written = {row["output_key"] for row in found.newest.values() if row["outcome"] == "matte"}
    assert found.outputs == written, "a row without its matte, or a matte without its row"
    assert found.logged == Counter({(NO_PHOTOGRAPH, "unsupported_type", 0): 1})

    again = run_to_the_end(bucket)

    assert (again["images"], again["already_done"]) == (0, IMAGES)
    assert S3Sink.read(s3_client, bucket) == found
