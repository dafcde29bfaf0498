"""Who holds a run lease: a process, told apart from every other one, and whether it still lives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_DEAD_STATES = ("Z", "X", "x")
"""Of /proc/<pid>/stat: killed, but not yet collected by its parent."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A driver process.

    started: kernel clock ticks since boot at which the process began: a reused pid differs in it.
    boot_id: of the running kernel: a rebooted host differs in it. pid_namespace: containers of one pod share a
    host name and a kernel, but not their pids. All three are '' where there is no /proc.
    since: ISO 8601 in UTC, by the holder's clock; for people only, nothing is computed from it.
    """

    host: str
    pid: int
    started: str
    boot_id: str
    pid_namespace: str
    run_id: str
    since: str

    def __str__(self) -> str:
        return f"host {self.host}, process {self.pid}, since {self.since}"


def this_process(run_id: str, since: str) -> Holder:
    """This process as a holder."""
    pid = os.getpid()
    started, _ = _stat(pid) or ("", "")
    return Holder(socket.gethostname(), pid, started, _boot_id(), _pid_namespace(), run_id, since)


def process_lives(holder: Holder) -> bool | None:
    """Whether the holder's process lives; None when that cannot be told from this host (or container)."""
    if holder.host != socket.gethostname() or not holder.boot_id or not holder.started:
        return None
    if holder.boot_id != _boot_id():
        # The same name and another kernel: rebooted, or another host of that name. Only the heartbeat can tell.
        return None
    if holder.pid_namespace != _pid_namespace():
        return None
    found = _stat(holder.pid)
    return found is not None and found[0] == holder.started and found[1] not in _DEAD_STATES


def _stat(pid: int) -> tuple[str, str] | None:
    """(start time in ticks, state) of a process of this host, None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command stands in brackets and may hold blanks and brackets itself.
    fields = text.rpartition(")")[2].split()
    return fields[19], fields[0]


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
