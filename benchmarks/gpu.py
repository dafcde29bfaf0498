"""Everything that only a GPU can tell, with one command into one JSON file. Not yet run on a GPU.

    python benchmarks/gpu.py --save            # all of it, benchmarks/results/gpu.json
    python benchmarks/gpu.py --parts end_to_end --save    # some of it, benchmarks/results/gpu_end_to_end.json
    python benchmarks/gpu.py --device cpu --parts end_to_end --cases 2:matte:fused --photographs 2 --seconds 1
                                               # only to try the benchmark itself; says nothing of a GPU

Its parts, each in a process of its own, so that one that crashes costs the others nothing:
tests: tests/gpu.
kernels: every CUDA kernel compared with NumPy, and its bytes over its time against the copy bandwidth of the same run.
engine:NAME:PRECISION: every network at hand, compared with ONNX Runtime on the CPU on photographs, then images a second
by batch, copies from and to pageable host memory included; in TensorRT without CUDA graphs and with them, in turns.
device_chain: the chain on the device against the host's way with the same engine, for both refiners, one process and no
Ray: images a second from encoded photographs to PNG, and the bytes copied from the device for an image. With its JPEGs
decoded by simplejpeg and, where nvImageCodec is installed, by that, too; both decoders alone beside it. nvImageCodec's
licence wants NVIDIA's permission before figures of it are published: ask before you commit a file that has them.
end_to_end: `run_job` from a folder to a folder, by size of the photographs, output and placement (split; fused; chain,
which is fused in the device chain): images a second between the 10 % and the 90 % mark, the cores that all processes
took, the share of the time in which the GPU computed (as nvidia-smi counts: at least one kernel ran), and memory. The
exact number of images is asserted.

Without a GPU it says so and ends with 2; with 1 when a part has failed, whose message is then in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from bench import REPOSITORY, cores, finish, machine, parser, say
from gpu_chain import device_chain
from gpu_figures import batch_rates, fused_over_split, in_turns, lines_of, targets
from gpu_jobs import CASES, end_to_end
from gpu_tests import gpu_tests

from mattemill.pipeline.engines.gpus import find_gpus
from mattemill.pipeline.engines.place import EngineName, Place, find_engines
from mattemill.pipeline.errors import EngineError

BATCHES = (1, 2, 4, 8, 16)
BATCH_SECONDS = 3.0
NETWORKS = ("u2netp", "u2net", "isnet", "mattenet")
ENGINES: tuple[tuple[EngineName, str], ...] = (
    ("onnxruntime", "fp32"),
    ("tensorrt", "fp32"),
    ("tensorrt", "fp16"),
    ("tensorrt_rtx", "fp32"),
    ("tensorrt_rtx", "fp16"),
)
_PACKAGES = ("tensorrt", "tensorrt-rtx", "onnxruntime-gpu", "pycuda", "cuda-bindings", "cupy-cuda13x", "cvcuda-cu12")
_PACKAGES += ("nvidia-nvimgcodec-cu13", "nvidia-nvjpeg")
_PART_SECONDS = 3600


def main() -> int:
    """Run it from the command line."""
    options = parser(__doc__)
    options.add_argument("--parts", help="only these, separated by commas; default: all")
    options.add_argument("--seconds", type=float, default=20.0, help="of a run end to end (20)")
    options.add_argument(
        "--cases", help="end to end only these, as megapixels:output:placement, separated by commas; default: all"
    )
    options.add_argument("--photographs", type=int, default=20, help="that differ; a run has each many times (20)")
    options.add_argument("--model", default="u2netp", help="network of the runs end to end (u2netp)")
    options.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the benchmark itself")
    options.add_argument("--one", help=argparse.SUPPRESS)
    given = options.parse_args()
    found = find_gpus()
    if given.device == "cuda" and not found.gpus:
        print(f"benchmarks/gpu.py measures a GPU, and there is none: {found.problem}", file=sys.stderr)
        return 2
    if given.one:
        result_file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # what libraries and workers print is none of the result
        with result_file:
            json.dump(_part(given.one, given), result_file)
        return 0
    engines = [f"engine:{engine}:{precision}" for engine, precision in ENGINES]
    names = ["tests", "kernels", *engines, "device_chain", "end_to_end"]
    if given.parts:
        unknown = set(given.parts.split(",")) - set(names)
        if unknown:
            print(f"--parts: {', '.join(sorted(unknown))} is not known; known are {', '.join(names)}", file=sys.stderr)
            return 2
        names = given.parts.split(",")
    unknown = set((given.cases or "").split(",")) - {"", *CASES}
    if unknown:
        print(f"--cases: {', '.join(sorted(unknown))} is not known; known are {', '.join(CASES)}", file=sys.stderr)
        return 2
    result = whole({name: _apart(name, given) for name in names})
    finish(file_name(given.device, given.parts), result, given, lines_of(result))
    return 1 if any("failed" in part for part in result["parts"].values()) else 0


def file_name(device: str, parts: str | None) -> str:
    """Of the result: some parts, or a trial without a GPU, never stand in the place of the whole."""
    some = f"_{parts.replace(':', '_').replace(',', '_')}" if parts else ""
    return f"gpu{some}" if device == "cuda" else f"gpu{some}_tried_on_cpu"


def whole(parts: dict[str, Any]) -> dict[str, Any]:
    """The file: machine, GPU, versions, parts, targets."""
    found = find_gpus()
    gpu = found.gpus[0] if found.gpus else None
    return {
        "machine": machine(),
        "gpu": {
            "name": gpu.name if gpu else "no GPU",
            "compute_capability": gpu.compute_capability if gpu else "-",
            "memory_bytes": gpu.memory_bytes if gpu else 0,
            "driver_for_cuda": found.cuda_version,
        },
        "versions": {package: _version(package) for package in _PACKAGES},
        "parts": parts,
        "fused_over_split": fused_over_split(parts.get("end_to_end", {}).get("runs", [])),
        "targets": targets(parts, cores()),
    }


def _apart(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """One part in a process of its own; what goes wrong there is in the result."""
    say(name)
    if name == "kernels":
        command = [sys.executable, str(Path(__file__).with_name("cuda_kernels.py")), "--driver", "gpu", "--json"]
    else:
        command = [sys.executable, __file__, "--one", name, "--seconds", str(given.seconds)]
        command += ["--model", given.model, "--device", given.device, "--photographs", str(given.photographs)]
        command += ["--cases", given.cases] if given.cases else []
    try:
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=_PART_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"took over {_PART_SECONDS} seconds"}
    return part_result(ended.returncode, ended.stdout)


def part_result(code: int, said: str) -> dict[str, Any]:
    """What a part's process printed, or how it ended when it failed."""
    start = said.find("{")
    if code != 0 or start < 0:
        return {"failed": f"its process ended with {code}; its messages are on stderr"}
    found: dict[str, Any] = json.loads(said[start:])
    return found


def _part(name: str, given: argparse.Namespace) -> dict[str, Any]:
    if name == "tests":
        return gpu_tests(REPOSITORY)
    if name == "end_to_end":
        return end_to_end(given)
    if name == "device_chain":
        return device_chain(given)
    _, engine, precision = name.split(":")
    place = Place("cuda:0", engine, precision)  # type: ignore[arg-type]
    lacks = find_engines().missing[place.engine]
    return {"skipped": lacks} if lacks else {"networks": [row for name in NETWORKS if (row := _network(name, place))]}


def _network(name: str, place: Place) -> dict[str, Any] | None:
    """Parity and rates of one network in one engine; None when its file was not fetched."""
    from mattemill.pipeline.engines.open_engine import PHOTOGRAPHS, open_engine
    from mattemill.pipeline.engines.parity import cases_of, check_parity, read_photographs
    from mattemill.pipeline.models.cache import is_fetched, model_path
    from mattemill.pipeline.models.cards import card_of

    card = card_of(name)
    if not is_fetched(card):
        return None
    say(f"{name} in {place}")
    began = time.monotonic()
    engine = open_engine(card, model_path(name), replace(place, graphs="off"))
    opened = time.monotonic() - began
    cases = cases_of(card, model_path(name), read_photographs(PHOTOGRAPHS))
    parity = check_parity(engine, cases, gpu=place.device, name=name)
    ways: dict[str, Any] = {"batches": engine}
    no_graphs = f"only TensorRT has them, not {place.engine}"
    if place.engine == "tensorrt":
        try:
            ways["batches_with_graphs"] = open_engine(card, model_path(name), replace(place, graphs="on"))
            no_graphs = "none could be made: its messages say why"
        except EngineError as error:
            no_graphs = str(error)
    times: dict[str, dict[int, list[float]]] = {way: {} for way in ways}
    for batch in BATCHES:
        feed = {key: np.concatenate([value] * batch) for key, value in cases[0].inputs.items()}
        rows = batch * next(iter(cases[0].outputs.values())).shape[0]

        def one_pass(engine: Any, feed: Any = feed, rows: int = rows) -> None:
            assert {value.shape[0] for value in engine.run(feed).values()} == {rows}, (name, rows)

        passes = {way: partial(one_pass, engine) for way, engine in ways.items()}
        for run in [*passes.values()] * 3:  # the second becomes a graph
            run()
        for way, taken in in_turns(passes, BATCH_SECONDS * len(ways)).items():
            times[way][batch] = taken
    if getattr(ways.get("batches_with_graphs"), "graphs_held", 0):
        no_graphs = ""
    return {
        "network": name,
        "place": str(place),
        "input": [list(value.shape[1:]) for value in cases[0].inputs.values()],
        "seconds_to_open": round(opened, 2),
        "mean_error": float(f"{parity.mean_error:.3g}"),
        "worst_error": float(f"{parity.worst_error:.3g}"),
        "compared_on": parity.inputs,
        "no_graphs": no_graphs,
        **{way: batch_rates(taken) for way, taken in times.items()},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    cv2.setNumThreads(1)
    sys.exit(main())
