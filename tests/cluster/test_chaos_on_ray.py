"""Several real Ray nodes, broken at random by seed: workers, cells, nodes and drivers killed, nodes cut off for longer
than their lease; poison photographs among the others. Every key ends exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from sink_contents import SinkContents
from test_job import photographs

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
NODE = {"num_cpus": 1, "object_store_memory": 120 * 2**20}
LONGEST = 150.0
CUT_OFF = 6.0  # seconds: longer than a lease in chaos_driver.py, shorter than Ray needs to give a node up
# What the stand-ins do to these: the process ends, an exception, no subject, an output that is not finite.
POISON = ("kill-cut-1.jpg", "raise-cut-1.jpg", "fail-cut-1.jpg", "sick-cut-1.jpg")
FAULTS = ("worker", "cell", "node", "driver", "cut off")
LONG = pytest.mark.chaos_long


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without CPUs, and two nodes: `cluster.nodes`. No driver in this process."""
    from mattemill.cluster.ray_start import local_environment

    before = dict(os.environ)
    os.environ.update(local_environment(), STANDIN_SECONDS="0.1", PYTHONPATH=str(HERE))
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 120 * 2**20}
    found = Cluster(initialize_head=True, head_node_args=head)
    try:
        found.nodes = [found.add_node(**NODE), found.add_node(**NODE)]
        yield found
    finally:
        found.shutdown()
        os.environ.clear()
        os.environ.update(before)


class Chaos:
    """Breaks one thing after another. done: what was broken."""

    def __init__(self, cluster: Any, rng: random.Random, source: Path, sink: Path) -> None:
        self.done: list[str] = []
        self._cluster = cluster
        self._rng = rng
        self._command = [sys.executable, str(HERE / "chaos_driver.py"), str(source), str(sink), cluster.address]
        self._errors = (sink.parent / "errors").open("a")

    def run(self, faults: list[str]) -> list[str]:
        """Run the job to its end, breaking these: the driver's last line as words."""
        deadline = time.monotonic() + LONGEST
        left = list(faults)
        while True:
            driver = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=self._errors, text=True)
            watch = threading.Timer(deadline - time.monotonic(), driver.kill)
            watch.start()
            try:
                last = self._follow(driver, left)
                if last is not None:
                    assert driver.wait(30) == 0
                    return last
            finally:
                watch.cancel()
                driver.kill()

    def _follow(self, driver: subprocess.Popen[str], left: list[str]) -> list[str] | None:
        """To the end of this driver: its last line, None when it was killed by us."""
        assert driver.stdout is not None
        ended, at = 0, self._rng.randrange(1, 20)
        for line in driver.stdout:
            words = line.split()
            if words[:1] == ["finished"]:
                return words
            if words[:1] != ["ended"]:
                continue  # Ray has something to say
            ended = int(words[1])
            if left and ended >= at:
                fault = left.pop(0)
                at = ended + self._rng.randrange(5, 25)
                if fault == "driver":
                    self.done.append(fault)
                    driver.kill()
                    driver.wait(30)
                    return None
                self._break(fault)
        log = Path(self._errors.name).read_text()
        raise AssertionError(f"the driver ended with {driver.wait(30)} or took over {LONGEST} s: {log[-4000:]}")

    def _break(self, fault: str) -> None:
        if fault == "node":
            node = self._rng.choice(self._cluster.nodes)
            self._cluster.nodes.remove(node)
            self._cluster.remove_node(node, allow_graceful=False)
            self._cluster.nodes.append(self._cluster.add_node(**NODE))
        elif fault == "cut off":
            cut = self._processes(self._rng.choice(self._cluster.nodes))
            _send(cut, signal.SIGSTOP)
            time.sleep(CUT_OFF)
            _send(cut, signal.SIGCONT)
        else:
            title = {"worker": "ray::StageWorker", "cell": "ray::CellActor"}[fault]
            ours = [each for node in self._cluster.nodes for each in self._processes(node) if _title(each) == title]
            if not ours:
                return  # one that has just been killed and is not there again
            _send([self._rng.choice(ours)], signal.SIGKILL)
        self.done.append(fault)

    @staticmethod
    def _processes(node: Any) -> list[psutil.Process]:
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        return [raylet, *raylet.children(recursive=True)]


def _send(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _title(process: psutil.Process) -> str:
    try:
        return "".join(process.cmdline()[:1]).partition(".")[0].strip()
    except psutil.NoSuchProcess:
        return ""


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=LONG) for seed in range(2, 51))])
def test_whatever_is_broken_every_key_ends_once(
    seed: int, cluster: Any, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(seed)
    names = [f"{i:03d}.jpg" for i in range(100)] + list(POISON)
    source, sink = photographs(tmp_path / "in", names), tmp_path / "out"
    chaos = Chaos(cluster, rng, source, sink)
    faults = rng.choices(FAULTS, k=rng.randrange(2, 5))

    _, images, before, spilled = chaos.run(faults)

    record_property("broken", ", ".join(chaos.done))  # for benchmarks/chaos.py

    assert chaos.done, "nothing was broken: nothing was tested"
    assert int(images) + int(before) == len(names)
    assert int(spilled) in (0, -1), "-1: a node is gone, and what it spilled cannot be told"
    found = SinkContents.read(sink)
    assert set(found.outcomes) == set(names)
    assert set(found.rows.values()) == {1}, "a doubled row"
    assert sorted(key for key, outcome in found.outcomes.items() if outcome == "failure") == sorted(POISON)
    assert found.outputs == {key for key in found.output_keys.values() if key is not None}, "an orphan"
    record_property("keys", len(found.rows))
