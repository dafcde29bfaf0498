"""What `gpu.py` makes of what it measured: pure, tested without a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

KERNEL_SHARE = 0.70
"""Of the copy bandwidth of the same run that every kernel should reach."""

IMAGES_A_SECOND = 400.0
"""End to end on one H200 with photographs of 2 MP, a u2net-class network and 16 cores."""

BUSY = 0.85
"""Of the time that the GPU, or the cores, whichever limits, should work."""

CORES = 16
"""With which the target of images a second is meant."""

Row = Mapping[str, Any]
Sample = tuple[float, float, float]
"""(moment, share of the time in which the GPU computed 0..1, bytes of its memory in use)."""


def parse_sample(moment: float, line: str) -> Sample | None:
    """A line of `nvidia-smi --query-gpu=utilization.gpu,memory.used --format=csv,noheader,nounits`, in % and MiB.

    None for a line that has no figures ('[N/A], ...').
    """
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None
    return moment, int(fields[0]) / 100, float(int(fields[1]) << 20)


def between(samples: Sequence[Sample], first: float, last: float) -> tuple[float | None, int | None]:
    """(mean share of the time in which the GPU computed, most bytes in use) between two moments; None without samples.

    nvidia-smi counts the time in which at least one kernel ran, however little of the GPU it filled.
    """
    chosen = [sample for sample in samples if first <= sample[0] <= last]
    if not chosen:
        return None, None
    return sum(share for _, share, _ in chosen) / len(chosen), int(max(used for _, _, used in chosen))


def repetitions(rate: float, seconds: float, least: int) -> int:
    """How many images a run of so many seconds takes at a rate; at least `least`."""
    return max(least, round(rate * seconds))


def in_turns(
    ways: Mapping[str, Callable[[], None]],
    seconds: float,
    least: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of single calls of each way, one after the other, so that whatever changes meanwhile falls on all.

    seconds: of all of them together. least: calls of each.
    """
    taken: dict[str, list[float]] = {way: [] for way in ways}
    until = clock() + seconds
    while clock() < until or any(len(found) < least for found in taken.values()):
        for way, call in ways.items():
            began = clock()
            call()
            taken[way].append(clock() - began)
    return taken


def batch_rates(times: Mapping[int, Sequence[float]]) -> list[dict[str, Any]]:
    """Rows of images a second by batch size, from the seconds of single passes (the median of them counts)."""
    rows = []
    for batch, seconds in sorted(times.items()):
        ordered = sorted(seconds)
        middle = ordered[len(ordered) // 2]
        rows.append(
            {
                "batch": batch,
                "passes": len(ordered),
                "ms_a_pass": round(middle * 1e3, 4),
                "images_per_second": round(batch / middle, 2),
            }
        )
    return rows


def fused_over_split(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rate of the fused placement over that of the split one, for what both were measured on."""
    by_case: dict[tuple[Any, Any], dict[str, float]] = {}
    for row in rows:
        case = (row["megapixels"], row["output"])
        by_case.setdefault(case, {})[row["placement"]] = row["steady_images_per_second"]
    return [
        {"megapixels": case[0], "output": case[1], "fused_over_split": round(rates["fused"] / rates["split"], 3)}
        for case, rates in by_case.items()
        if rates.keys() >= {"fused", "split"} and rates["split"] > 0
    ]


def targets(parts: Mapping[str, Any], cores: int) -> list[dict[str, Any]]:
    """What was aimed at, what was found, and whether that is met; None where it was not measured."""
    kernels = parts.get("kernels", {}).get("kernels", [])
    shares = {row["kernel"]: row["share_of_copy"] for row in kernels if "share_of_copy" in row}
    slowest = min(shares, key=lambda name: shares[name]) if shares else None
    ends = [row for row in parts.get("end_to_end", {}).get("runs", []) if row["megapixels"] == 2]
    best = max(ends, key=lambda row: row["steady_images_per_second"], default=None)
    rate = best["steady_images_per_second"] if best else None
    busy = None
    if best is not None:
        busy = max(best["gpu_busy"] or 0.0, best["cores_used"] / cores)
    return [
        _target(f"slowest kernel over the copy bandwidth ({slowest or 'none was timed'})", KERNEL_SHARE, _of(shares)),
        _target(f"images a second of 2 MP photographs, meant for {CORES} cores, here {cores}", IMAGES_A_SECOND, rate),
        _target("share of the time in which the GPU, or the cores, work in that run", BUSY, busy),
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines with columns of equal width; numbers to the right, None as '-'."""
    cells = [[_text(value) for value in row] for row in rows]
    widths = [max(len(row[at]) for row in [list(head), *cells]) for at in range(len(head))]
    right = [all(isinstance(row[at], int | float | None) for row in rows) for at in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [list(head), *cells]
    ]


def lines_of(result: Mapping[str, Any]) -> list[str]:
    """All of it for people."""
    parts = result["parts"]
    lines = [f"{result['gpu']['name']} ({result['gpu']['compute_capability']}), {result['machine']['cores']} cores"]
    if "passed" in (tests := parts.get("tests", {})):
        skips = sum(tests["skipped_for"].values())
        lines += ["", f"tests/gpu: {tests['passed']} passed, {len(tests['wrong'])} failed, {skips} skipped"]
        lines += [f"  skipped {count}: {why}" for why, count in tests["skipped_for"].items()]
    if kernels := parts.get("kernels", {}).get("kernels"):
        keys = ("kernel", "ms", "gb_per_s", "share_of_copy", "largest_difference")
        lines += ["", *table(keys, [[row.get(key) for key in keys] for row in kernels])]
    engines = [(name, row) for name, part in parts.items() for row in part.get("networks", [])]
    if engines:
        rows = []
        for _, row in engines:
            graphs = {one["batch"]: one["images_per_second"] for one in row.get("batches_with_graphs", ())}
            for one in row["batches"]:
                rate, with_graphs = one["images_per_second"], graphs.get(one["batch"])
                rows.append([row["network"], row["place"], row["mean_error"], one["batch"], rate, with_graphs])
        lines += ["", *table(("network", "engine", "mean error", "batch", "images/s", "with graphs"), rows)]
        lines += [
            f"NO GRAPHS {row['network']} {row['place']}: {row['no_graphs']}" for _, row in engines if row["no_graphs"]
        ]
    if rows := parts.get("device_chain", {}).get("rows"):
        keys = (
            "refine",
            "output",
            "gpu_decode_images_per_second",
            "device_images_per_second",
            "host_images_per_second",
            "bytes_in_per_image",
            "bytes_out_per_image",
        )
        lines += ["", *table(keys, [[row[key] for key in keys] for row in rows])]
    if runs := parts.get("end_to_end", {}).get("runs"):
        keys = ("megapixels", "output", "placement", "steady_images_per_second", "cores_used", "gpu_busy")
        lines += ["", *table(keys, [[row[key] for key in keys] for row in runs])]
    left_out = parts.get("end_to_end", {}).get("left_out", {})
    lines += [f"NOT MEASURED {case}: {why}" for case, why in left_out.items()]
    lines += ["", *table(("target", "wanted", "found", "met"), [list(row.values()) for row in result["targets"]])]
    failed = [f"{name}: {part['failed']}" for name, part in parts.items() if "failed" in part]
    skipped = [f"{name}: {part['skipped']}" for name, part in parts.items() if "skipped" in part]
    lines += ["", *(f"NOT MEASURED {text}" for text in skipped), *(f"FAILED {text}" for text in failed)]
    return lines


def _of(shares: Mapping[str, float]) -> float | None:
    return min(shares.values(), default=None)


def _target(what: str, wanted: float, found: float | None) -> dict[str, Any]:
    met = None if found is None else found >= wanted
    return {"target": what, "wanted": wanted, "found": None if found is None else round(found, 3), "met": met}


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
