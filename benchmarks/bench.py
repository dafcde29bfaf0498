"""What every benchmark does: name the machine, watch who uses the cores, write a result file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
REPOSITORY = Path(__file__).resolve().parent.parent
_PACKAGES = ("ray", "onnxruntime", "numpy", "opencv-python-headless", "pillow", "simplejpeg", "boto3", "pyarrow")


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="print the result as JSON and nothing else on stdout")
    made.add_argument("--save", action="store_true", help="write it to benchmarks/results/NAME.json as well")
    return made


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def machine() -> dict[str, Any]:
    """CPU, cores, memory, versions, and how busy the machine was with other things when the benchmark began."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "cpu": cpu,
        "cores": cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": versions,
    }


def machine_line(found: Mapping[str, Any]) -> str:
    """The machine in one line for people."""
    versions = found["versions"]
    return (
        f"{found['cpu']}, {found['cores']} cores, {found['memory_gb']} GB; Python {found['python']}, "
        f"ray {versions['ray']}, onnxruntime {versions['onnxruntime']}; load before {found['load_before']}"
    )


def finish(name: str, result: Mapping[str, Any], arguments: argparse.Namespace, lines: list[str]) -> None:
    """Print the result as asked and, with --save, write it to the results folder."""
    whole = {
        "benchmark": name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": "python " + shlex.join([f"benchmarks/{Path(sys.argv[0]).name}", *_without_paths(sys.argv[1:])]),
        "commit": _commit(),
        **result,
    }
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(whole, indent=2) if arguments.json else "\n".join(lines))


def say(text: str) -> None:
    """Progress for a person who waits; on stderr, so that --json stays clean."""
    print(text, file=sys.stderr, flush=True)


def median(values: list[float]) -> float:
    """The middle one, or the mean of the middle two."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _without_paths(arguments: list[str]) -> list[str]:
    """A result file names the command, not the folders of whoever ran it."""
    return [Path(a).name if a.startswith("/") else a for a in arguments]


def _commit() -> str:
    found = subprocess.run(
        ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


class CoreSeconds:
    """Core seconds by kind of process while a `with` block runs: who has used the cores, and when.

    Looks at this process and all its descendants once a second, because workers are gone when a job ends; what a
    process does in its last second is missed. A look costs some milliseconds, which count as the driver's. Linux only.
    """

    def __init__(self, every: float = 1.0) -> None:
        self._every = every
        self._kind: dict[int, str] = {}
        self._looks: list[tuple[float, dict[int, float]]] = []
        self._machine: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> CoreSeconds:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            self._look()

    def _look(self) -> None:
        seconds = {}
        for pid, kind, used in _processes(os.getpid()):
            seconds[pid] = used
            if kind != "gone" or pid not in self._kind:
                self._kind[pid] = kind
        now = time.monotonic()
        self._looks.append((now, seconds))
        self._machine.append((now, busy_seconds()))

    def by_others(self, began: float = 0.0, ended: float = float("inf")) -> float:
        """Share of all cores, 0..1, that processes other than ours (or the host) took between two moments."""
        machine = [(moment, busy) for moment, busy in self._machine if began <= moment <= ended]
        if len(machine) < 2:
            return 0.0
        (first, busy_first), (last, busy_last) = machine[0], machine[-1]
        ours = sum(self.by_kind(began, ended).values())
        return max(0.0, (busy_last - busy_first - ours) / ((last - first) * (os.cpu_count() or 1)))

    def by_kind(
        self, began: float = 0.0, ended: float = float("inf"), names: Mapping[int, str] | None = None
    ) -> dict[str, float]:
        """Core seconds by kind of process, most first, between two moments of `time.monotonic()`.

        names: what to call single processes, by pid.
        """
        looks = [seconds for moment, seconds in self._looks if began <= moment <= ended]
        first: dict[int, float] = {}
        last: dict[int, float] = {}
        for number, seconds in enumerate(looks):
            for pid, used in seconds.items():
                first.setdefault(pid, used if number == 0 else 0.0)  # one that comes later has begun at 0
                last[pid] = used
        total: dict[str, float] = {}
        for pid, used in last.items():
            kind = (names or {}).get(pid) or self._kind[pid]
            total[kind] = total.get(kind, 0.0) + used - first[pid]
        return {k: round(v, 2) for k, v in sorted(total.items(), key=lambda item: -item[1]) if v >= 0.05}


def busy_seconds() -> float:
    """Core seconds that the machine has not been idle since it started, those that its host took away among them."""
    fields = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:9]
    user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, fields)
    return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")


def _processes(root: int) -> list[tuple[int, str, float]]:
    """(pid, kind, core seconds) of a process and its descendants, from /proc."""
    tick = os.sysconf("SC_CLK_TCK")
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        fields = stat[stat.rindex(")") + 2 :].split()
        parents[int(entry)] = int(fields[1])
        seconds[int(entry)] = (int(fields[11]) + int(fields[12])) / tick
    ours = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in ours and pid not in ours}
        grown = bool(more)
        ours |= more
    return [(pid, _kind(pid, root), seconds[pid]) for pid in ours if pid in seconds]


def _kind(pid: int, root: int) -> str:
    """What a process is, from its command line."""
    if pid == root:
        return "driver"
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "gone"
    if not words:
        return "gone"  # ended, and nobody has asked how
    if words.startswith("ray::"):
        return words.split(".")[0].split(" ")[0].split("(")[0]
    for part, kind in (("raylet", "raylet"), ("gcs_server", "ray gcs"), ("weed", "S3 server"), ("/ray/", "ray other")):
        if part in words:
            return kind
    return "other"


def peak_memory() -> int:
    """Bytes of memory that this process held at most.

    Not ru_maxrss: a process that was started by fork or vfork begins with its parent's peak.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) * 1024 if found else 0
