"""The driver is killed at random points and run again: every key ends exactly once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from driver_process import assert_gone, driver_environment, kill_driver
from sink_contents import SinkContents
from test_job import photographs

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
IMAGES = 400


def start(source: Path, sink: Path, placement: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "kill_me.py"), str(source), str(sink), placement]
    environment = driver_environment(STANDIN_SECONDS="0.02")
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def kill_when(driver: subprocess.Popen[str], ended: int, delay: float) -> bool:
    """SIGKILL the driver `delay` seconds after `ended` images; False when it finished before."""
    assert driver.stdout is not None
    for line in driver.stdout:
        if line.startswith("finished"):
            break
        if line.startswith("ended") and int(line.split()[1]) >= ended:
            time.sleep(delay)
            assert_gone(kill_driver(driver))
            return True
    driver.wait(60)
    return False


# More than a minute each: CI kills a command over a real S3 (test_killed_driver_s3) and drivers at random
# (test_chaos_on_ray) instead.
LONG = pytest.mark.chaos_long


@pytest.mark.parametrize(
    ("seed", "placement"),
    [pytest.param(1, "fused", marks=LONG), pytest.param(2, "split", marks=LONG), pytest.param(3, "fused", marks=LONG)],
)
def test_a_driver_killed_at_random_points_ends_every_key_once(seed: int, placement: str, tmp_path: Path) -> None:
    rng = random.Random(seed)
    names = [f"{i:03d}.jpg" for i in range(IMAGES)]
    source, sink = photographs(tmp_path / "in", names), tmp_path / "out"
    (source / names[7]).write_bytes(b"not an image")
    kills = 0
    for _ in range(2):
        kills += kill_when(start(source, sink, placement), rng.randrange(0, IMAGES // 2), rng.uniform(0.0, 0.5))
    assert kills, "it was never killed: nothing was tested"
    last = start(source, sink, placement)
    out, _ = last.communicate(timeout=200)
    assert last.returncode == 0
    images, before = map(int, out.splitlines()[-1].split()[1:])
    assert images + before == IMAGES

    found = SinkContents.read(sink)
    assert set(found.outcomes) == set(names)
    assert set(found.rows.values()) == {1}, "a doubled row"
    assert [key for key, outcome in found.outcomes.items() if outcome == "failure"] == [names[7]]
    assert found.outputs == {key for key in found.output_keys.values() if key is not None}, "an orphan"
