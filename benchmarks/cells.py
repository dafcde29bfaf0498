"""The machinery over several cells: what an image costs with a job in the driver, and in 1, 2 and 4 cells.

Photographs of 300 kB in a folder in memory go through the real fetch stage and networks that cost nothing, as in
machinery.py; the nodes are Ray nodes of one CPU each on this machine, beside a head without one. All of them share this
machine's cores, so that more cells cannot be faster here: what is compared is the core time an image. Each number of
cells has a Ray of its own in a process of its own; 0 is the job in the driver, without cells. Asserts that every image
has its one outcome, that every cell took part, and that nothing was spilled.

    python benchmarks/cells.py
    python benchmarks/cells.py --cells 0 1 --images 4000
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bench
import machinery
import pyarrow.parquet as pq

from mattemill.cluster.job import run_job
from mattemill.cluster.progress import Progress
from mattemill.pipeline.config import JobConfig

STORE_BYTES = 300 * 2**20


def one(cells: int, images: int) -> dict[str, Any]:
    """A job over so many cells, in this process."""
    from mattemill.cluster.ray_start import local_environment

    os.environ.update(local_environment(), STANDIN_NETWORK_MS="0", STANDIN_STORE="null")
    sys.path.insert(0, str(Path(__file__).parent))
    memory = "/dev/shm" if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK) else None
    work = Path(tempfile.mkdtemp(prefix="mattemill-cells-", dir=memory))
    seen: list[tuple[float, int]] = []
    notes: set[str] = set()

    def note(progress: Progress) -> None:
        seen.append((time.monotonic(), progress.done))
        notes.add(progress.note.partition(",")[0])

    cluster: Any = None
    try:
        (work / "in").mkdir()
        machinery.photographs(work / "in", images)
        config = JobConfig(placement="fused", device="cpu", cpus=1, memory_bytes=STORE_BYTES, metrics=False)
        with bench.CoreSeconds(0.5) as used:
            if cells:
                from ray.cluster_utils import Cluster

                head = {"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}
                cluster = Cluster(initialize_head=True, head_node_args=head)
                for _ in range(cells):
                    cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
                config = JobConfig(placement="fused", device="cpu", ray_address=cluster.address, metrics=False)
            source, sink = str(work / "in"), str(work / "out")
            summary = run_job(source, sink, config, stages="standin_networks", on_progress=note)
        rows = pq.read_table(work / "out" / "_mattemill" / "outcomes", columns=["key", "outcome", "worker"])
    finally:
        if cluster is not None:
            cluster.shutdown()
        shutil.rmtree(work, ignore_errors=True)
    assert summary.images == summary.cut == images, f"{summary.images} outcomes for {images} images"
    assert rows.num_rows == len(set(rows.column("key").to_pylist())) == images
    assert summary.spilled_bytes == 0, f"{summary.spilled_bytes} bytes were spilled"
    workers = rows.column("worker").to_pylist()
    cutters = {who for row in workers for stage, who in dict(row).items() if stage == "cut"}
    assert len(cutters) >= cells, f"{len(cutters)} workers cut in {cells} cells"
    if cells:
        assert f"cells {cells}" in notes, f"never {cells} cells at once: {sorted(notes)}"
    names = {int(who.rpartition(":")[2]): f"worker {stage}" for row in workers for stage, who in dict(row).items()}
    # Steady: from when every tenth image has ended (the last cell has begun) to the last that was told of.
    running = [(moment, done) for moment, done in seen if done > images / 10]
    (began, before), (ended, after) = running[0], running[-1]
    core_ms = {
        kind: round(1000 * value / (after - before), 3) for kind, value in used.by_kind(began, ended, names).items()
    }
    return {
        "cells": cells,
        "images": images,
        "images_per_second": round((after - before) / (ended - began), 1),
        "core_ms_per_image": core_ms,
        "core_ms_in_all": round(sum(core_ms.values()), 3),
    }


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--cells", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--rounds", type=int, default=2, help="of all numbers in turn; the cheaper one of each counts")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print("RESULT " + json.dumps(one(args.cells[0], args.images)))
        return
    machine = bench.machine()
    found: dict[int, list[dict[str, Any]]] = {cells: [] for cells in args.cells}
    for number in range(args.rounds):
        for cells in args.cells:
            command = [sys.executable, __file__, "--one", "--cells", str(cells), "--images", str(args.images)]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
            if ran.returncode != 0 or not lines:
                raise SystemExit(f"{' '.join(command)} ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}")
            found[cells].append(json.loads(lines[0].removeprefix("RESULT ")))
            bench.say(f"round {number + 1}, {cells} cells: {found[cells][-1]}")
    best = [min(tries, key=lambda one: float(one["core_ms_in_all"])) for tries in found.values()]
    first = best[0]
    text = [bench.machine_line(machine)]
    for row in best:
        row["over_first"] = round(row["core_ms_in_all"] / first["core_ms_in_all"], 2)
        where = f"{row['cells']} cell(s)" if row["cells"] else "in the driver"
        text.append(
            f"{where}: {row['core_ms_in_all']:.2f} core ms an image ({row['over_first']:.2f} of the first), "
            f"{row['images_per_second']:.0f} images a second; "
            + ", ".join(f"{kind} {value:.2f}" for kind, value in row["core_ms_per_image"].items())
        )
    bench.finish("cells", {"machine": machine, "rounds": args.rounds, "by_cells": best}, args, text)


if __name__ == "__main__":
    main()
