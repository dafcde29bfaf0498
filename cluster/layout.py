"""How the stages of a job are laid out on this machine: placement, workers, and the limits of its cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mattemill.cluster.actions import FUSED, SPLIT, CellPlan, StagePlan
from mattemill.cluster.calibration import FIRST_GUESS, Calibration
from mattemill.cluster.machine import gate_bytes, object_store_bytes, usable_cores
from mattemill.cluster.sizing import Sizing, choose_placement, solve
from mattemill.pipeline.config import JobConfig

_NETWORKS = ("detect", "segment", "matte", "cut")
_GPU_BYTES = 3 << 29  # of a GPU's memory a worker: its context, its engines and their arena; an estimate
_FIRST_BUSY = {"fetch": 0.3, "store": 0.5}  # shares of a core before they are measured: both wait for a store


@dataclass(frozen=True, slots=True)
class Layout:
    """The plan of the cell, and what Ray is asked for.

    device: 'cpu', or a GPU with the engine, as resolved. gpus: usable. gpu_bytes: memory of the smallest of them.
    gpu_shares: GPUs a worker by stage. store_bytes: object store.
    """

    plan: CellPlan
    device: str
    cores: int
    gpus: int
    gpu_bytes: int
    gpu_shares: Mapping[str, float]
    store_bytes: int

    @property
    def workers(self) -> int:
        """Processes of all stages."""
        return sum(stage.workers for stage in self.plan.stages)


def lay_out(config: JobConfig, device: str, gpus: int, store_bytes: int = 0, gpu_bytes: int = 0) -> Layout:
    """A layout from the settings and first guesses; `resized` replaces the guesses by what was measured.

    store_bytes: of the object store that is there; 0 = follows the settings. gpu_bytes: memory of the smallest GPU.
    """
    cores = usable_cores(config.cpus)
    placement = config.placement
    if placement == "auto":
        placement = choose_placement(FIRST_GUESS, cores, gpus)
    names = SPLIT if placement == "split" else FUSED
    seconds = {name: FIRST_GUESS[name] for name in names}
    sizing = _solve(config, seconds, _FIRST_BUSY, cores, gpus, gpu_bytes)
    store = store_bytes or object_store_bytes(config.memory_bytes)
    gate = gate_bytes(config.in_flight_bytes, store)
    plan = CellPlan(
        stages=tuple(
            StagePlan(
                name=name,
                workers=sizing.stages[name].workers,
                batch_limit=config.fetch_batch,
                # A batch is one object and one burst of memory in a worker: an eighth of the gate at most.
                max_bytes=max(1, gate // 8),
            )
            for name in names
        ),
        gate_bytes=gate,
        store_bytes=store * 7 // 10,  # Ray begins to spill at 80 %
        largest=3 * config.max_pixels,
        batch_age=config.batch_age,
        call_timeout=config.call_timeout,
    )
    shares = {name: stage.gpu_share for name, stage in sizing.stages.items()}
    return Layout(plan, device, cores, gpus, gpu_bytes, shares, store)


def resized(config: JobConfig, layout: Layout, calibration: Calibration) -> dict[str, int] | None:
    """Workers by stage that the measured seconds ask for; None while too little is measured."""
    names = tuple(stage.name for stage in layout.plan.stages)
    if not calibration.settled(names):
        return None
    busy = calibration.busy_by_stage(names)
    seconds = {}
    for name in names:
        seconds[name] = calibration.seconds(name)
        if name in _NETWORKS and layout.gpus == 0:
            # A network on a CPU never waits: what it does not compute, it waits for a core. Counted as wall time, more
            # workers would make each slower, which would ask for more workers.
            seconds[name] *= max(busy[name], 0.01)
            busy[name] = 1.0
    sizing = _solve(config, seconds, busy, layout.cores, layout.gpus, layout.gpu_bytes)
    most = max(1, layout.cores // 2)  # fetch and store have threads of their own
    return {
        name: stage.workers if name in _NETWORKS else min(stage.workers, most) for name, stage in sizing.stages.items()
    }


def _on_gpu(config: JobConfig) -> tuple[str, ...]:
    # Ray hides the GPUs from a worker that has no share of one.
    return ("detect", "segment", "matte", "cut") if config.refines_by_network else ("detect", "segment", "cut")


def workers_per_gpu(stages: int, cores: int, gpus: int, gpu_bytes: int, wanted: int = 0) -> int:
    """Workers of each of `stages` GPU stages on one GPU, at least 1.

    Between two passes a worker decodes, scales and mattes on a core, so one alone would leave the GPU idle: as many as
    there are cores for, and as the GPU's memory holds. wanted: workers in all that the user asks for; 0 = none.
    """
    if wanted:
        return max(1, wanted // (stages * max(1, gpus)))
    return max(1, min(cores // max(1, gpus), gpu_bytes // _GPU_BYTES) // stages)


def _solve(
    config: JobConfig,
    seconds: Mapping[str, float],
    busy: Mapping[str, float],
    cores: int,
    gpus: int,
    gpu_bytes: int,
) -> Sizing:
    on_gpu = [name for name in _on_gpu(config) if gpus and name in seconds]
    return solve(
        seconds,
        {},
        cores,
        gpus,
        gpu_stages=on_gpu,
        per_gpu=workers_per_gpu(len(on_gpu), cores, gpus, gpu_bytes, config.workers) if on_gpu else 1,
        busy=busy,
        network_stages=_NETWORKS,
        network_workers=config.workers,
    )
