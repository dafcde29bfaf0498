"""What travels between the driver and a cell: keys out, outcomes back, no bytes of photographs or mattes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mattemill.cluster.metrics.cell_figures import CellFigures
from mattemill.cluster.progress import StageState
from mattemill.pipeline.outcome import Outcome
from mattemill.pipeline.shard import Shard


@dataclass(frozen=True, slots=True)
class Orders:
    """Driver to cell. Lost, late and doubled ones do no harm.

    epoch: the life of the cell that is meant; a cell in an older one drops all that it holds and begins this one, a
    cell in a newer one ignores the shards. seq: grows with every orders to this cell. heard: seq of the newest report
    that the driver had, and that renewed the leases. shards: newly leased. taken: ids of results that the driver has;
    they need not be sent again. drain: take nothing more, finish what is in flight, give back the rest.
    """

    epoch: int
    seq: int
    heard: int
    shards: tuple[Shard, ...] = ()
    taken: tuple[str, ...] = ()
    drain: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """Outcomes of a leased shard by key. whole: of all its images; else the rest of the shard is given back."""

    shard_id: str
    outcomes: Mapping[str, Outcome]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class CellState:
    """A cell in figures, all since its start: for progress, the stall guard and the summary.

    ended, failed: images with an outcome, and those of them that failed. first_matte_ago: seconds, None before it.
    figures: for the metrics.
    """

    ended: int = 0
    failed: int = 0
    images_per_second: float = 0.0
    stages: tuple[StageState, ...] = ()
    devices: Mapping[str, str] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    deaths: int = 0
    peak_bytes: int = 0
    first_matte_ago: float | None = None
    figures: CellFigures = field(default_factory=CellFigures)

    @property
    def has_workers(self) -> bool:
        """Whether each stage has one."""
        return bool(self.stages) and all(stage.workers for stage in self.stages)


@dataclass(frozen=True, slots=True)
class Report:
    """Cell to driver, the answer to `Orders` of the same seq: the sign of life.

    holding: ids of the shards that the cell has, finished ones included until they are `taken`. results: those that
    the driver has not taken yet. wants: how many shards more. drained: nothing is in flight after `drain`.
    broken: why the cell can do nothing more, '' while it can.
    """

    epoch: int
    seq: int
    holding: frozenset[str] = frozenset()
    results: tuple[Result, ...] = ()
    wants: int = 0
    drained: bool = False
    broken: str = ""
    state: CellState = field(default_factory=CellState)
