"""Which shard is leased to whom, and until when. Pure; the clock is the caller's.

Key insight: only the driver commits, and it takes a result only from the owner that it knows now. So a late owner has
nothing that it could commit over its successor, a key cannot get two rows, and a lease is there for the other half:
that two cells do not write mattes of one shard at the same time. For that an owner stops by itself (`CellDesk`) before
its leases run out here.

The table holds what is leased and what came back, never what is not cut from the source yet: its size follows the
cells and not the source.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from mattemill.pipeline.outcome import Outcome
from mattemill.pipeline.shard import Shard, make_shard

Done = tuple[Shard, Mapping[str, Outcome]]


@dataclass(slots=True)
class _Lease:
    shard: Shard
    owner: str
    seq: int


@dataclass(slots=True)
class _Owner:
    expires: float
    held: set[str] = field(default_factory=set)


class LeaseTable:
    """Leases of `seconds` that an owner's signs of life renew, all of one owner at once.

    An owner is one life of one cell: a cell that had lost its leases comes back as another owner.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._owners: dict[str, _Owner] = {}
        self._leases: dict[str, _Lease] = {}
        self._returned: deque[Shard] = deque()

    @property
    def open(self) -> int:
        """Shards that are leased, or came back and wait for another owner."""
        return len(self._leases) + len(self._returned)

    @property
    def leased(self) -> int:
        """Shards that have an owner."""
        return len(self._leases)

    def leased_to(self, owner: str) -> frozenset[str]:
        """Ids of the shards that this owner has."""
        known = self._owners.get(owner)
        return frozenset(known.held) if known else frozenset()

    def lives(self, owner: str, now: float) -> bool:
        """Whether an owner is known and its leases have not run out."""
        known = self._owners.get(owner)
        return known is not None and now < known.expires

    def age(self, owner: str, now: float) -> float:
        """Seconds since the last sign of life. Raises KeyError when the owner is not known."""
        return now - (self._owners[owner].expires - self.seconds)

    def join(self, owner: str, now: float) -> None:
        """A new owner. Raises ValueError when it is one already."""
        if owner in self._owners:
            raise ValueError(f"owner {owner} has joined already")
        self._owners[owner] = _Owner(now + self.seconds)

    def renew(self, owner: str, now: float) -> bool:
        """A sign of life. False when the owner is not known, or was silent for too long: it stays out."""
        if not self.lives(owner, now):
            return False
        self._owners[owner].expires = now + self.seconds
        return True

    def grant(self, owner: str, wanted: int, seq: int, now: float, take: Callable[[], Shard | None]) -> list[Shard]:
        """Lease up to `wanted` shards: first those that came back, then from the source by `take`.

        seq: of the orders with which they go out. Nothing is taken from the source for an owner without a live lease.
        """
        shards: list[Shard] = []
        while len(shards) < wanted and self.lives(owner, now):
            shard = self._returned.popleft() if self._returned else take()
            if shard is None:
                break
            if shard.id in self._leases:
                raise ValueError(f"shard {shard.id} is leased already; the source must list each key once")
            self._leases[shard.id] = _Lease(shard, owner, seq)
            self._owners[owner].held.add(shard.id)
            shards.append(shard)
        return shards

    def finish(self, owner: str, shard_id: str, outcomes: Mapping[str, Outcome], *, whole: bool) -> Done | None:
        """What is to be committed of this result: None when it comes from anybody but the owner of now.

        whole=False: `outcomes` are a part; it is committed as a smaller shard, and the rest waits for another owner.
        Raises ValueError when a whole result has not exactly the keys of its shard.
        """
        lease = self._leases.get(shard_id)
        if lease is None or lease.owner != owner:
            return None
        shard = lease.shard
        keys = {ref.key for ref in shard.refs}
        if (outcomes.keys() != keys) if whole else not (outcomes.keys() <= keys):
            raise ValueError(f"shard {shard_id}: the outcomes of {owner} are not those of its images")
        self._drop(shard_id)
        if whole or outcomes.keys() == keys:
            return shard, outcomes
        rest = make_shard((ref for ref in shard.refs if ref.key not in outcomes), shard.generation)
        self._returned.append(rest)
        if not outcomes:
            return None
        part = make_shard((ref for ref in shard.refs if ref.key in outcomes), shard.generation)
        return part, {ref.key: outcomes[ref.key] for ref in part.refs}

    def reconcile(self, owner: str, holding: Collection[str], seq: int) -> None:
        """The owner says what it has, in its answer to orders `seq`: what it should have and has not comes back."""
        for shard_id in self.leased_to(owner):
            if shard_id not in holding and self._leases[shard_id].seq <= seq:
                self._give_back(shard_id)

    def leave(self, owner: str) -> int:
        """The owner is gone for sure, or has said that it dropped everything: how many shards come back."""
        held = self.leased_to(owner)
        for shard_id in sorted(held):
            self._give_back(shard_id)
        self._owners.pop(owner, None)
        return len(held)

    def owners(self) -> list[str]:
        """Everybody who is known, the silent ones included."""
        return list(self._owners)

    def _give_back(self, shard_id: str) -> None:
        self._returned.append(self._drop(shard_id))

    def _drop(self, shard_id: str) -> Shard:
        lease = self._leases.pop(shard_id)
        self._owners[lease.owner].held.discard(shard_id)
        return lease.shard
