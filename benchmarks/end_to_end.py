"""Images a second of the real job, divided by what its networks alone allow on the same cores in the same run.

    python benchmarks/end_to_end.py [--images 96] [--rounds 2] [--json] [--save]

The job is `run_job` as `mattemill run` calls it: photographs from the embedded S3 server, outputs back to it, u2netp,
a local Ray, everything on this machine (the S3 server's work counts against us; with a real bucket it does not).
The limit is passes a second of the same network in one process a core doing nothing else, taken right before and right
after each run, divided by the network passes that an image really took (two, or one where its outcome row says so).
The exact number of images is asserted, and that every one of them is a matte; the confidence threshold is 0, so that
every photograph goes all the way.

Two rates: steady (from the 10 % to the 90 % mark) and whole (start of Ray, models and the last commit included).
Beside them, for the steady part, the core seconds by kind of process: the network's share of them is what the ratio
would be if no core ever waited, and shows where the rest goes.
"""

from __future__ import annotations

import os
import time
from argparse import Namespace
from typing import Any

import pyarrow.parquet as pq
from bench import CoreSeconds, cores, finish, machine, machine_line, median, parser, say
from network_limit import NetworkLimit
from photographs import HEIGHT, WIDTH, photographs
from pyarrow import BufferReader
from timeline import Timeline, of_counts

from mattemill.cluster.job import run_job
from mattemill.cluster.progress import JobSummary, Progress
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.storage.embedded_server import EmbeddedS3
from mattemill.pipeline.storage.location import Location, open_store

BUCKET = "bench"
DISTURBED = 0.05
"""Share of the cores taken by other processes above which a run says little: left out of the medians if any is left."""


def upload(count: int, config: JobConfig) -> int:
    """Put the photographs into the bucket; their bytes in all."""
    store = open_store(Location.parse(f"s3://{BUCKET}/photos/"), config)
    total = 0
    for name, data in photographs(count):
        store.put(f"photos/{name}", data, content_type="image/jpeg")
        total += len(data)
    return total


def outcome_rows(sink: str, config: JobConfig) -> list[dict[str, Any]]:
    """All outcome rows of a sink that one job has written to."""
    location = Location.parse(sink)
    store = open_store(location, config)
    rows: list[dict[str, Any]] = []
    for entry in store.list(location.key("_mattemill/outcomes/")):
        if entry.key.endswith(".parquet"):
            table = pq.read_table(
                BufferReader(store.get(entry.key).data), columns=["key", "outcome", "reason", "scores", "worker"]
            )
            rows.extend(table.to_pylist())
    return rows


def passes_per_image(rows: list[dict[str, Any]]) -> float:
    """Network passes that an image took: one on the full frame, and one on the crop unless it was left out."""
    return sum(1.0 + dict(row["scores"])["second_pass"] for row in rows) / len(rows)


def stage_of_process(rows: list[dict[str, Any]]) -> dict[int, str]:
    """Stage by pid, from the rows' workers ('node:pid')."""
    return {int(who.rpartition(":")[2]): f"{stage} workers" for row in rows for stage, who in row["worker"]}


def run_once(sink: str, config: JobConfig, images: int) -> tuple[JobSummary, Timeline, float, dict[str, float], float]:
    """One job: summary, timeline, passes an image; of the steady part core seconds and the share that others took.

    Asserts every image's outcome.
    """
    seen: list[tuple[float, int]] = []

    def watch(progress: Progress) -> None:
        seen.append((time.monotonic(), progress.done))

    with CoreSeconds() as used:
        began = time.monotonic()
        summary = run_job(f"s3://{BUCKET}/photos/", sink, config, on_progress=watch)
        ended = time.monotonic()
    rows = outcome_rows(sink, config)
    assert summary.images == len(rows) == len({row["key"] for row in rows}) == images, (summary, len(rows))
    assert summary.cut == images, summary.failed
    assert summary.spilled_bytes == 0, summary.spilled_bytes
    seen.append((ended, images))
    timeline = of_counts(began, ended, seen)
    first, last, _ = timeline.steady_part()
    by_kind = used.by_kind(first, last, stage_of_process(rows))
    return summary, timeline, passes_per_image(rows), by_kind, used.by_others(first, last)


def measure(arguments: Namespace) -> dict[str, Any]:
    """All rounds of all placements, each run between two measurements of the limit."""
    found = machine()
    runs: list[dict[str, Any]] = []
    with EmbeddedS3([BUCKET]) as s3, NetworkLimit(arguments.model) as limit:
        os.environ.update(s3.environment())
        base = {"model": arguments.model, "output": arguments.output, "device": "cpu", "confidence_threshold": 0.0}
        total_bytes = upload(arguments.images, JobConfig())
        limits = [limit.measure(arguments.limit_seconds)]
        for number in range(arguments.rounds):
            for placement in arguments.placements.split(","):
                sink = f"s3://{BUCKET}/out-{placement}-{number}/"
                config = JobConfig(placement=placement, **base)
                summary, timeline, passes, used, others = run_once(sink, config, arguments.images)
                limits.append(limit.measure(arguments.limit_seconds))
                speed = limits[-2].mean(limits[-1])
                allowed = speed.passes / passes
                per_image = sum(used.values()) / timeline.steady_part()[2]
                run = {
                    "placement": placement,
                    "round": number,
                    "images": timeline.images,
                    "passes_per_image": round(passes, 3),
                    "steady_images_per_second": round(timeline.steady_rate(), 3),
                    "whole_images_per_second": round(timeline.whole_rate, 3),
                    "limit_images_per_second": round(allowed, 3),
                    "steady_over_limit": round(timeline.steady_rate() / allowed, 3),
                    "whole_over_limit": round(timeline.whole_rate / allowed, 3),
                    "seconds": round(timeline.seconds, 2),
                    "first_outcome_seconds": round(timeline.first, 2),
                    "setup_seconds": {k: round(v, 2) for k, v in summary.setup_seconds.items()},
                    "workers": dict(summary.workers),
                    "steady_core_seconds": used,
                    "core_seconds_per_image": round(per_image, 3),
                    "network_share_of_core_seconds": round(speed.core_seconds * passes / per_image, 3),
                    "cores_taken_by_others": round(max(others, speed.by_others), 3),
                    "retries": summary.retries,
                    "spilled_bytes": summary.spilled_bytes,
                }
                runs.append(run)
                say(
                    f"{placement} round {number}: {run['steady_images_per_second']} images/s steady, "
                    f"{run['whole_images_per_second']} whole, limit {run['limit_images_per_second']}, "
                    f"ratio {run['steady_over_limit']} (whole {run['whole_over_limit']}); core seconds an image "
                    f"{run['core_seconds_per_image']}, the network's share {run['network_share_of_core_seconds']}: "
                    f"{used}; others took {others:.1%}, of the limits {speed.by_others:.1%}"
                )
    placements = {}
    for placement in arguments.placements.split(","):
        every = [run for run in runs if run["placement"] == placement]
        of_it = [run for run in every if run["cores_taken_by_others"] <= DISTURBED] or every
        placements[placement] = {
            key: round(median([run[key] for run in of_it]), 3)
            for key in (
                "steady_images_per_second",
                "whole_images_per_second",
                "limit_images_per_second",
                "steady_over_limit",
                "whole_over_limit",
                "core_seconds_per_image",
                "network_share_of_core_seconds",
            )
        }
        undisturbed = sum(run["cores_taken_by_others"] <= DISTURBED for run in every)
        placements[placement]["undisturbed_runs"] = undisturbed
    return {
        "machine": found,
        "photographs": f"{arguments.images} JPEGs of {WIDTH}x{HEIGHT}, {total_bytes // arguments.images} bytes each",
        "model": arguments.model,
        "output": f"{arguments.output}, png",
        "vcpus": cores(),
        "gpus": 0,
        "target": "steady_over_limit >= 0.90",
        "placements": placements,
        "limit_passes_per_second": [round(speed.passes, 3) for speed in limits],
        "core_seconds_per_pass": [round(speed.core_seconds, 3) for speed in limits],
        "runs": runs,
    }


def main() -> None:
    """Run it from the command line."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=96)
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--placements", default="fused,split")
    options.add_argument("--model", default="u2netp")
    options.add_argument("--output", default="matte", choices=("matte", "cutout"))
    options.add_argument("--limit-seconds", type=float, default=8.0)
    arguments = options.parse_args()
    result = measure(arguments)
    lines = [machine_line(result["machine"]), f"{result['photographs']}, {result['model']}, {result['output']}"]
    lines += [
        f"{name:6} {row['steady_images_per_second']:.3f} images/s steady, {row['whole_images_per_second']:.3f} whole; "
        f"networks alone {row['limit_images_per_second']:.3f}; ratio {row['steady_over_limit']:.3f} "
        f"(whole {row['whole_over_limit']:.3f})"
        for name, row in result["placements"].items()
    ]
    finish("end_to_end", result, arguments, lines)


if __name__ == "__main__":
    main()
