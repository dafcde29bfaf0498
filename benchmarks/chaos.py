"""The long form of the chaos suite on real Ray nodes: what was broken by each seed, and whether every key ended once.

    python benchmarks/chaos.py [--seeds 50] [--first 1] [--json] [--save]

Runs `tests/cluster/test_chaos_on_ray.py` (a head and two nodes, 104 photographs, stand-in networks) and counts. The
seconds of a seed are what this machine took, not a promise. Exit 1 when a seed failed: its number is a test already.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench import REPOSITORY, finish, machine, machine_line, median, parser, say

TEST = "tests/cluster/test_chaos_on_ray.py::test_whatever_is_broken_every_key_ends_once"


def run(seeds: list[int], report: Path) -> None:
    """pytest on these seeds, in one process with one cluster; its JUnit report is written to `report`."""
    command = [sys.executable, "-m", "pytest", "-m", "slow or chaos_long", "-q", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, *(f"{TEST}[{seed}]" for seed in seeds)], cwd=REPOSITORY, stdout=sys.stderr, check=False
    )
    if done.returncode not in (0, 1):  # 1: tests failed
        raise SystemExit(f"pytest ended with {done.returncode}; what it said is above")


def read(report: Path) -> list[dict[str, Any]]:
    """One row a seed: seed, passed, seconds, keys, broken (in order)."""
    rows = []
    for case in ElementTree.parse(report).iter("testcase"):
        told = {each.get("name"): each.get("value", "") for each in case.iter("property")}
        rows.append(
            {
                "seed": int(case.get("name", "").partition("[")[2].rstrip("]")),
                "passed": not any(case.find(kind) is not None for kind in ("failure", "error", "skipped")),
                "seconds": round(float(case.get("time", "nan")), 1),
                "keys": int(told.get("keys", 0)),
                "broken": [fault for fault in told.get("broken", "").split(", ") if fault],
            }
        )
    return rows


def main() -> None:
    """Run it from the command line."""
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=50, help="how many")
    options.add_argument("--first", type=int, default=1)
    arguments = options.parse_args()
    found = machine()
    seeds = list(range(arguments.first, arguments.first + arguments.seeds))
    say(machine_line(found))
    with tempfile.TemporaryDirectory(prefix="mattemill-chaos-") as folder:
        run(seeds, Path(folder) / "report.xml")
        rows = read(Path(folder) / "report.xml")
    assert [row["seed"] for row in rows] == seeds, "a seed was not run"
    failed = [row["seed"] for row in rows if not row["passed"]]
    broken = Counter(fault for row in rows for fault in row["broken"])
    seconds = [row["seconds"] for row in rows]
    result = {
        "machine": found,
        "seeds": len(rows),
        "passed": len(rows) - len(failed),
        "failed_seeds": failed,
        "keys_ended_once": sum(row["keys"] for row in rows if row["passed"]),
        "broken": dict(broken.most_common()),
        "seconds": {"median": median(seconds), "longest": max(seconds), "all": round(sum(seconds), 1)},
        "runs": rows,
    }
    lines = [
        machine_line(found),
        f"{result['passed']} of {len(rows)} seeds passed; failed: {failed or 'none'}",
        f"{result['keys_ended_once']} keys ended exactly once; broken: "
        + ", ".join(f"{fault} {count}" for fault, count in broken.most_common()),
        f"a seed took {median(seconds):.0f} s (longest {max(seconds):.0f} s)",
    ]
    finish("chaos", result, arguments, lines)
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
