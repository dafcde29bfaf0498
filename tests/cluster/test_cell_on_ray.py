"""The cell on a real Ray, with cheap stand-in stages: real processes die, real objects are dropped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

from mattemill.cluster.actions import FUSED, SPLIT, CellPlan, StagePlan
from mattemill.cluster.errors import BrokenStageError
from mattemill.cluster.ray_start import spilled_bytes
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.outcome import Failure, Matte, Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.shard import cut_into_shards

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_here")]

PLACEMENTS = pytest.mark.parametrize("names", [FUSED, SPLIT], ids=["fused", "split"])


def photographs(folder: Path, names: list[str], n_bytes: int = 20_000) -> list[ImageRef]:
    folder.mkdir(exist_ok=True)
    found = []
    for i, name in enumerate(names):
        (folder / name).write_bytes(bytes([i % 256]) * n_bytes)
        found.append(ImageRef(name, f"file://{folder / name}", f"e{i}", n_bytes))
    return found


def cut(
    refs: list[ImageRef],
    sink: Path,
    names: tuple[str, ...],
    *,
    workers: int = 1,
    config: JobConfig | None = None,
    meanwhile: Callable[[object], None] | None = None,
    **limits: float,
) -> Mapping[str, Outcome]:
    """Run a cell over the references to its end; every key exactly once."""
    from mattemill.cluster.cell import Cell

    stages = tuple(StagePlan(name, workers) for name in names)
    plan = CellPlan(stages=stages, gate_bytes=200 * 2**20, store_bytes=200 * 2**20, **limits)  # type: ignore[arg-type]
    cell = Cell(plan, config or JobConfig(), str(sink), module="standin_stages")
    shards = list(cut_into_shards(((ref, 0) for ref in refs), 64))
    outcomes: dict[str, Outcome] = {}
    deadline = time.monotonic() + 240
    try:
        todo = list(reversed(shards))
        while todo or cell.coordinator.open_shards:
            assert time.monotonic() < deadline, f"hangs: {cell.coordinator.in_flight} in flight"
            while todo and cell.coordinator.wants_shards:
                cell.coordinator.offer(todo.pop())
            if not todo:
                cell.coordinator.source_done()
            cell.pump(0.05)
            if meanwhile is not None:
                meanwhile(cell)
            while cell.closed:
                closed = cell.closed.popleft()
                assert not set(outcomes) & set(closed.outcomes)
                outcomes.update(closed.outcomes)
        gate = cell.coordinator.gate
        assert (gate.held, gate.permits, gate.stored) == (0, 0, 0)
    finally:
        cell.close()
    assert set(outcomes) == {ref.key for ref in refs}
    return outcomes


def failed(outcomes: Mapping[str, Outcome]) -> dict[str, Reason]:
    return {key: outcome.reason for key, outcome in outcomes.items() if isinstance(outcome, Failure)}


@PLACEMENTS
def test_photographs_come_out_as_files_with_the_facts_of_every_stage(names: tuple[str, ...], tmp_path: Path) -> None:
    refs = photographs(tmp_path / "in", [f"{i}.jpg" for i in range(100)] + ["crops3-x.jpg", "crops2-y.jpg"])
    outcomes = cut(refs, tmp_path / "out", names)
    assert all(isinstance(outcome, Matte) for outcome in outcomes.values())
    for i, ref in enumerate(refs):
        assert (tmp_path / "out" / f"{ref.key}.png").read_bytes() == bytes([i % 256]) * 5000
    facts = outcomes["3.jpg"].facts
    assert set(facts.worker) == set(facts.seconds) == set(facts.device) == set(facts.attempts) == set(names)
    if names == SPLIT:
        assert len(outcomes["crops3-x.jpg"].facts.boxes) == 3


@PLACEMENTS
def test_every_kind_of_bad_image_ends_as_itself_and_its_neighbours_are_cut(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    middle = names[-2]
    bad = {
        "fail-fetch-.jpg": Reason.NO_SUBJECT,
        f"fail-{middle}-.jpg": Reason.NO_SUBJECT,
        f"raise-{middle}-.jpg": Reason.INTERNAL_ERROR,
        f"kill-{middle}-.jpg": Reason.WORKER_DIED,
    }
    if names == SPLIT:
        bad["sick-detect-.jpg"] = Reason.INTERNAL_ERROR
    keys = [f"{i}.jpg" for i in range(60)]
    for at, key in zip(range(5, 60, 9), bad, strict=False):
        keys[at] = key
    outcomes = cut(photographs(tmp_path / "in", keys), tmp_path / "out", names)
    assert failed(outcomes) == bad
    raised = outcomes[f"raise-{middle}-.jpg"]
    assert isinstance(raised, Failure)
    assert raised.message == f"ValueError: raise-{middle}-.jpg is not to my taste"


def test_an_image_that_hangs_times_out_and_its_neighbours_are_cut(tmp_path: Path) -> None:
    keys = [f"{i}.jpg" for i in range(30)]
    keys[11] = "hang-cut-.jpg"
    outcomes = cut(photographs(tmp_path / "in", keys), tmp_path / "out", FUSED, workers=2, call_timeout=2.0)
    assert failed(outcomes) == {"hang-cut-.jpg": Reason.TIMED_OUT}


@PLACEMENTS
def test_workers_killed_in_the_middle_of_batches_lose_nothing(names: tuple[str, ...], tmp_path: Path) -> None:
    refs = photographs(tmp_path / "in", [f"{i}.jpg" for i in range(600)])
    killed: list[int] = []

    def kill_one(cell: object) -> None:
        pools = cell.coordinator.pools  # type: ignore[attr-defined]
        done = cell.coordinator.ended  # type: ignore[attr-defined]
        if len(killed) < 3 and done > 100 * (len(killed) + 1):
            pool = pools[names[len(killed) % len(names)]]
            worker = next((w for w in pool.workers.values() if w.calls), None)
            pid = process_of(cell, worker.id) if worker is not None else None
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    outcomes = cut(refs, tmp_path / "out", names, meanwhile=kill_one)
    assert len(killed) == 3
    assert failed(outcomes) == {}


def process_of(cell: object, worker_id: int) -> int | None:
    who = cell.processes.get(worker_id)  # type: ignore[attr-defined]
    return int(who.rpartition(":")[2]) if who else None


def test_a_thousand_images_do_not_grow_the_memory_and_nothing_spills(tmp_path: Path) -> None:
    refs = photographs(tmp_path / "in", [f"{i}.jpg" for i in range(1000)], n_bytes=300_000)
    store_peak = 0
    sizes: dict[int, list[int]] = {}
    me = psutil.Process()

    def measure(cell: object) -> None:
        nonlocal store_peak
        coordinator = cell.coordinator  # type: ignore[attr-defined]
        store_peak = max(store_peak, coordinator.gate.peak_stored)
        sizes.setdefault(coordinator.ended // 250, []).append(me.memory_info().rss)

    outcomes = cut(refs, tmp_path / "out", SPLIT, meanwhile=measure)
    assert failed(outcomes) == {}
    assert 0 < store_peak <= 200 * 2**20
    # The driver: from the second quarter on, when all is imported and warm.
    assert max(sizes[3]) - min(sizes[1]) < 30 * 2**20, "more than 60 kB an image"
    assert spilled_bytes(None) == 0


def test_a_worker_that_cannot_start_ends_the_job_with_its_own_words(tmp_path: Path) -> None:
    refs = photographs(tmp_path / "in", ["a.jpg"])
    broken = JobConfig(detector="yolox", detector_model="broken")
    with pytest.raises(BrokenStageError, match="ModelError: model u2netp: not fetched; run `mattemill models fetch"):
        cut(refs, tmp_path / "out", FUSED, config=broken)
    flaky = JobConfig(detector="yolox", detector_model="flaky")
    with pytest.raises(BrokenStageError, match="3 times in a row: RuntimeError: no luck today"):
        cut(refs, tmp_path / "out", FUSED, config=flaky)


def test_a_worker_process_that_dies_at_the_start_ends_the_job(tmp_path: Path) -> None:
    refs = photographs(tmp_path / "in", ["a.jpg"])
    with pytest.raises(BrokenStageError, match="could not start 3 times in a row: ActorDiedError"):
        cut(refs, tmp_path / "out", FUSED, config=JobConfig(detector="yolox", detector_model="dies"))


def test_a_payload_that_is_lost_sends_its_images_back_to_the_fetch(tmp_path: Path) -> None:
    import ray

    refs = photographs(tmp_path / "in", [f"{i}.jpg" for i in range(200)], n_bytes=200_000)

    @ray.remote
    class Owner:
        """Owns an object; when it is killed, the object is lost."""

        def make(self) -> list[object]:
            return [ray.put(bytes(200_000))]

    owner = Owner.remote()
    (orphan,) = ray.get(owner.make.remote())
    ray.kill(owner)
    lost: list[object] = []

    def lose_one(cell: object) -> None:
        queue = cell.coordinator.pools["cut"].queue  # type: ignore[attr-defined]
        if lost or not len(queue):
            return
        group = next(iter(queue._groups.values()))
        payload = group[-1][0].image.photo[0]
        payload.handle = orphan
        lost.append(payload)

    outcomes = cut(refs, tmp_path / "out", FUSED, meanwhile=lose_one)
    assert lost
    assert failed(outcomes) == {}
    assert max(outcome.facts.attempts["fetch"] for outcome in outcomes.values()) == 2
