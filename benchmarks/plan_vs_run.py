"""What `mattemill plan` says of this machine, beside what a real job then does on it.

    python benchmarks/plan_vs_run.py [--images 200] [--json] [--save]

First the prediction: a calibration on a dozen of the photographs (one process, one core), the formula, and the detailed
simulation of one node with as many images as the job has; and the same from the packaged rates, without a calibration.
Then the job: `run_job` with the default network and settings on all cores of this machine, from the embedded S3 server
and back to it. Photographs of 0.5 MP, so that some hundreds take two or three minutes. Last the calibration again: it
says whether the cores were as fast after the job as before.

Ratios are prediction over run: of rates 1.1 promised a tenth too much, of seconds a tenth too long. Steady rates are
between the 10 % and the 90 % mark of the images, seconds are of the whole command; the number of outcomes is asserted.
What other processes took of the cores is beside them: a plan knows nothing of those. So there is a third prediction,
with hindsight: from the same calibration, of the share of the cores that the others left.

Ray gives its workers a low priority, behind anything else on a machine; here they have the usual one, so that other
low-priority work beside a benchmark takes little from them (RAY_worker_niceness=0).
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

from bench import CoreSeconds, cores, finish, machine, machine_line, parser, say
from plan_rates import BUCKET, upload
from timeline import of_counts

from mattemill.cluster.job import run_job
from mattemill.cluster.planning.calibrate import measure, rates_of
from mattemill.cluster.planning.estimate import Wanted, node_rate
from mattemill.cluster.planning.node_run import run_node
from mattemill.cluster.planning.rates import Rates, packaged_rates
from mattemill.cluster.progress import Progress
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.storage.embedded_server import EmbeddedS3

WIDTH = 800
CALIBRATION = 12
SEED = 1


def predict(rates: Rates, wanted: Wanted) -> dict[str, Any]:
    """The formula and the simulation of this one node, which has booted."""
    rate = node_rate(rates, wanted).images_per_second
    simulated = run_node(rates, wanted, wanted.images, seed=SEED)
    return {
        "core_seconds_per_image_in_cut": round(rates.outputs["matte"].stages["cut"].at(wanted.megapixels), 4),
        "formula": {
            "steady_images_per_second": round(rate, 4),
            "seconds": round(rates.start_seconds + wanted.images / rate, 1),
        },
        "simulation": {
            "steady_images_per_second": round(simulated.rate, 4),
            "seconds": round(simulated.seconds, 1),
            "idle": round(simulated.idle, 4),
            "workers": simulated.workers,
        },
    }


def ratios(predicted: dict[str, Any], run: dict[str, Any]) -> dict[str, float]:
    """Prediction over run."""
    return {
        f"{way}_{figure}": round(predicted[way][figure] / run[figure], 3)
        for way in ("formula", "simulation")
        for figure in ("steady_images_per_second", "seconds")
    }


def main() -> None:
    """Run it from the command line."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=200)
    arguments = options.parse_args()
    found = machine()
    config = JobConfig(device="cpu", confidence_threshold=0.0)
    os.environ.setdefault("RAY_worker_niceness", "0")
    seen: list[tuple[float, int]] = []

    def watch(progress: Progress) -> None:
        seen.append((time.monotonic(), progress.done))

    with EmbeddedS3([BUCKET]) as s3:
        os.environ.update(s3.environment())
        upload("in", arguments.images, WIDTH)
        photos = f"s3://{BUCKET}/in/"
        before = measure(photos, f"s3://{BUCKET}/before/", config, CALIBRATION)
        calibrated = rates_of([before], packaged_rates(), "this run", "python benchmarks/plan_vs_run.py")
        wanted = Wanted(arguments.images, float("inf"), cores(), megapixels=before.megapixels, nodes=1)
        predicted = predict(calibrated, wanted)
        unmeasured = predict(packaged_rates(), wanted)
        say(f"predicted: {predicted}")
        with CoreSeconds() as used:
            began = time.monotonic()
            summary = run_job(photos, f"s3://{BUCKET}/out/", config, on_progress=watch)
            ended = time.monotonic()
        after = measure(photos, f"s3://{BUCKET}/after/", config, CALIBRATION)
    assert summary.images == summary.cut == arguments.images, summary
    assert summary.spilled_bytes == 0, summary
    seen.append((ended, arguments.images))
    timeline = of_counts(began, ended, seen)
    first, last, images = timeline.steady_part()
    by_kind = used.by_kind(first, last)
    run = {
        "steady_images_per_second": round(timeline.steady_rate(), 4),
        "seconds": round(timeline.seconds, 1),
        "first_outcome_seconds": round(timeline.first, 1),
        "workers": dict(summary.workers),
        "core_seconds_per_image": round(sum(by_kind.values()) / images, 4),
        "steady_core_seconds": by_kind,
        "cores_taken_by_others": round(used.by_others(first, last), 3),
        "core_seconds_per_image_in_cut_before": round(before.core_seconds["cut"], 4),
        "core_seconds_per_image_in_cut_after": round(after.core_seconds["cut"], 4),
    }
    left = replace(calibrated, efficiency=min(1.0, max(0.01, round(1.0 - run["cores_taken_by_others"], 3))))
    hindsight = predict(left, wanted)
    result = {
        "machine": found,
        "photographs": f"{arguments.images} JPEGs of {before.megapixels:.2f} MP",
        "model": config.model,
        "output": "matte, png",
        "vcpus": cores(),
        "seed": SEED,
        "run": run,
        "from_calibration": {**predicted, "prediction_over_run": ratios(predicted, run)},
        "from_packaged_rates": {**unmeasured, "prediction_over_run": ratios(unmeasured, run)},
        "with_hindsight": {
            "share_of_the_cores": left.efficiency,
            **hindsight,
            "prediction_over_run": ratios(hindsight, run),
        },
    }
    lines = [machine_line(found), f"{result['photographs']}, {config.model}, {cores()} cores"]
    lines.append(
        f"run: {run['steady_images_per_second']} images/s steady, {run['seconds']} s in all; others took "
        f"{run['cores_taken_by_others']:.1%} of the cores"
    )
    for name in ("from_calibration", "from_packaged_rates", "with_hindsight"):
        values: dict[str, Any] = result[name]
        for way in ("formula", "simulation"):
            over = values["prediction_over_run"]
            lines.append(
                f"{name}, {way}: {values[way]['steady_images_per_second']} images/s, {values[way]['seconds']} s; "
                f"over the run {over[f'{way}_steady_images_per_second']} and {over[f'{way}_seconds']}"
            )
    finish("plan_vs_run", result, arguments, lines)


if __name__ == "__main__":
    main()
