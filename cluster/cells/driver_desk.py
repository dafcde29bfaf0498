"""The driver's side: cells, their orders and reports, over the table of leases. Pure; events in, orders out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mattemill.cluster.cells.leases import Done, LeaseTable
from mattemill.cluster.cells.messages import CellState, Orders, Report
from mattemill.pipeline.shard import Shard


@dataclass(slots=True)
class Seat:
    """What the driver knows of one cell. silent: its leases ran out and it has not been heard of since.

    heard_at: when its last sign of life came, seconds of the caller's clock.
    """

    cell: str
    heard_at: float = 0.0
    epoch: int = 0
    seq: int = 0
    heard: int = 0
    wants: int = 0
    taken: list[str] = field(default_factory=list)
    draining: bool = False
    drained: bool = False
    silent: bool = False
    state: CellState = field(default_factory=CellState)

    @property
    def owner(self) -> str:
        """This life of the cell, as the table knows it."""
        return f"{self.cell}#{self.epoch}"


class DriverDesk:
    """Not thread-safe. late: results that came from somebody who was no longer the owner. lost: shards that had to
    be leased again."""

    def __init__(self, seconds: float) -> None:
        self.table = LeaseTable(seconds)
        self.seats: dict[str, Seat] = {}
        self.late = 0
        self.lost = 0

    def joined(self, cell: str, now: float) -> None:
        """A cell has started."""
        seat = self.seats[cell] = Seat(cell, now)
        self.table.join(seat.owner, now)

    def gone(self, cell: str, *, sure: bool) -> None:
        """The cell will not be heard of again. sure: its processes have ended; else its leases run out by themselves,
        for it may still work somewhere beyond a cut network."""
        seat = self.seats.pop(cell, None)
        if seat is not None and sure:
            self.lost += self.table.leave(seat.owner)

    def reported(self, cell: str, report: Report, now: float) -> list[Done]:
        """Take a report in: what is to be committed now."""
        seat = self.seats.get(cell)
        if seat is None or report.seq < seat.heard:
            return []
        seat.heard_at = now
        seat.state = report.state
        seat.drained = report.drained
        self.expire(now)
        if report.epoch < seat.epoch:
            self.late += len(report.results)  # of a life that is over here: the next orders tell the cell so
            return []
        if report.epoch > seat.epoch:
            self.lost += self.table.leave(seat.owner)
            seat.epoch = report.epoch
            seat.taken.clear()
        if not self.table.renew(seat.owner, now):
            self.table.join(seat.owner, now)
        seat.silent = False
        seat.heard = report.seq
        seat.wants = report.wants
        done: list[Done] = []
        for result in report.results:
            if result.shard_id in seat.taken:
                continue  # sent before the cell knew that we have it
            held = result.shard_id in self.table.leased_to(seat.owner)
            seat.taken.append(result.shard_id)
            if not held:
                self.late += 1
                continue
            finished = self.table.finish(seat.owner, result.shard_id, result.outcomes, whole=result.whole)
            if finished is not None:
                done.append(finished)
        seat.taken = [shard_id for shard_id in seat.taken if shard_id in report.holding]
        before = self.table.leased
        self.table.reconcile(seat.owner, report.holding, report.seq)
        self.lost += before - self.table.leased
        return done

    def orders(self, cell: str, now: float, take: Callable[[], Shard | None]) -> Orders:
        """The next orders of a cell; with shards as it wants them, cut from the source only now."""
        seat = self.seats[cell]
        self.expire(now)
        seat.seq += 1
        shards: list[Shard] = []
        if not seat.draining and seat.wants:
            shards = self.table.grant(seat.owner, seat.wants, seat.seq, now, take)
            seat.wants -= len(shards)
        return Orders(seat.epoch, seat.seq, seat.heard, tuple(shards), tuple(seat.taken), seat.draining)

    def drain(self, cell: str | None = None) -> None:
        """From the next orders on this cell (or every one) finishes what is in flight and takes no more."""
        for seat in self.seats.values():
            if cell is None or seat.cell == cell:
                seat.draining = True

    def expire(self, now: float) -> list[str]:
        """Give the shards of silent cells to others; which cells these were."""
        silent = []
        owners = {seat.owner: seat for seat in self.seats.values()}
        for owner in self.table.owners():
            if self.table.lives(owner, now):
                continue
            self.lost += self.table.leave(owner)
            seat = owners.get(owner)
            if seat is not None:
                seat.epoch += 1  # its next orders say so, and it drops what it may still hold
                seat.wants = 0
                seat.silent = True
                seat.taken.clear()
                silent.append(seat.cell)
        return silent
