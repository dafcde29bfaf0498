"""Whole jobs on a GPU, from a folder to a folder: a part of `gpu.py`."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from bench import CoreSeconds, cores, say
from gpu_figures import Sample, between, parse_sample, repetitions
from PIL import Image

from mattemill.pipeline.engines.place import find_engines

SIZES = {2: (1600, 1250), 12: (4000, 3125)}
"""Width and height in pixels by megapixels."""

OUTPUTS = ("matte", "cutout", "composite")
PLACEMENTS = ("split", "fused", "chain")
"""chain: fused, and the cut in the device chain."""

CASES = tuple(f"{size}:{output}:{placement}" for size in SIZES for output in OUTPUTS for placement in PLACEMENTS)


def end_to_end(given: argparse.Namespace) -> dict[str, Any]:
    """All cases that are asked for, photographs of one size after the other."""
    runs: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    lacks = "nothing but a try" if given.device == "cpu" else find_engines().missing["tensorrt"]
    with tempfile.TemporaryDirectory(prefix="mattemill-gpu-") as name:
        folder = Path(name)
        pools: dict[str, list[Path]] = {}
        for case in given.cases.split(",") if given.cases else CASES:
            size, output, placement = case.split(":")
            if placement == "chain" and lacks:
                left_out[case] = f"the device chain needs TensorRT on a GPU: {lacks}"
                continue
            if size not in pools:
                pools[size] = pool_of(folder / f"{size}mp", SIZES[int(size)], given.photographs)
            run = {"megapixels": int(size), **_run(folder, pools[size], given, output, placement)}
            runs.append(run)
            say(f"{size} MP {output} {placement}: {run['steady_images_per_second']} images/s")
    return {
        "model": given.model,
        "from": "a folder to a folder on the same disk",
        "cores": cores(),
        "runs": runs,
        "left_out": left_out,
    }


def pool_of(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
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
        model=given.model,
        output=output,
        placement="split" if placement == "split" else "fused",
        device_chain="on" if placement == "chain" else "off",
        device=given.device,
        confidence_threshold=0.0,
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
