"""What the metrics of a job cost its driver: updates as a job makes them, into Ray's metrics on a real local Ray.

An update is every series of the catalogue as a split job with a queue has them, and each counter has grown. Asserts how
many calls Ray's metrics got. With `ray[default]` installed Ray's agent is there as well and reads them.

    python benchmarks/metrics.py --save
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Iterator
from typing import Any

import bench

from mattemill.cluster.metrics.catalogue import BY_NAME
from mattemill.cluster.metrics.figures import Value
from mattemill.cluster.metrics.publish import EVERY, RayMetrics
from mattemill.cluster.ray_start import ray_running

STAGES = ("fetch", "detect", "segment", "matte", "store")
REASONS = ("", "missing", "truncated", "no_subject")
OF = {
    "stage": STAGES,
    "device": ("cpu",),
    "kind": ("throttled", "server", "network", "damaged"),
    "what": ("received", "deleted", "released", "extended", "lost_hold", "given_up"),
    "quantile": ("0.5", "0.95", "1"),
    "outcome": ("matte",),
    "reason": REASONS,
    "state": ("working", "starting", "silent"),
}


def update(number: int) -> Iterator[Value]:
    """Every series of the catalogue with a value that is above the one of the update before."""
    for name, metric in BY_NAME.items():
        several = [label for label in metric.labels if len(OF[label]) > 1]
        labels: dict[str, str] = {label: OF[label][0] for label in metric.labels}
        for choice in OF[several[0]] if several else ("",):
            yield Value(name, number + 1.0, {**labels, **({several[0]: choice} if several else {})})


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--updates", type=int, default=400)
    args = parser.parse_args()
    machine = bench.machine()
    calls = 0
    with ray_running(None, workers=1, gpus=0, store_bytes=100 * 2**20):
        from ray.util.metrics import Counter, Gauge

        def counted(real: Any) -> Any:
            def call(*arguments: Any) -> None:
                nonlocal calls
                calls += 1
                real(*arguments)

            return call

        for kind, method in ((Counter, "inc"), (Gauge, "set")):
            setattr(kind, method, counted(getattr(kind, method)))
        metrics = RayMetrics("benchmark")
        first = list(update(0))
        begun = time.perf_counter()
        metrics.send(first)
        making = time.perf_counter() - begun
        walls, cpus = [], []
        for number in range(1, args.updates + 1):
            begun, cpu = time.perf_counter(), time.thread_time()
            metrics.send(update(number))
            walls.append(1000 * (time.perf_counter() - begun))
            cpus.append(1000 * (time.thread_time() - cpu))
    assert calls == len(first) * (args.updates + 1), calls
    result = {
        "machine": machine,
        "series": len(first),
        "updates": args.updates,
        "calls": calls,
        "agent": importlib.util.find_spec("opentelemetry") is not None,
        "first_update_ms": round(1000 * making, 2),
        "update_ms_median": round(statistics.median(walls), 3),
        "update_ms_p95": round(statistics.quantiles(walls, n=20)[-1], 3),
        "update_cpu_ms_median": round(statistics.median(cpus), 3),
        "share_of_a_core": round(statistics.median(cpus) / 1000 / EVERY, 6),
    }
    lines = [
        bench.machine_line(machine),
        f"{result['series']} series: {result['update_ms_median']} ms an update (95 %: {result['update_ms_p95']}), "
        f"{result['update_cpu_ms_median']} ms of a core; the first {result['first_update_ms']} ms",
    ]
    bench.finish("metrics", result, args, lines)


if __name__ == "__main__":
    main()
