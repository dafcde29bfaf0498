"""Everything that only a GPU can tell, with one command into one JSON file. Not yet run on a GPU.

    python benchmarks/gpu.py --save            # all of it, benchmarks/results/gpu.json
    python benchmarks/gpu.py --parts end_to_end --save    # some of it, benchmarks/results/gpu_end_to_end.json
    python benchmarks/gpu.py --device cpu --parts end_to_end --cases 2:matte:fused --photographs 2 --seconds 1
                                               # only to try the benchmark itself; says nothing of a GPU

Its parts, each in a process of its own, so that one that crashes costs the others nothing:
kernels: every CUDA kernel compared with NumPy, and its bytes over its time against the copy bandwidth of the same run.
engine:NAME:PRECISION: every network at hand, compared with ONNX Runtime on the CPU on photographs, then images a second
by batch, copies from and to pageable host memory included; in TensorRT without CUDA graphs and with them, in turns.
device_chain: the chain on the device against the host's way with the same engine, for both refiners, one process and no
Ray: images a second from encoded photographs to PNG, and the bytes copied from the device for an image. With its JPEGs
decoded by simplejpeg and, where nvImageCodec is installed, by that, too; both decoders alone beside it. nvImageCodec's
licence wants NVIDIA's permission before figures of it are published: ask before you commit a file that has them.
end_to_end: `run_job` from a folder to a folder, by size of the photographs, output and placement: images a second
between the 10 % and the 90 % mark, the cores that all processes took, the share of the time in which the GPU computed
(as nvidia-smi counts: at least one kernel ran), and memory. The exact number of images is asserted.

Without a GPU it says so and ends with 2; with 1 when a part has failed, whose message is then in the file.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from bench import CoreSeconds, cores, finish, machine, parser, say
from gpu_decoders import decoder_rates
from gpu_figures import (
    Sample,
    batch_rates,
    between,
    fused_over_split,
    in_turns,
    lines_of,
    parse_sample,
    repetitions,
    targets,
)
from PIL import Image

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
SIZES = {2: (1600, 1250), 12: (4000, 3125)}
"""Width and height in pixels by megapixels."""

OUTPUTS = ("matte", "cutout", "composite")
REFINERS = ("network", "guided")
PLACEMENTS = ("split", "fused")
CASES = tuple(f"{size}:{output}:{placement}" for size in SIZES for output in OUTPUTS for placement in PLACEMENTS)
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
    names = ["kernels", *engines, "device_chain", "end_to_end"]
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


def device_chain(given: argparse.Namespace) -> dict[str, Any]:
    """Both ways for every refiner and output; on the CPU, only to try it, in emulation and with small photographs."""
    from mattemill.kernels.cuda.counted_driver import CountedDriver
    from mattemill.kernels.cuda.driver import Driver
    from mattemill.pipeline.config import JobConfig
    from mattemill.pipeline.device_chain.open_chain import open_chain
    from mattemill.pipeline.images.encode import encode
    from mattemill.pipeline.images.header import read_header
    from mattemill.pipeline.images.nvimgcodec_api import why_no_nvimgcodec
    from mattemill.pipeline.photo import ImageRef, Photo
    from mattemill.pipeline.stages.cut import CutStage
    from mattemill.pipeline.stages.stage import Done

    place = Place("cuda:0", "tensorrt", "fp16")
    if given.device == "cuda" and (lacks := find_engines().missing["tensorrt"]):
        return {"skipped": lacks}
    counted: list[CountedDriver] = []

    def over(driver: Driver) -> Driver:
        counted.append(CountedDriver(driver))
        return counted[-1]

    with tempfile.TemporaryDirectory(prefix="mattemill-gpu-") as name:
        size = SIZES[2] if given.device == "cuda" else (200, 150)
        files = [path.read_bytes() for path in _pool(Path(name) / "pool", SIZES[2], given.photographs)]
    if given.device == "cpu":
        files = [enlarged(data, size) for data in files]
    photos = [Photo(ImageRef(str(n), ""), read_header(d), np.frombuffer(d, np.uint8)) for n, d in enumerate(files)]
    items = [(photo,) for photo in photos]
    lacks_codec = why_no_nvimgcodec()
    rows = []
    for refine, output in itertools.product(REFINERS, OUTPUTS):
        config = JobConfig(
            model=given.model, output=output, refine=refine, device=given.device, confidence_threshold=0.0
        )
        host = CutStage(config)
        device = open_chain(config, place, over=over) if given.device == "cuda" else _emulated(config, over)

        def by_host(stage: Any = host) -> list[bytes]:
            return [encode(r.output.pixels, "png") for r in stage(items) if isinstance(r, Done)]

        def by_device(chain: Any = device) -> list[bytes]:
            return [r.output.png() for r in chain(items) if isinstance(r, Done)]

        host_rate, host_made = _rate(by_host, given.seconds, len(items))
        counted[-1].forget()
        device_rate, device_made = _rate(by_device, given.seconds, len(items))
        bytes_in, bytes_out = (sum(copied) for copied in (counted[-1].copied_in, counted[-1].copied_out))
        decoded: dict[str, Any] = {"gpu_decode_images_per_second": None}
        if not lacks_codec:
            asked = replace(config, device_chain="on", gpu_decode="on")
            decoding = open_chain(asked, place, over=over) if given.device == "cuda" else _emulated(asked, over)
            counted[-1].forget()
            decode_rate, decode_made = _rate(partial(by_device, decoding), given.seconds, len(items))
            assert decode_made[0] == device_made[0], (decode_made, device_made)
            decoded = {
                "gpu_decode_images_per_second": round(decode_rate, 2),
                "gpu_decode_bytes_in_per_image": round(sum(counted[-1].copied_in) / decode_made[1]),
            }
        rows.append(
            {
                "refine": refine,
                "output": output,
                "width": size[0],
                "height": size[1],
                "photographs": len(items),
                "cut": device_made[0],
                "cut_by_host": host_made[0],
                "host_images_per_second": round(host_rate, 2),
                "device_images_per_second": round(device_rate, 2),
                "bytes_in_per_image": round(bytes_in / device_made[1]),
                "bytes_out_per_image": round(bytes_out / device_made[1]),
                **decoded,
            }
        )
        say(f"device chain, {refine}, {output}: {device_rate:.1f} images/s, the host's way {host_rate:.1f}")
    return {
        "model": given.model,
        "place": str(place) if given.device == "cuda" else "cpu, emulated",
        "decoders": {"skipped": lacks_codec}
        if lacks_codec
        else decoder_rates(photos, partial(_rate, seconds=given.seconds, images=len(photos)), given.device),
        "rows": rows,
    }


def _emulated(config: Any, over: Any) -> Any:
    """The chain on the CPU driver; where asked for, with nvImageCodec's CPU backend."""
    from mattemill.kernels.cuda.cpu_driver import CpuDriver
    from mattemill.kernels.cuda.device import Device
    from mattemill.pipeline.device_chain.device_chain import DeviceChain
    from mattemill.pipeline.device_chain.device_decoder import DeviceDecoder
    from mattemill.pipeline.device_chain.device_matting import lines_shapes
    from mattemill.pipeline.device_chain.device_network import DeviceNetwork, HostMemoryEngine
    from mattemill.pipeline.engines.open_engine import open_engine
    from mattemill.pipeline.models.cache import model_path
    from mattemill.pipeline.models.cards import card_of
    from mattemill.pipeline.models.load import matting_card

    card, matting = card_of(config.model), None
    device = Device(over(CpuDriver()))
    if config.refines_by_network:
        small = matting_card(config.refine)
        matting = HostMemoryEngine(open_engine(small, model_path(small.name)), lines_shapes)
    engine = HostMemoryEngine(open_engine(card, model_path(card.name)), {card.output.names[0]: (1, *card.input.size)})
    network = DeviceNetwork(card, engine, device)
    decoder = DeviceDecoder(device, None) if config.gpu_decode == "on" else None
    return DeviceChain(config, device, network, network, matting=matting, decoder=decoder)


def _rate(run: Callable[[], list[Any]], seconds: float, images: int) -> tuple[float, tuple[int, int]]:
    """Images a second after one run to warm up; how many files a run made, and images of all runs, the first too."""
    made = len(run())
    began, runs = time.perf_counter(), 0
    while runs == 0 or time.perf_counter() - began < seconds:
        again = len(run())
        assert again == made, (again, made)
        runs += 1
    return runs * images / (time.perf_counter() - began), (made, (runs + 1) * images)


def end_to_end(given: argparse.Namespace) -> dict[str, Any]:
    """All cases that are asked for, photographs of one size after the other."""
    runs = []
    with tempfile.TemporaryDirectory(prefix="mattemill-gpu-") as name:
        folder = Path(name)
        pools: dict[str, list[Path]] = {}
        for case in given.cases.split(",") if given.cases else CASES:
            size, output, placement = case.split(":")
            if size not in pools:
                pools[size] = _pool(folder / f"{size}mp", SIZES[int(size)], given.photographs)
            run = {"megapixels": int(size), **_run(folder, pools[size], given, output, placement)}
            runs.append(run)
            say(f"{size} MP {output} {placement}: {run['steady_images_per_second']} images/s")
    return {"model": given.model, "from": "a folder to a folder on the same disk", "cores": cores(), "runs": runs}


def _pool(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """Photographs of a size that all differ."""
    from photographs import photographs

    folder.mkdir()
    made = []
    for name, data in photographs(count):
        made.append(folder / name)
        made[-1].write_bytes(data if size == SIZES[2] else enlarged(data, size))
    return made


def enlarged(data: bytes, size: tuple[int, int]) -> bytes:
    """A JPEG at another size, (width, height), with grain, without which it would decode too fast."""
    with Image.open(io.BytesIO(data)) as image:
        large = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), np.int16)
    grain = np.random.default_rng(0).normal(0.0, 3.0, large.shape[:2]).astype(np.int16)[..., None]
    out = io.BytesIO()
    Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8)).save(out, "jpeg", quality=88)
    return out.getvalue()


def _run(folder: Path, pool: list[Path], given: argparse.Namespace, output: str, placement: str) -> dict[str, Any]:
    """One case: a short job to learn its rate, then one of about so many seconds."""
    from timeline import of_counts

    from mattemill.cluster.job import run_job
    from mattemill.cluster.progress import Progress
    from mattemill.pipeline.config import JobConfig

    config = JobConfig(
        model=given.model, output=output, placement=placement, device=given.device, confidence_threshold=0.0
    )

    def job(count: int) -> tuple[Any, Any, CoreSeconds, list[Sample], int]:
        """Summary, timeline, core seconds, samples of the GPU, and the most bytes of the host that it took."""
        with tempfile.TemporaryDirectory(dir=folder) as name:
            source, sink = Path(name) / "in", Path(name) / "out"
            source.mkdir()
            for number in range(count):
                os.link(pool[number % len(pool)], source / f"{number:06d}.jpg")
            seen: list[tuple[float, int]] = []

            def watch(progress: Progress) -> None:
                seen.append((time.monotonic(), progress.done))
                free.append(_available())

            free = [_available()]
            with CoreSeconds(0.5) as used, _sampled() as samples:
                began = time.monotonic()
                summary = run_job(str(source), str(sink), config, on_progress=watch)
                ended = time.monotonic()
            assert summary.images == summary.cut == count, (summary.images, summary.cut, summary.failed)
            assert len(list(sink.rglob("*.png"))) == count
            return summary, of_counts(began, ended, seen), used, samples, free[0] - min(free)

    _, short, *_ = job(len(pool))
    count = repetitions(short.whole_rate, given.seconds, 2 * len(pool))
    summary, timeline, used, samples, host = job(count)
    first, last, _ = timeline.steady_part()
    by_kind = used.by_kind(first, last)
    busy, memory = between(samples, first, last)
    return {
        "output": output,
        "placement": placement,
        "images": timeline.images,
        "seconds": round(timeline.seconds, 2),
        "steady_images_per_second": round(timeline.steady_rate(), 2),
        "whole_images_per_second": round(timeline.whole_rate, 2),
        "cores_used": round(sum(by_kind.values()) / max(1e-9, last - first), 2),
        "core_seconds": by_kind,
        "gpu_busy": None if busy is None else round(busy, 3),
        "gpu_memory_bytes": memory,
        "gpu_samples": len(samples),
        "host_memory_bytes": host,
        "devices": dict(summary.devices),
        "workers": dict(summary.workers),
        "setup_seconds": {name: round(value, 2) for name, value in summary.setup_seconds.items()},
        "retries": summary.retries,
        "spilled_bytes": summary.spilled_bytes,
    }


@contextmanager
def _sampled() -> Iterator[list[Sample]]:
    """What nvidia-smi says of the first GPU, four times a second; nothing where it is not installed."""
    samples: list[Sample] = []
    command = ["nvidia-smi", "-i", "0", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    try:
        process = subprocess.Popen([*command, "-lms", "250"], stdout=subprocess.PIPE, text=True)
    except OSError:
        yield samples
        return
    assert process.stdout is not None
    said = process.stdout

    def listen() -> None:
        for line in said:
            if (sample := parse_sample(time.monotonic(), line)) is not None:
                samples.append(sample)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        process.terminate()
        process.wait()
        thread.join()


def _available() -> int:
    """Bytes of the machine's memory that could be had now."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    cv2.setNumThreads(1)
    sys.exit(main())
