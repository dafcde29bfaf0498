"""The rates that `mattemill plan` is packaged with: what one core does in each stage, at two sizes of photograph.

    python benchmarks/plan_rates.py [--images 12] [--json] [--save]

Photographs of 2 MP and of 0.5 MP go through fetch, cut and store one after the other, in one process on one core
(`mattemill.cluster.planning.calibrate`), from the embedded S3 server and back to it, with the default settings and
with both kinds of output. What a job adds to that (driver, Ray, waiting cores, start) is taken from
`end_to_end.json`, and what one coordinator can do from `machinery.json`. --save writes plan_rates.json, and
cluster/planning/rates.toml from all three; a test holds them against each other.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench import REPOSITORY, RESULTS, finish, machine, machine_line, median, parser, say
from photographs import HEIGHT, WIDTH, photographs
from PIL import Image

from mattemill.cluster.planning.calibrate import Measured, measure, rates_of
from mattemill.cluster.planning.rates import OutputRates, Rates, to_toml
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.storage.embedded_server import EmbeddedS3
from mattemill.pipeline.storage.location import Location, open_store

BUCKET = "bench"
RATES = REPOSITORY / "cluster" / "planning" / "rates.toml"
OUTPUTS = ("matte", "cutout")
NO_STAGE = ("driver", "raylet", "ray other", "ray gcs")
"""Kinds of process in end_to_end.json whose core seconds belong to no stage. The S3 server's are left out: a bucket's
are not ours."""


def upload(prefix: str, count: int, width: int) -> None:
    """`count` photographs scaled to `width` pixels."""
    store = open_store(Location.parse(f"s3://{BUCKET}/{prefix}/"), JobConfig())
    for name, data in photographs(count):
        if width != WIDTH:
            with Image.open(io.BytesIO(data)) as image:
                out = io.BytesIO()
                image.resize((width, HEIGHT * width // WIDTH), Image.Resampling.LANCZOS).save(out, "jpeg", quality=88)
                data = out.getvalue()
        store.put(f"{prefix}/{name}", data, content_type="image/jpeg")


def packaged(measured: dict[str, list[Measured]], end: dict[str, Any], most: dict[str, Any], date: str) -> Rates:
    """The rates file, from three results."""
    runs = [run for run in end["runs"] if run["placement"] == "fused"]
    figures = end["placements"]["fused"]
    machinery = []
    for run in runs:
        used = run["steady_core_seconds"]
        images = sum(used.values()) / run["core_seconds_per_image"]
        machinery.append(sum(used.get(kind, 0.0) for kind in NO_STAGE) / images)
    busy = figures["steady_images_per_second"] * figures["core_seconds_per_image"] / end["vcpus"]
    base = Rates(
        source="benchmarks/results/plan_rates.json (stages), end_to_end.json (efficiency, machinery, start), "
        "machinery.json (most_per_node)",
        command="python benchmarks/plan_rates.py --save",
        date=date,
        machine="",
        measured_mp=(1.0, 1.0),
        input_bytes_per_mp=0.0,
        efficiency=round(busy, 3),
        machinery_seconds=round(median(machinery), 4),
        start_seconds=round(median([run["first_outcome_seconds"] for run in runs]), 1),
        most_per_node=most["job"]["images_per_second"],
        spread=0.0,
        outputs={},
    )
    outputs: dict[str, OutputRates] = {}
    for name in OUTPUTS:
        made = rates_of(measured[name], base, base.source, base.command)
        outputs |= made.outputs
    first = rates_of(measured[OUTPUTS[0]], base, base.source, base.command)
    cpu = end["machine"]["cpu"]
    return replace(
        first,
        date=date,
        machine=f"{cpu}, {end['vcpus']} cores, no GPU",
        input_bytes_per_mp=round(first.input_bytes_per_mp),
        outputs={name: replace(output, bytes_per_mp=round(output.bytes_per_mp)) for name, output in outputs.items()},
    )


def from_results(folder: Path = RESULTS) -> Rates:
    """The rates file as the committed results make it."""
    read = {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("plan_rates", "end_to_end", "machinery")
    }
    measured = {name: [Measured(**one) for one in read["plan_rates"]["measured"][name]] for name in OUTPUTS}
    return packaged(measured, read["end_to_end"], read["machinery"], read["plan_rates"]["date"][:10])


def main() -> None:
    """Run it from the command line."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=12)
    arguments = options.parse_args()
    found = machine()
    measured: dict[str, list[Measured]] = {name: [] for name in OUTPUTS}
    with EmbeddedS3([BUCKET]) as s3:
        os.environ.update(s3.environment())
        for width in (WIDTH // 2, WIDTH):
            upload(f"in-{width}", arguments.images, width)
            for output in OUTPUTS:
                config = JobConfig(output=output, device="cpu", confidence_threshold=0.0)
                one = measure(
                    f"s3://{BUCKET}/in-{width}/", f"s3://{BUCKET}/out-{output}-{width}/", config, arguments.images
                )
                assert one.images == one.outputs == arguments.images, one
                measured[output].append(one)
                say(f"{output} {one.megapixels:.2f} MP: {one.core_seconds}, spread {one.spread:.2f}")
    result = {
        "machine": found,
        "settings": "the defaults, confidence_threshold 0",
        "measured": {name: [asdict(one) for one in values] for name, values in measured.items()},
    }
    lines = [machine_line(found)]
    for name, values in measured.items():
        for one in values:
            stages = ", ".join(f"{stage} {1000 * value:.1f}" for stage, value in one.core_seconds.items())
            lines.append(
                f"{name} {one.megapixels:.2f} MP, core ms an image: {stages}; {one.output_bytes / 1000:.0f} kB out of "
                f"{one.input_bytes / 1000:.0f} kB"
            )
    finish("plan_rates", result, arguments, lines)
    if arguments.save:
        RATES.write_text(HEADER + to_toml(from_results()), encoding="utf-8")


HEADER = """# What one node does, as it was measured; see rates.py beside this file for what each figure means.
# Written by benchmarks/plan_rates.py from benchmarks/results/: do not edit it, measure again.
"""


if __name__ == "__main__":
    main()
