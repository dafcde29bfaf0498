"""How long until something is there: from a command to its first matte, and `make demo` by phases.

    python benchmarks/first_matte.py [--runs 3] [--demo] [--json] [--save]

Commands are started as a user starts them, in a new process each; the embedded S3 server is up before. The first matte
is there when its object can be listed in the sink. `mattemill cut` is the same for one photograph without Ray.

--demo also clones this repository's HEAD into a temporary folder and times `make` for the packages and `make demo`
there, with an empty cache of networks: what a new user waits for. It downloads the packages (pip's cache helps where
there is one).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from bench import REPOSITORY, finish, machine, machine_line, median, parser, say
from photographs import HEIGHT, WIDTH, photographs

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.models.fetch import fetch_model
from mattemill.pipeline.storage.embedded_server import EmbeddedS3
from mattemill.pipeline.storage.location import Location, open_store

BUCKET = "bench"
MATTEMILL = str(Path(sys.executable).parent / "mattemill")
PHASE = re.compile(r"^\s*(\S.*?)\s{2,}(?:(\d+) min )?([\d.]+) s\s*$")


def first_of_a_run(number: int, images: int) -> dict[str, Any]:
    """`mattemill run` on S3: seconds to the first object in the sink and to the end, and the phases of its start."""
    prefix = f"out-{number}/"
    store = open_store(Location.parse(f"s3://{BUCKET}/"), JobConfig())
    command = [MATTEMILL, "run", "--json", "--quiet", f"s3://{BUCKET}/photos/", f"s3://{BUCKET}/{prefix}"]
    first = None
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            if first is None and any(entry.key.endswith(".png") for entry in store.list(prefix)):
                first = time.monotonic() - began
            time.sleep(0.05 if first is None else 0.2)
        ended = time.monotonic() - began
        said.seek(0)
        summary = json.loads(said.read())
    assert process.returncode == 0, process.returncode
    assert first is not None, "no matte was seen before the end"
    assert summary["images"] == images, summary
    return {
        "first_matte_seconds": round(first, 2),
        "seconds": round(ended, 2),
        "setup_seconds": summary["setup_seconds"],
    }


def one_cut(photo: Path) -> float:
    """Seconds of `mattemill cut`, from the command to its end."""
    out = photo.with_suffix(".cut.png")
    out.unlink(missing_ok=True)
    began = time.monotonic()
    subprocess.run([MATTEMILL, "cut", str(photo), "-o", str(out)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    assert out.stat().st_size > 0
    return seconds


def demo(scratch: Path) -> dict[str, float]:
    """`make demo` in a fresh clone, by phases, in seconds."""
    clone = scratch / "clone"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
    environment = {**os.environ, "MATTEMILL_MODELS": str(scratch / "networks")}
    environment = {k: v for k, v in environment.items() if not k.startswith("AWS_") and k != "VIRTUAL_ENV"}
    phases = {}
    began = time.monotonic()
    subprocess.run(
        ["make", ".venv/.demo", f"PYTHON={sys.executable}"], cwd=clone, env=environment, check=True, stdout=sys.stderr
    )
    phases["environment and packages"] = round(time.monotonic() - began, 1)
    began = time.monotonic()
    done = subprocess.run(
        ["make", "demo"], cwd=clone, env=environment, check=False, stdout=subprocess.PIPE, text=True, stderr=sys.stderr
    )
    whole = time.monotonic() - began
    if done.returncode != 0:
        raise SystemExit(f"make demo ended with {done.returncode}:\n{done.stdout[-3000:]}")
    for line in done.stdout.splitlines():
        if (found := PHASE.match(line)) and found[1] != "in all":
            phases[found[1]] = 60.0 * int(found[2] or 0) + float(found[3])
    phases["make demo in all, packages there"] = round(whole, 1)
    assert len(phases) > 5, f"no phases were found in what the demo printed:\n{done.stdout[-3000:]}"
    assert (clone / "demo-out" / "contact-sheet.png").stat().st_size > 0
    return phases


def measure(arguments: Namespace, scratch: Path) -> dict[str, Any]:
    """All of it."""
    found = machine()
    fetch_model("u2netp")
    shots = photographs(arguments.images)
    photo = scratch / shots[0][0]
    photo.write_bytes(shots[0][1])
    cuts = [one_cut(photo) for _ in range(arguments.runs)]
    say(f"mattemill cut: {[round(seconds, 2) for seconds in cuts]} s")
    runs = []
    with EmbeddedS3([BUCKET]) as s3:
        os.environ.update(s3.environment())
        store = open_store(Location.parse(f"s3://{BUCKET}/"), JobConfig())
        for name, data in shots:
            store.put(f"photos/{name}", data, content_type="image/jpeg")
        for number in range(arguments.runs):
            runs.append(first_of_a_run(number, arguments.images))
            say(f"mattemill run {number}: {runs[-1]}")
    result: dict[str, Any] = {
        "machine": found,
        "photographs": f"{arguments.images} JPEGs of {WIDTH}x{HEIGHT}",
        "model": "u2netp",
        "vcpus": found["cores"],
        "gpus": 0,
        "cut_command_seconds": round(median(cuts), 2),
        "run_first_matte_seconds": round(median([run["first_matte_seconds"] for run in runs]), 2),
        "run_seconds": round(median([run["seconds"] for run in runs]), 2),
        "cuts": [round(seconds, 2) for seconds in cuts],
        "runs": runs,
    }
    if arguments.demo:
        result["make_demo_seconds"] = demo(scratch)
    return result


def main() -> None:
    """Run it from the command line."""
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--images", type=int, default=12)
    options.add_argument("--demo", action="store_true", help="also time `make demo` in a fresh clone")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="mattemill-first-") as scratch:
        result = measure(arguments, Path(scratch))
    lines = [
        machine_line(result["machine"]),
        f"mattemill cut, one photograph: {result['cut_command_seconds']} s",
        f"mattemill run, first matte in the sink: {result['run_first_matte_seconds']} s; "
        f"all {arguments.images}: {result['run_seconds']} s",
    ]
    lines += [f"make demo, {name}: {seconds} s" for name, seconds in result.get("make_demo_seconds", {}).items()]
    finish("first_matte", result, arguments, lines)


if __name__ == "__main__":
    main()
