"""The machinery alone: listing, gate, batches, actor calls, payloads, outcomes, commits; the networks are stand-ins.

Photographs of 300 kB lie in a folder in memory and go through the real fetch stage; network stages cost --network-ms an
image (0 by default); the store answers at once, or is the real one with --store folder. Asserts that every image has
its one outcome. Then, without Ray, what the coordinator itself costs an image with 1 to 200 workers.

    python benchmarks/machinery.py
    python benchmarks/machinery.py --placement split --images 6000
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bench
import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from mattemill.cluster.actions import FUSED, SPLIT, Call, CellPlan, Passed, Reply, StagePlan, StartWorker
from mattemill.cluster.coordinator import Coordinator
from mattemill.cluster.job import run_job
from mattemill.cluster.progress import Progress
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.outcome import Facts
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import cut_into_shards
from mattemill.pipeline.stages.messages import Stored

DIFFERENT = 20  # files of their own; the others are links to them


def photographs(folder: Path, count: int) -> int:
    """`count` JPEGs of about 300 kB, 1600 x 1200; returns the mean size in bytes."""
    sizes = []
    for i in range(count):
        path = folder / f"{i:06d}.jpg"
        if i < DIFFERENT:
            noise = np.random.default_rng(i).normal(128, 34, (300, 400, 3)).clip(0, 255).astype(np.uint8)
            out = io.BytesIO()
            Image.fromarray(noise).resize((1600, 1200), Image.Resampling.BICUBIC).save(out, "jpeg", quality=62)
            path.write_bytes(out.getvalue())
            sizes.append(len(out.getvalue()))
        else:
            os.link(folder / f"{i % DIFFERENT:06d}.jpg", path)
    return round(sum(sizes) / len(sizes))


def on_ray(args: argparse.Namespace) -> dict[str, Any]:
    """One job on the stand-ins."""
    os.environ["STANDIN_NETWORK_MS"] = str(args.network_ms)
    os.environ["STANDIN_STORE"] = args.store
    memory = "/dev/shm" if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK) else None
    work = Path(tempfile.mkdtemp(prefix="mattemill-machinery-", dir=memory))
    seen: list[tuple[float, int]] = []

    def note(progress: Progress) -> None:
        seen.append((time.monotonic(), progress.done))

    try:
        (work / "in").mkdir()
        mean_bytes = photographs(work / "in", args.images)
        bench.say(f"{args.images} photographs of {mean_bytes / 1000:.0f} kB in {work.parent}")
        config = JobConfig(placement=args.placement, device="cpu", shard_size=args.shard_size, fetch_batch=args.batch)
        with bench.CoreSeconds(0.5) as used:
            summary = run_job(str(work / "in"), str(work / "out"), config, stages="standin_networks", on_progress=note)
        rows = pq.read_table(work / "out" / "_mattemill" / "outcomes", columns=["key", "outcome", "worker"])
        stages = _stages_by_process(rows.column("worker").to_pylist())
    finally:
        shutil.rmtree(work, ignore_errors=True)
    assert summary.images == summary.cut == args.images, f"{summary.images} outcomes for {args.images} images"
    assert rows.num_rows == len(set(rows.column("key").to_pylist())) == args.images
    assert set(rows.column("outcome").to_pylist()) == {"matte"}
    assert summary.spilled_bytes == 0, f"{summary.spilled_bytes} bytes were spilled"

    # The steady part: from the first second in which images ended to the last one that was told.
    running = [(moment, done) for moment, done in seen if done > 0]
    began, ended = running[0], running[-1]
    seconds = ended[0] - began[0]
    images = ended[1] - began[1]
    return {
        "images": args.images,
        "placement": summary.placement,
        "store": args.store,
        "network_ms": args.network_ms,
        "mean_encoded_bytes": mean_bytes,
        "workers": dict(summary.workers),
        "images_per_second": round(images / seconds, 1),
        "images_per_second_with_start": round(summary.images_per_second, 1),
        "seconds": round(summary.seconds, 2),
        "first_matte_seconds": round(summary.first_matte_seconds or 0.0, 2),
        "spilled_bytes": summary.spilled_bytes,
        "core_ms_per_image": {
            kind: round(1000 * value / images, 3) for kind, value in used.by_kind(began[0], ended[0], stages).items()
        },
    }


def _stages_by_process(workers: list[Any]) -> dict[int, str]:
    """pid -> stage, from the `worker` column of the outcome rows."""
    found: dict[int, str] = {}
    for row in workers:
        for stage, who in dict(row).items():
            found[int(who.rpartition(":")[2])] = f"worker {stage}"
    return found


def coordinator_cost(names: tuple[str, ...], workers: int, images: int, batch: int = 8) -> float:
    """Microseconds of the coordinator an image, with `workers` in every stage, all of them with calls in flight."""
    plan = CellPlan(
        stages=tuple(StagePlan(name, workers, batch_limit=batch, first_batch=batch) for name in names),
        gate_bytes=10**15,
        call_seconds=1e9,
    )
    coordinator = Coordinator(plan, 0.0, fetch_batch=batch)
    coordinator._stock.limit = coordinator._stock._smallest = 10 * workers * batch  # as a fast job would have it
    refs = [ImageRef(f"k{i}", f"file:///k{i}", "e", 300_000) for i in range(images)]
    shards = cut_into_shards(((ref, 0) for ref in refs), 256)
    offered = list(shards)
    offered.reverse()
    facts = Facts(width=1600, height=1200, seconds={"cut": 0.1})
    stored = Stored("k.png", 100)
    calls: list[Call] = []
    spent, now, closed, handle = 0.0, 0.0, 0, 0
    clock = time.perf_counter
    while coordinator.ended < images:
        while offered and coordinator.wants_shards:
            coordinator.offer(offered.pop())
        if not offered:
            coordinator.source_done()
        began = clock()
        actions = list(coordinator.actions())
        spent += clock() - began
        for action in actions:
            if isinstance(action, Call):
                calls.append(action)
            elif isinstance(action, StartWorker):
                coordinator.worker_ready(action.worker, action.stage, "cpu")
            closed += 1
        # Calls come back in the order in which they went, one event each.
        now += 0.001
        if not calls:
            now += 0.2
            coordinator.tick(now)
            continue
        call = calls.pop(0)
        fetch, last = call.stage == "fetch", call.stage == "store"
        results = [Passed(facts, 1, 5_760_000 if fetch else 0, stored if last else None) for _ in call.items]
        handle += 1
        reply = Reply(results, 0.01, 0.01, 1000, "node:1", "cpu")  # type: ignore[arg-type]
        began = clock()
        coordinator.at(now)
        coordinator.replied(call.id, reply, handle)
        spent += clock() - began
    assert coordinator.ended == images
    assert coordinator.gate.held == 0
    return 1e6 * spent / images


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--placement", choices=("fused", "split"), default="fused")
    parser.add_argument("--store", choices=("null", "folder"), default="null")
    parser.add_argument("--network-ms", type=float, default=0.0)
    parser.add_argument("--shard-size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=JobConfig().fetch_batch, help="images an object")
    parser.add_argument("--only", choices=("ray", "coordinator"), help="one half of it")
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    machine = bench.machine()
    result: dict[str, Any] = {"machine": machine}
    lines = [bench.machine_line(machine)]
    if args.only != "coordinator":
        job = result["job"] = on_ray(args)
        lines += [
            f"{job['images_per_second']:.0f} images a second ({job['placement']}, store {job['store']}, "
            f"{job['mean_encoded_bytes'] / 1000:.0f} kB, {job['images']} images, target 1500 on 2 cores); "
            f"{job['images_per_second_with_start']:.0f} with start and end",
            "core ms an image: " + ", ".join(f"{k} {v:.2f}" for k, v in job["core_ms_per_image"].items()),
        ]
    if args.only != "ray":
        costs = result["coordinator_us_per_image"] = {}
        for name, names in (("fused", FUSED), ("split", SPLIT)):
            costs[name] = {
                workers: round(min(coordinator_cost(names, workers, 4000) for _ in range(3)), 1)
                for workers in (1, 10, 50, 200)
            }
            lines.append(
                f"coordinator, {name}, us an image by workers a stage: "
                + ", ".join(f"{workers}: {cost}" for workers, cost in costs[name].items())
            )
    bench.finish("machinery", result, args, lines)


if __name__ == "__main__":
    main()
