"""The run lease: two drivers never write to one sink at once, whatever their settings.

Jobs of different settings would write over each other's files, so the lease is one for the sink; it names the
fingerprint of the job that holds it.

A lease is a numbered object, created with If-None-Match: the highest number holds. Its holder overwrites it every few
seconds (the heartbeat), and overwrites it with `released` at the end; it is never deleted while it is the highest, so
that an old holder can never become the highest again. Who comes next takes the next number when the holder has
released it, is known to be dead (same host, and its process is gone), or has not overwritten it for `expires_after`.

Clocks: two hosts' clocks may differ by minutes, so none is compared with another. The age of a heartbeat is the
difference of two times that the store itself gave: that of the lease object, and that of a small object which the
newcomer writes for the purpose (`knock`). Only a store whose own servers disagree by about `expires_after` could
mislead it; then the guard below still holds.

A holder that was only paused (a suspended machine) can come back after it was taken over. `check` is therefore called
before each commit and finds the higher number. Between that check and the PUT there remains a gap; a commit in it
repeats images with the same generation, and the newest row of a key counts, so it costs work and never a doubled key.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from mattemill.pipeline.errors import (
    AlreadyThereError,
    JobRunningError,
    LedgerError,
    MissingObjectError,
    StoreError,
)
from mattemill.pipeline.ledger.holder import Holder, process_lives
from mattemill.pipeline.ledger.layout import Layout, lease_number
from mattemill.pipeline.storage.store import Store

log = logging.getLogger(__name__)

BEAT_SECONDS = 10.0
"""Time between heartbeats: six of them fit into the time after which a lease ends."""

EXPIRES_AFTER = 60.0
"""Seconds without a heartbeat after which a holder on another host is taken for dead."""

_JSON = "application/json"
_ATTEMPTS = 20

Lives = Callable[[Holder], bool | None]


@dataclass(frozen=True, slots=True)
class Held:
    """The newest lease of a sink as read. fingerprint: of the job that holds or held it."""

    number: int
    fingerprint: str
    holder: Holder
    released: bool


class RunLease:
    """A lease that this process holds, from `acquire_lease`. Thread-safe."""

    def __init__(self, store: Store, layout: Layout, fingerprint: str, number: int, holder: Holder) -> None:
        self._store = store
        self._layout = layout
        self._fingerprint = fingerprint
        self._number = number
        self._holder = holder
        self._beats = 0
        self._beaten = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def number(self) -> int:
        return self._number

    @property
    def holder(self) -> Holder:
        return self._holder

    @property
    def age(self) -> float:
        """Seconds since the last heartbeat that was written."""
        return time.monotonic() - self._beaten

    def beat(self) -> None:
        """Overwrite the lease object: the holder lives. Raises StoreError."""
        with self._lock:
            self._beats += 1
            self._write(released=False)
            self._beaten = time.monotonic()

    def check(self) -> None:
        """Raises JobRunningError naming the new holder when this lease was taken over."""
        higher = _highest(self._store, self._layout, above=self._number)
        if higher is not None:
            raise JobRunningError(
                f"this run of {self._fingerprint} was taken over by another one ({_who(self._store, higher)}) "
                "because it gave no sign of life; what it has committed stands, the other run does the rest"
            )

    def start_beating(self, seconds: float = BEAT_SECONDS) -> None:
        """Beat from a thread of its own until `release`."""
        self._thread = threading.Thread(target=self._keep_beating, args=(seconds,), name="ledger-lease", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Stop beating and let the next run start at once. Does nothing the second time."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._write(released=True)

    def _keep_beating(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            try:
                self.beat()
            except StoreError as error:
                log.warning("heartbeat failed fingerprint=%s error=%s", self._fingerprint, error)

    def _write(self, released: bool) -> None:
        key = self._layout.lease(self._number)
        self._store.put(key, _encode(self._fingerprint, self._holder, self._beats, released), content_type=_JSON)


def acquire_lease(
    store: Store,
    layout: Layout,
    fingerprint: str,
    holder: Holder,
    *,
    lives: Lives = process_lives,
    expires_after: float = EXPIRES_AFTER,
) -> RunLease:
    """Take the lease of a sink for `holder`, which works on a fingerprint.

    Raises JobRunningError naming the job and the holder when one lives.
    """
    for _ in range(_ATTEMPTS):
        newest = _highest(store, layout)
        number = 0
        if newest is not None:
            number = newest[0] + 1
            try:
                _refuse_if_alive(store, layout, fingerprint, newest[1], holder, lives, expires_after)
            except MissingObjectError:
                continue  # A newer holder has cleared it away between the listing and the reading.
        lease = RunLease(store, layout, fingerprint, number, holder)
        key = layout.lease(number)
        try:
            store.put(key, _encode(fingerprint, holder, 0, released=False), content_type=_JSON, if_absent=True)
        except AlreadyThereError:
            # Another's; or ours, when the answer to the first try of this PUT was lost.
            if not _is_mine(store, key, holder):
                continue
        # While we waited others may have come and gone, and cleared our number away before we took it.
        if _highest(store, layout, above=number) is not None:
            store.delete(key)
            continue
        for old, old_key in list(_leases(store, layout)):
            if old < number:
                store.delete(old_key)
        return lease
    raise JobRunningError(f"{layout.leases}: the run lease could not be taken, others take it all the time; try again")


def read_lease(store: Store, layout: Layout) -> Held | None:
    """The newest lease of a sink, None when there never was one."""
    for _ in range(_ATTEMPTS):
        newest = _highest(store, layout)
        if newest is None:
            return None
        try:
            return _decode(store.get(newest[1]).data, newest[1])
        except MissingObjectError:
            continue
    return None


def _is_mine(store: Store, key: str, holder: Holder) -> bool:
    try:
        return _decode(store.get(key).data, key).holder == holder
    except MissingObjectError:
        return False


def _refuse_if_alive(
    store: Store, layout: Layout, fingerprint: str, key: str, newcomer: Holder, lives: Lives, expires_after: float
) -> None:
    held = _decode(store.get(key).data, key)
    if held.released:
        return
    alive = lives(held.holder)
    if alive is False:
        _log_takeover(held, fingerprint, "process_gone")
        return
    job = "a run of the same job" if held.fingerprint == fingerprint else "another job"
    writing = f"{job} is writing to this sink: job {held.fingerprint}, {held.holder}"
    if alive:
        raise JobRunningError(f"{writing}. Wait for it, or end that process and run again")
    age = _age_by_the_stores_clock(store, layout, key, newcomer)
    if age < expires_after:
        raise JobRunningError(
            f"{writing}; its last sign of life is {age:.0f} s old. "
            f"Wait for it; if it is dead, run again in {max(1.0, expires_after - age):.0f} s"
        )
    _log_takeover(held, fingerprint, "silent")


def _log_takeover(held: Held, fingerprint: str, why: str) -> None:
    log.info("lease taken over job=%s from=%s why=%s", held.fingerprint, held.holder, why)
    if held.fingerprint != fingerprint:
        log.warning(
            "killed job of other settings job=%s what=it may have written outputs without committing them, "
            "which lie over those of earlier jobs next=run it to its end first, then this one",
            held.fingerprint,
        )


def _age_by_the_stores_clock(store: Store, layout: Layout, key: str, newcomer: Holder) -> float:
    knock = layout.knock(newcomer.run_id)
    store.put(knock, b"{}", content_type=_JSON)
    try:
        return (store.head(knock).modified - store.head(key).modified).total_seconds()
    finally:
        store.delete(knock)


def _highest(store: Store, layout: Layout, above: int | None = None) -> tuple[int, str] | None:
    """(number, key) of the highest lease, of those above a number if one is given."""
    return max(_leases(store, layout, above), default=None)


def _leases(store: Store, layout: Layout, above: int | None = None) -> Iterator[tuple[int, str]]:
    start = layout.lease(above) if above is not None else None
    for entry in store.list(layout.leases, start_after=start):
        number = lease_number(entry.key)
        if number is not None and entry.key == layout.lease(number) and (above is None or number > above):
            yield number, entry.key


def _who(store: Store, lease: tuple[int, str]) -> str:
    try:
        held = _decode(store.get(lease[1]).data, lease[1])
        return f"job {held.fingerprint}, {held.holder}"
    except MissingObjectError:
        return f"lease {lease[0]}"


def _encode(fingerprint: str, holder: Holder, beats: int, released: bool) -> bytes:
    values = {
        "schema": 1,
        "fingerprint": fingerprint,
        "holder": asdict(holder),
        "beats": beats,
        "released": released,
    }
    return json.dumps(values, indent=1).encode()


def _decode(data: bytes, key: str) -> Held:
    try:
        values = json.loads(data)
        number = lease_number(key)
        return Held(
            -1 if number is None else number,
            str(values["fingerprint"]),
            Holder(**values["holder"]),
            bool(values["released"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            f"{key}: is no run lease that this mattemill can read ({error!r}); "
            "if no run is working on the sink, delete it"
        ) from error
