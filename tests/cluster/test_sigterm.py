"""SIGTERM to a driver in the middle of its job: what is in flight is finished, the rest is left for the next run."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from sink_contents import SinkContents
from test_job import photographs
from test_killed_driver import IMAGES, start

# CI does the same by the command: test_a_first_sigterm_drains_the_job_and_the_same_command_finishes_it.
pytestmark = [pytest.mark.slow, pytest.mark.chaos_long]


def test_sigterm_drains_the_job_and_the_next_run_does_the_rest(tmp_path: Path) -> None:
    names = [f"{i:03d}.jpg" for i in range(IMAGES)]
    source, sink = photographs(tmp_path / "in", names), tmp_path / "out"
    driver = start(source, sink, "fused")
    assert driver.stdout is not None
    finished = ""
    for line in driver.stdout:
        if line.startswith("ended") and int(line.split()[1]) >= 20:
            driver.send_signal(signal.SIGTERM)  # Ray sets a handler of its own for it, which would end the job at once
        if line.startswith("finished"):
            finished = line
    assert driver.wait(60) == 0
    drained = int(finished.split()[1])
    assert 20 <= drained < IMAGES
    before = SinkContents.read(sink)
    assert len(before.rows) == drained
    assert before.outputs == {key for key in before.output_keys.values() if key is not None}
    out, _ = start(source, sink, "fused").communicate(timeout=200)
    assert out.splitlines()[-1] == f"finished {IMAGES - drained} {drained}"
    assert set(SinkContents.read(sink).rows.values()) == {1}
