"""mattemill beside what a user would pick instead: same network, same photographs, same run.

    python benchmarks/peers.py [--images 48] [--rounds 2] [--rembg-python PYTHON] [--json] [--save]

Every contender is a command that cuts a folder of photographs into another folder, all on the same cores, in turns,
in the opposite order every second round. The time of an image is the modification time of its output file, so that one
clock serves all. Rates: steady (10 % to 90 % mark, no start-up) and whole (the command from start to end). rembg makes
one pass of the network a photograph, the others two (the whole frame finds the subject, its crop is cut), so the figure
to compare is images a second times passes an image. Asserted: everyone wrote exactly one output a photograph.

rembg lives in a virtual environment of its own: --rembg-python names the Python of one that has it, else it is made in
build/venv-rembg (rembg[cli] and onnxruntime, a few minutes). It runs once before it is measured, because its first
start compiles for over a minute.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import REPOSITORY, CoreSeconds, finish, machine, machine_line, median, parser, say
from network_limit import NetworkLimit
from photographs import HEIGHT, WIDTH, photographs
from timeline import Timeline, of_files

from mattemill.pipeline.models.fetch import fetch_model

BENCHMARKS = Path(__file__).resolve().parent

DOES: dict[str, dict[str, str]] = {
    "mattemill": {
        "network passes a photograph": "2 (frame, then crop)",
        "S3 in and out": "yes",
        "run again after a kill": "goes on; each image exactly once",
        "a damaged photograph": "failure row with a reason; exit code 0, counted",
        "a photograph without a subject": "failure row `no_subject`",
        "a.jpg beside a.png": "two outputs",
        "EXIF orientation": "yes",
        "edges": "guided filter in the unknown band",
        "confidence": "scores in every row",
        "a worker that dies": "replaced, its images done again",
    },
    "rembg p": {
        "network passes a photograph": "1 (frame)",
        "S3 in and out": "no, folders",
        "run again after a kill": "skips outputs that exist, also a half-written one",
        "a damaged photograph": "prints the exception; exit code 0",
        "a photograph without a subject": "an output like any other",
        "a.jpg beside a.png": "one output, the other is skipped silently",
        "EXIF orientation": "yes",
        "edges": "the network's mask, enlarged (closed-form matting with -a: 7 times slower)",
        "confidence": "none",
        "a worker that dies": "one process: the run is over",
    },
    "Ray Data": {
        "network passes a photograph": "2, the same stages",
        "S3 in and out": "yes",
        "run again after a kill": "starts over",
        "a damaged photograph": "what one writes oneself; an exception ends the pipeline by default",
        "a photograph without a subject": "what one writes oneself",
        "a.jpg beside a.png": "what one writes oneself",
        "EXIF orientation": "the same stages",
        "edges": "the same stages",
        "confidence": "the same stages",
        "a worker that dies": "its blocks are done again",
    },
    "plain loop": {
        "network passes a photograph": "2, the same stages",
        "S3 in and out": "what one writes oneself",
        "run again after a kill": "starts over",
        "a damaged photograph": "an exception ends the loop",
        "a photograph without a subject": "an exception ends the loop",
        "a.jpg beside a.png": "what one writes oneself",
        "EXIF orientation": "the same stages",
        "edges": "the same stages",
        "confidence": "the same stages",
        "a worker that dies": "one process: the run is over",
    },
}


@dataclass(frozen=True, slots=True)
class Contender:
    """A command line without its two folders; passes: of the network, a photograph."""

    name: str
    kind: str
    command: tuple[str, ...]
    passes: int
    output: str
    environment: Mapping[str, str] = field(default_factory=dict)


def contenders(rembg: Path, rembg_home: Path, settings: Path) -> list[Contender]:
    """All of them, mask and cut-out where a contender has both."""
    home = {"U2NET_HOME": str(rembg_home)}
    mattemill = str(Path(sys.executable).parent / "mattemill")
    ray_data = (sys.executable, str(BENCHMARKS / "ray_data_loop.py"))
    plain = (sys.executable, str(BENCHMARKS / "plain_loop.py"))
    made = []
    for output, flags in (("matte", ("-om",)), ("cutout", ())):
        job = ("run", "--json", "--device", "cpu", "--config", str(settings), "--output", output)
        made += [
            Contender(f"mattemill run, {output}", "mattemill", (mattemill, *job), 2, output),
            Contender(f"rembg p, {output}", "rembg p", (str(rembg), "p", "-m", "u2netp", *flags), 1, output, home),
        ]
    return [
        *made,
        Contender("Ray Data, one pool, matte", "Ray Data", (*ray_data, "--placement", "fused"), 2, "matte"),
        Contender("Ray Data, a pool a stage, matte", "Ray Data", (*ray_data, "--placement", "split"), 2, "matte"),
        Contender("plain loop, 1 thread, matte", "plain loop", (*plain, "--threads", "1"), 2, "matte"),
        Contender("plain loop, all threads, matte", "plain loop", (*plain, "--threads", "0"), 2, "matte"),
    ]


def rembg_command(python: Path | None) -> Path:
    """The rembg command of the given Python's environment, or of one that is made now."""
    if python is None:
        folder = REPOSITORY / "build" / "venv-rembg"
        python = folder / "bin" / "python"
        if not (folder / "bin" / "rembg").is_file():
            say(f"making {folder} with rembg[cli]")
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            install = [str(python), "-m", "pip", "install", "--quiet", "rembg[cli]", "onnxruntime"]
            subprocess.run(install, check=True, stdout=sys.stderr)
    command = python.parent / "rembg"
    if not command.is_file():
        raise SystemExit(f"{command} is not there: install rembg[cli] and onnxruntime beside {python}")
    return command


def rembg_version(command: Path) -> str:
    """Of the package beside the command."""
    asked = "from importlib.metadata import version as v; print(v('rembg'), 'with onnxruntime', v('onnxruntime'))"
    return subprocess.run(
        [str(command.parent / "python"), "-c", asked], capture_output=True, text=True, check=True
    ).stdout.strip()


def run_once(contender: Contender, photos: Path, out: Path, log: Path) -> tuple[Timeline, dict[str, float]]:
    """Run a contender on a folder; asserts one output a photograph."""
    shutil.rmtree(out, ignore_errors=True)
    environment = {**os.environ, **contender.environment}
    with CoreSeconds() as used, log.open("w", encoding="utf-8") as written:
        began = time.time()
        done = subprocess.run(
            [*contender.command, str(photos), str(out)], env=environment, stdout=written, stderr=written, check=False
        )
        ended = time.time()
    if done.returncode != 0:
        raise SystemExit(f"{contender.name} ended with {done.returncode}:\n{log.read_text(encoding='utf-8')[-3000:]}")
    timeline = of_files(began, ended, out)
    wanted = len(list(photos.iterdir()))
    assert timeline.images == wanted, f"{contender.name}: {timeline.images} outputs of {wanted} photographs"
    return timeline, used.by_kind()


def measure(arguments: Namespace, scratch: Path) -> dict[str, Any]:
    """All rounds of all contenders, and the limit before and after each round."""
    found = machine()
    photos, home = scratch / "photos", scratch / "rembg-home"
    photos.mkdir()
    home.mkdir()
    for name, data in photographs(arguments.images):
        (photos / name).write_bytes(data)
    shutil.copy(fetch_model("u2netp"), home / "u2netp.onnx")
    settings = scratch / "job.toml"
    settings.write_text("confidence_threshold = 0.0\n", encoding="utf-8")  # every photograph goes all the way
    rembg = rembg_command(arguments.rembg_python)
    warm = scratch / "warm"
    warm.mkdir()
    shutil.copy(next(photos.iterdir()), warm)
    everyone = [c for c in contenders(rembg, home, settings) if not arguments.only or arguments.only in c.name]
    for contender in everyone:
        if contender.kind == "rembg p":
            run_once(contender, warm, scratch / "out", scratch / "log")
    runs: list[dict[str, Any]] = []
    with NetworkLimit() as limit:
        limits = [limit.measure()]
        for number in range(arguments.rounds):
            for contender in everyone if number % 2 == 0 else reversed(everyone):
                timeline, used = run_once(contender, photos, scratch / "out", scratch / "log")
                run = {
                    "contender": contender.name,
                    "round": number,
                    "images": timeline.images,
                    "passes_per_image": contender.passes,
                    "steady_images_per_second": round(timeline.steady_rate(), 3),
                    "whole_images_per_second": round(timeline.whole_rate, 3),
                    "seconds": round(timeline.seconds, 2),
                    "first_output_seconds": round(timeline.first, 2),
                    "core_seconds": used,
                }
                runs.append(run)
                say(
                    f"round {number} {contender.name}: {run['steady_images_per_second']} images/s steady, "
                    f"{run['whole_images_per_second']} whole, cores {used}"
                )
            limits.append(limit.measure())
    allowed = median([speed.passes for speed in limits])
    table = []
    for contender in everyone:
        of_it = [run for run in runs if run["contender"] == contender.name]
        steady = median([run["steady_images_per_second"] for run in of_it])
        whole = median([run["whole_images_per_second"] for run in of_it])
        table.append(
            {
                "contender": contender.name,
                "output": contender.output,
                "passes_per_image": contender.passes,
                "steady_images_per_second": round(steady, 3),
                "whole_images_per_second": round(whole, 3),
                "steady_passes_per_second": round(steady * contender.passes, 3),
                "whole_passes_per_second": round(whole * contender.passes, 3),
                "steady_of_the_networks_limit": round(steady * contender.passes / allowed, 3),
                "first_output_seconds": median([run["first_output_seconds"] for run in of_it]),
            }
        )
    return {
        "machine": found,
        "rembg": rembg_version(rembg),
        "photographs": f"{arguments.images} JPEGs of {WIDTH}x{HEIGHT}, local folders in and out",
        "model": "u2netp",
        "vcpus": found["cores"],
        "gpus": 0,
        "target": "mattemill ahead of all others in passes a second",
        "limit_passes_per_second": [round(speed.passes, 3) for speed in limits],
        "table": table,
        "does": DOES,
        "runs": runs,
    }


def main() -> None:
    """Run it from the command line."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=48)
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--rembg-python", type=Path, help="Python of an environment that has rembg[cli]")
    options.add_argument("--only", default="", help="contenders whose name holds this text")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="mattemill-peers-") as scratch:
        result = measure(arguments, Path(scratch))
    lines = [machine_line(result["machine"]), f"rembg {result['rembg']}; {result['photographs']}"]
    lines.append(f"{'':34} passes  images/s steady  whole   passes/s steady  whole")
    for row in result["table"]:
        lines.append(
            f"{row['contender']:34} {row['passes_per_image']:6} {row['steady_images_per_second']:16.3f} "
            f"{row['whole_images_per_second']:6.3f} {row['steady_passes_per_second']:17.3f} "
            f"{row['whole_passes_per_second']:6.3f}"
        )
    finish("peers", result, arguments, lines)


if __name__ == "__main__":
    main()
