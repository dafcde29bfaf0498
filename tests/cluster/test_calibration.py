"""What the first calls teach, and how soon."""

from __future__ import annotations

import pytest

from mattemill.cluster.calibration import FIRST_GUESS, HALF_LIFE, Calibration
from mattemill.cluster.layout import lay_out, resized
from mattemill.pipeline.config import JobConfig


def test_the_first_guess_stands_until_a_call_is_back():
    calibration = Calibration()
    assert calibration.seconds("detect") == FIRST_GUESS["detect"]
    calibration.observe("detect", 1, 0.2)
    assert calibration.seconds("detect") == pytest.approx(0.2)


def test_a_call_of_many_counts_as_many():
    calibration = Calibration({})
    calibration.observe("store", 31, 31 * 0.01)
    calibration.observe("store", 1, 0.33)
    assert calibration.seconds("store") == pytest.approx(0.02, rel=0.02)


def test_the_estimate_follows_a_catalogue_that_changes():
    calibration = Calibration()
    for _ in range(200):
        calibration.observe("detect", 1, 0.1)
    for _ in range(HALF_LIFE):
        calibration.observe("detect", 1, 0.3)
    assert calibration.seconds("detect") == pytest.approx(0.2, rel=0.1)
    for _ in range(8 * HALF_LIFE):
        calibration.observe("detect", 1, 0.3)
    assert calibration.seconds("detect") == pytest.approx(0.3, rel=0.01)


def test_waiting_is_told_from_work():
    calibration = Calibration()
    calibration.observe("fetch", 10, 1.0, core_seconds=0.1)
    assert calibration.busy("fetch") == pytest.approx(0.1)
    calibration.observe("detect", 10, 1.0)
    assert calibration.busy("detect") == 1.0


def test_a_stage_is_settled_after_a_few_images_of_each():
    calibration = Calibration()
    calibration.observe("detect", 4, 1.0)
    assert calibration.settled(("detect",))
    assert not calibration.settled(("detect", "segment"))
    calibration.observe("segment", 4, 1.0)
    assert calibration.settled(("detect", "segment"))


def test_the_batch_follows_the_measured_seconds():
    calibration = Calibration()
    assert calibration.batch("detect") == 1
    calibration.observe("detect", 1, 0.01)
    assert calibration.batch("detect") == 25
    assert calibration.batch("detect", limit=8) == 8


def test_a_call_that_held_nothing_teaches_nothing():
    calibration = Calibration()
    calibration.observe("detect", 0, 5.0)
    assert calibration.seconds("detect") == FIRST_GUESS["detect"]
    assert not calibration.settled(("detect",))


@pytest.mark.parametrize("cores", [2, 8, 64])
def test_a_brief_lull_takes_no_worker_away(cores: int):
    """A lull is no call at all, then a handful of images that end at once or wait for a slow store."""
    config = JobConfig(cpus=cores)
    layout = lay_out(config, "cpu", 0, store_bytes=2**30)
    calibration = Calibration()
    for _ in range(100):
        calibration.observe("fetch", 32, 0.3, core_seconds=0.1)
        calibration.observe("cut", 1, 1.4)
        calibration.observe("store", 8, 0.08, core_seconds=0.06)
    before = resized(config, layout, calibration)
    assert before is not None
    assert before["cut"] == cores
    for _ in range(8):
        calibration.observe("fetch", 1, 1.0, core_seconds=0.002)
        calibration.observe("cut", 1, 0.002)
    after = resized(config, layout, calibration)
    assert after is not None
    # One less is left as it is by the main loop.
    assert all(after[name] >= before[name] - 1 for name in before)
