"""A node is killed: how long until its work is others', and until a new node works in its place.

A job over two Ray nodes of one CPU on this machine, with stand-in networks (see machinery.py). In its middle the raylet
of one and all its processes are killed, and another node is added, as a cloud would. Told of the moments are what a
user sees in the progress: the cell is silent or lost (detected, and its shards leased again), two cells work again
(replaced). Asserts that every image has its one outcome. Adding a node is Ray's start on a machine that is there; what
a cloud takes to make one comes on top.

    python benchmarks/dead_node.py
    python benchmarks/dead_node.py --leases 20
"""

from __future__ import annotations

import argparse
import json
import os
import re
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

STORE_BYTES = 200 * 2**20


def one(lease: float, images: int, network_ms: float) -> dict[str, Any]:
    """One job with one death, in this process."""
    from mattemill.cluster.ray_start import local_environment

    os.environ.update(local_environment(), STANDIN_NETWORK_MS=str(network_ms), STANDIN_STORE="null")
    sys.path.insert(0, str(Path(__file__).parent))
    work = Path(tempfile.mkdtemp(prefix="mattemill-dead-node-"))
    moments: dict[str, float] = {}

    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}

    def replace_node() -> None:
        cluster.add_node(wait=False, **node)  # in this thread, which Ray wants: the loop stands still for it
        moments["added"] = time.monotonic()

    def note(progress: Progress) -> None:
        now = time.monotonic()
        counts = {
            name: int(number) for name, number in re.findall(r"(cells|starting|silent|lost) (\d+)", progress.note)
        }
        if not counts:
            return
        working = counts["cells"] - counts["silent"]
        if "killed" not in moments:
            if working == 2 and images // 10 < progress.done < images // 2:
                cluster.remove_node(nodes.pop(), allow_graceful=False)
                moments["killed"] = time.monotonic()
                replace_node()
        elif "detected" not in moments:
            if counts["silent"] or counts["lost"]:
                moments["detected"] = now
        elif "replaced" not in moments and working == 2:
            moments["replaced"] = now

    try:
        nodes = [cluster.add_node(**node) for _ in range(2)]
        (work / "in").mkdir()
        machinery.photographs(work / "in", images)
        config = JobConfig(
            placement="fused",
            device="cpu",
            ray_address=cluster.address,
            shard_size=32,
            lease_seconds=lease,
            metrics=False,
        )
        source, sink = str(work / "in"), str(work / "out")
        summary = run_job(source, sink, config, stages="standin_networks", on_progress=note)
        rows = pq.read_table(work / "out" / "_mattemill" / "outcomes", columns=["key"]).column("key").to_pylist()
    finally:
        cluster.shutdown()
        shutil.rmtree(work, ignore_errors=True)
    assert summary.images == images, f"{summary.images} outcomes for {images} images"
    assert len(rows) == len(set(rows)) == images
    missing = {"killed", "detected", "added", "replaced"} - moments.keys()
    assert not missing, f"the job was over before it was {', '.join(sorted(missing))}: give it more --images"
    killed = moments["killed"]
    return {
        "lease_seconds": lease,
        "images": images,
        "seconds_to_detect": round(moments["detected"] - killed, 1),
        "seconds_to_add_a_ray_node": round(moments["added"] - killed, 1),
        "seconds_to_replace": round(moments["replaced"] - killed, 1),
        "job_seconds": round(summary.seconds, 1),
    }


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--network-ms", type=float, default=10.0)
    parser.add_argument("--leases", type=float, nargs="+", default=[JobConfig().lease_seconds, 5.0])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print("RESULT " + json.dumps(one(args.leases[0], args.images, args.network_ms)))
        return
    machine = bench.machine()
    rows = []
    for lease in args.leases:
        command = [sys.executable, __file__, "--one", "--leases", str(lease), "--images", str(args.images)]
        command += ["--network-ms", str(args.network_ms)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        found = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
        if ran.returncode != 0 or not found:
            raise SystemExit(f"{' '.join(command)} ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}")
        rows.append(json.loads(found[0].removeprefix("RESULT ")))
        bench.say(str(rows[-1]))
    lines = [bench.machine_line(machine)]
    lines += [
        f"lease of {row['lease_seconds']:.0f} s: detected and leased again after {row['seconds_to_detect']} s, "
        f"replaced after {row['seconds_to_replace']} s (Ray's new node after {row['seconds_to_add_a_ray_node']} s)"
        for row in rows
    ]
    bench.finish("dead_node", {"machine": machine, "deaths": rows}, args, lines)


if __name__ == "__main__":
    main()
