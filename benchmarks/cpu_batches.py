"""What batches gain on a CPU: a core's milliseconds an image and peak memory of a pass, by its number of images.

ONNX Runtime, one thread, the network's file with its batch left free. Each size runs in a process of its own, so that
its memory is its own. This is why engines on a CPU take one image at a time.

    python benchmarks/cpu_batches.py [--model u2netp] [--save]
"""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

import numpy as np
from bench import finish, machine, machine_line, parser, peak_memory

from mattemill.pipeline.engines.catalogue import recipe_of
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.engines.prepare import prepare
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.models.fetch import fetch_model

SIZES = (1, 2, 4, 8)
_IMAGES = 8  # a measurement
_REPEATS = 3  # the fastest counts: the machine may have other work


def measure(model: str, size: int) -> dict[str, Any]:
    """Of one batch size, in this process."""
    card, path = card_of(model), fetch_model(model)
    free = prepare(path, recipe_of(card, path, "tensorrt", "fp32"))
    engine = OnnxRuntimeEngine(path, outputs=card.output.names, model=free)
    batch = np.random.default_rng(0).standard_normal((size, 3, *card.input.size)).astype(np.float32)
    engine.run({card.input.name: batch})
    fastest = float("inf")
    for _ in range(_REPEATS):
        began = time.thread_time()
        for _ in range(_IMAGES // size):
            engine.run({card.input.name: batch})
        fastest = min(fastest, (time.thread_time() - began) / _IMAGES)
    peak = peak_memory()
    return {"batch": size, "core_ms_per_image": round(fastest * 1e3, 1), "peak_gb": round(peak / 1e9, 2)}


def main() -> None:
    given = parser(__doc__)
    given.add_argument("--model", default="u2netp")
    args = given.parse_args()
    context = multiprocessing.get_context("spawn")
    found, rows = machine(), []
    for size in SIZES:
        with context.Pool(1) as pool:
            rows.append(pool.apply(measure, (args.model, size)))
    lines = [machine_line(found), f"{args.model}, one thread:"]
    lines += [
        f"  batch {row['batch']}: {row['core_ms_per_image']} core ms an image, {row['peak_gb']} GB" for row in rows
    ]
    finish("cpu_batches", {"machine": found, "model": args.model, "rows": rows}, args, lines)


if __name__ == "__main__":
    main()
