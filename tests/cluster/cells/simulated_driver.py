"""What a simulated driver stands on: a store that is away or sees the driver die in a write; writes without threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from simulated_chaos import CONFIG, DriverKilledError

from mattemill.pipeline.errors import StoreError
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import Shard, cut_into_shards

if TYPE_CHECKING:
    from simulated_world import World


class DriversStore:
    """The object store as one driver sees it: it can be away, and the driver can die in a write."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._store = world.store

    def put(self, key: str, data: bytes, *, content_type: str, if_absent: bool = False) -> None:
        self._may_write()
        world = self._world
        world.writes_to_death -= 1
        if world.writes_to_death == 0 and world.rng.random() < 0.5:
            world.kill_driver()  # before it has arrived
        self._store.put(key, data, content_type=content_type, if_absent=if_absent)
        if world.writes_to_death == 0:
            world.kill_driver()

    def delete(self, key: str) -> None:
        self._may_write()
        self._store.delete(key)

    def _may_write(self) -> None:
        if self._world.driver_dead:
            raise DriverKilledError
        if self._world.now < self._world.store_away_until:
            raise StoreError("memory: 503 SlowDown")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Patient(Future[Any]):
    """A write that is tried again for a while; who waits for it lets time pass."""

    def __init__(self, world: World, do: Callable[[], Any]) -> None:
        super().__init__()
        self._world, self._do, self._until = world, do, world.now + 30.0
        self.attempt()

    def attempt(self) -> None:
        try:
            self.set_result(self._do())
        except StoreError as error:
            if self._world.now >= self._until:
                self.set_exception(error)
        except DriverKilledError:
            raise
        except Exception as error:
            self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        while not self.done():
            self._world.step()
        return super().result()


class Writes:
    """Instead of the committer's threads."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.waiting: list[Patient] = []

    def submit(self, do: Callable[..., Any], *arguments: Any) -> Patient:
        made = Patient(self._world, lambda: do(*arguments))
        self.waiting.append(made)
        return made

    def shutdown(self, **_: Any) -> None: ...


class Feed:
    """What is due, in shards."""

    found = 0
    ended = True
    exhausted = False

    def __init__(self, ledger: Ledger, refs: list[ImageRef]) -> None:
        self._shards = cut_into_shards(ledger.due(refs), CONFIG.shard_size)

    def take(self) -> Shard | None:
        shard = next(self._shards, None)
        self.exhausted = shard is None
        return shard
