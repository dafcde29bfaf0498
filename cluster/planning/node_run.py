"""One node in full detail: every image goes through the real coordinator, under a simulated clock.

Real: the layout (`lay_out`), the coordinator with its admission, gate, stock, pools, batcher and calibration, and the
rule by which the main loop resizes the pools (`resized`). Model: the workers. A call takes core seconds drawn around
the measured mean and shares the node's cores with the others; a worker that dies does so in the middle of a call.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

from mattemill.cluster.actions import Call, Fault, KillWorker, Passed, Reply, ShardClosed, StartWorker
from mattemill.cluster.coordinator import Coordinator
from mattemill.cluster.errors import FinishedTwiceError
from mattemill.cluster.layout import lay_out, resized
from mattemill.cluster.machine import object_store_bytes
from mattemill.cluster.planning.estimate import Wanted
from mattemill.cluster.planning.rates import OutputRates, Rates
from mattemill.cluster.planning.shared_cores import SharedCores
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.outcome import Facts, Failure
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.shard import cut_into_shards
from mattemill.pipeline.stages.messages import Stored

RESTART_SECONDS = 2.0
"""From a worker's death to its successor's first call: an actor with ONNX Runtime takes about one second (measured)
and its networks some more."""

NODE_MEMORY = 4 * 2**30
"""Bytes a core that a node is taken to have; only the object store's size follows from it."""

_TICK, _RESIZE = 0.25, 15.0  # seconds, as in cell.py and main_loop.py
_NETWORKS = ("detect", "segment", "matte", "cut")


@dataclass(frozen=True, slots=True)
class NodeRun:
    """ended: seconds at which the 1st, 2nd, ... image ended. idle: share of the core seconds that the job could have
    used and did not, in the steady part (10 % to 90 % of the images). in_flight, open_shards: means over time.

    deaths: of workers. lost_core_seconds: work that went with them. workers: at the end, by stage.
    """

    ended: tuple[float, ...]
    failures: int
    idle: float
    in_flight: float
    open_shards: float
    deaths: int
    lost_core_seconds: float
    workers: dict[str, int]

    @property
    def images(self) -> int:
        return len(self.ended)

    @property
    def seconds(self) -> float:
        """From the node's first command to the last outcome."""
        return self.ended[-1]

    @property
    def rate(self) -> float:
        """Images a second in the steady part."""
        first, last = steady_part(self.images)
        return (last - first) / max(1e-9, self.ended[last] - self.ended[first])


def steady_part(images: int) -> tuple[int, int]:
    """Positions of the images at the 10 % and at the 90 % mark, as the benchmarks take them."""
    return round(0.1 * (images - 1)), round(0.9 * (images - 1))


def run_node(
    rates: Rates,
    wanted: Wanted,
    images: int,
    *,
    seed: int = 0,
    image_failures: float = 0.0,
    worker_deaths: float = 0.0,
    shard_size: int = 256,
) -> NodeRun:
    """Simulate `images` on one node of `wanted`. Deterministic by its seed.

    image_failures: share of images that end as failures in a network stage. worker_deaths: share of network calls'
    items on which their worker dies. Raises FinishedTwiceError when an image ends twice, or not at all: a bug.
    """
    return _Simulation(rates, wanted, seed, image_failures, worker_deaths).run(images, shard_size)


class _Worker:
    __slots__ = ("alive", "calls", "running", "stage")

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.calls: deque[Call] = deque()
        self.running: Call | None = None
        self.alive = True


class _Simulation:
    def __init__(self, rates: Rates, wanted: Wanted, seed: int, failures: float, deaths: float) -> None:
        output: OutputRates = rates.outputs[wanted.output]
        self._stages = output.stages
        self._rates = rates
        self._wanted = wanted
        self._failures = failures
        self._deaths = deaths
        self._rng = random.Random(seed)
        gpu_stages = output.gpu_stages
        gpus = wanted.gpus if gpu_stages else 0
        self._config = JobConfig(
            cpus=wanted.cores,
            placement=output.placement,
            output=wanted.output,
            workers=rates.workers_per_gpu * len(gpu_stages) * gpus,
        )
        store = object_store_bytes(memory=NODE_MEMORY * wanted.cores)
        self._layout = lay_out(self._config, "gpu" if gpus else "cpu", gpus, store_bytes=store)
        self.coordinator = Coordinator(self._layout.plan, 0.0, fetch_batch=self._config.fetch_batch)
        self.cores = SharedCores(wanted.cores * rates.efficiency)
        self.gpus = SharedCores(gpus * rates.workers_per_gpu) if gpus else None
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._handles = count(1)
        self._workers: dict[int, _Worker] = {}
        self._ended: list[float] = []
        self._busy_at: list[float] = []
        self._seen: list[tuple[int, int]] = []
        self._lost = 0.0
        self._closed: set[str] = set()
        self._shards = 0
        self._next_resize = 0.0
        first_image = sum(stage.at(wanted.megapixels) * stage.fan_out for stage in output.stages.values())
        self._start = max(0.5, rates.start_seconds - first_image)
        spread = rates.spread
        self._sigma = math.sqrt(math.log1p(spread * spread))
        self._decoded = round(3e6 * wanted.megapixels)
        self._encoded = max(1, round(wanted.megapixels * rates.input_bytes_per_mp))
        self._written = round(wanted.megapixels * output.bytes_per_mp)

    def run(self, images: int, shard_size: int) -> NodeRun:
        keys = (ImageRef(str(i), f"s3://in/{i}", "e", self._encoded) for i in range(images))
        shards = cut_into_shards(((ref, 0) for ref in keys), shard_size)
        following = next(shards, None)
        coordinator = self.coordinator
        self._at(_TICK, self._tick)
        while True:
            while following is not None and coordinator.wants_shards:
                self._shards += 1
                coordinator.offer(following)
                following = next(shards, None)
                if following is None:
                    coordinator.source_done()
            self._act()
            if following is None and coordinator.open_shards == 0:
                break
            self._step()
        if len(self._ended) != images or len(self._closed) != self._shards:
            raise FinishedTwiceError(f"{len(self._ended)} of {images} simulated images have ended")
        first, last = steady_part(images)
        could = (self._ended[last] - self._ended[first]) * self.cores.capacity
        used = self._busy_at[last] - self._busy_at[first]
        looks = max(1, len(self._seen))
        return NodeRun(
            ended=tuple(self._ended),
            failures=sum(coordinator.failed.values()),
            idle=max(0.0, 1.0 - used / could) if could > 0 else 0.0,
            in_flight=sum(seen[0] for seen in self._seen) / looks,
            open_shards=sum(seen[1] for seen in self._seen) / looks,
            deaths=coordinator.counters.deaths,
            lost_core_seconds=self._lost,
            workers={name: pool.target for name, pool in coordinator.pools.items()},
        )

    def _step(self) -> None:
        """The next thing that happens: an event of the clock, or the end of a job on the cores or the GPUs."""
        event = self._events[0][0] if self._events else math.inf
        on_cores = self.cores.next_end()
        on_gpus = self.gpus.next_end() if self.gpus is not None else math.inf
        self._now = max(self._now, min(event, on_cores, on_gpus))
        self.coordinator.at(self._now)
        if on_cores <= event and on_cores <= on_gpus:
            self.cores.pop(self._now)()
        elif self.gpus is not None and on_gpus <= event:
            self.gpus.pop(self._now)()
        else:
            heapq.heappop(self._events)[2]()

    def _act(self) -> None:
        for action in self.coordinator.actions():
            if isinstance(action, Call):
                worker = self._workers.get(action.worker)
                if worker is None or not worker.alive:
                    self._at(0.001, partial(self.coordinator.call_failed, action.id, Fault.DIED, "gone"))
                else:
                    worker.calls.append(action)
                    self._begin(worker)
            elif isinstance(action, StartWorker):
                self._workers[action.worker] = _Worker(action.stage)
                wait = self._start if self._now == 0.0 else RESTART_SECONDS
                self._at(wait, partial(self.coordinator.worker_ready, action.worker, action.stage, "model"))
            elif isinstance(action, KillWorker):
                self._workers.pop(action.worker, None)
            elif isinstance(action, ShardClosed):
                if action.shard.id in self._closed:
                    raise FinishedTwiceError(f"simulated shard {action.shard.id} has closed twice")
                self._closed.add(action.shard.id)
        for _ in range(self.coordinator.ended - len(self._ended)):
            self._ended.append(self._now)
            self._busy_at.append(self.cores.busy)

    def _begin(self, worker: _Worker) -> None:
        """The worker takes its next call: it waits, computes on the cores, and then on a GPU if the stage has one."""
        if worker.running is not None or not worker.calls or not worker.alive:
            return
        call = worker.running = worker.calls.popleft()
        stage = self._stages[call.stage]
        mean = stage.at(self._wanted.megapixels)
        network = call.stage in _NETWORKS
        whole = sum(mean * self._noise() for _ in call.items) if network else mean * len(call.items)
        on_cores, other = whole * stage.busy, whole * (1.0 - stage.busy)
        dies = False
        if network and self._deaths:
            dies = self._rng.random() < 1.0 - (1.0 - self._deaths) ** len(call.items)
            if dies:
                on_cores *= self._rng.random()
        began = self._now
        done = partial(self._die, worker, on_cores) if dies else partial(self._done, worker, call, began, on_cores)
        if stage.gpu and not dies:
            gpus = self.gpus
            assert gpus is not None  # the estimate refuses such a node
            self.cores.add(began, on_cores, lambda: gpus.add(self._now, other, done))
        elif other > 0.0 and not dies:
            self._at(other, lambda: self.cores.add(self._now, on_cores, done))
        else:
            self.cores.add(began, on_cores, done)

    def _done(self, worker: _Worker, call: Call, began: float, core_seconds: float) -> None:
        worker.running = None
        stage = call.stage
        results: list[Passed | Failure] = []
        for item in call.items:
            if stage == "store":
                results.append(Passed(Facts(), output=Stored(item.image.ref.key, self._written, 1, 1)))
            elif stage == "fetch":
                results.append(Passed(Facts(), held_bytes=self._decoded))
            elif stage in ("cut", "matte") and self._rng.random() < self._failures:
                results.append(Failure(Reason.LOW_CONFIDENCE, stage, "drawn by the simulation"))
            else:
                results.append(Passed(Facts(), fan_out=self._crops(stage)))
        n_bytes = {"fetch": self._encoded, "store": 0}.get(stage, self._decoded // 3) * len(call.items)
        reply = Reply(results, self._now - began, core_seconds, n_bytes, "node:1", "model")
        self.coordinator.replied(call.id, reply, next(self._handles))
        if stage == "store":  # what the driver and Ray do for these images, on the same cores
            self.cores.add(self._now, self._rates.machinery_seconds * len(call.items), _nothing)
        self._begin(worker)

    def _crops(self, stage: str) -> int:
        """Crops of one image: the fan-out of the segment stage, as whole numbers with that mean."""
        if stage != "detect":
            return 1
        mean = self._stages["segment"].fan_out
        return max(1, math.floor(mean) + (self._rng.random() < mean - math.floor(mean)))

    def _die(self, worker: _Worker, lost: float) -> None:
        worker.alive = False
        self._lost += lost
        calls = [*([worker.running] if worker.running else []), *worker.calls]
        worker.running = None
        for call in calls:
            self._at(0.01, partial(self.coordinator.call_failed, call.id, Fault.DIED, "drawn by the simulation"))

    def _tick(self) -> None:
        coordinator = self.coordinator
        coordinator.tick(self._now)
        self._seen.append((coordinator.in_flight, coordinator.open_shards))
        if self._now >= self._next_resize:
            self._next_resize = self._now + 1.0
            targets = resized(self._config, self._layout, coordinator.calibration)
            if targets is not None:
                self._next_resize = self._now + _RESIZE
                now = {name: pool.target for name, pool in coordinator.pools.items()}
                coordinator.resize({k: v for k, v in targets.items() if v > now[k] or v < now[k] - 1})
        self._at(_TICK, self._tick)

    def _noise(self) -> float:
        """Factor of one image's seconds: lognormal with mean 1 and the measured spread."""
        return self._rng.lognormvariate(-0.5 * self._sigma**2, self._sigma) if self._sigma > 0 else 1.0

    def _at(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._order), event))


def _nothing() -> None:
    """The end of a job that nobody waits for."""
