"""How a plan is put to a person, and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from mattemill.cluster.cli import say
from mattemill.cluster.planning.assumptions import Assumptions
from mattemill.cluster.planning.estimate import Estimate
from mattemill.cluster.planning.night import Night
from mattemill.cluster.planning.prices import Prices
from mattemill.cluster.planning.rates import Rates


def plan_text(
    plan: Estimate,
    rates: Rates,
    prices: Prices,
    assume: Assumptions,
    night: Night | None = None,
    seed: int = 0,
    took: float = 0.0,
) -> str:
    """The plan as tables, with everything that it supposes. took: CPU seconds of the simulation."""
    wanted, node, asked = plan.wanted, plan.node, plan.requests
    gpus = f" and {say.count(wanted.gpus, 'GPU')}" if wanted.gpus else ""
    workers = ", ".join(f"{name} {count}" for name, count in node.workers.items())
    deadline = f" within {say.seconds(wanted.deadline)}" if math.isfinite(wanted.deadline) else ""
    lines = [f"{say.count(wanted.images, 'image')} of {wanted.megapixels:g} MP to {wanted.output}s{deadline}"]
    lines.append(
        say.table(
            [
                ("nodes", f"{plan.nodes:,} of {say.count(wanted.cores, 'core')}{gpus}"),
                ("time", f"{say.seconds(plan.seconds)} ({plan.hours:.2f} h), boot included"),
                ("a node does", f"{say.rate(node.images_per_second)}, held by {node.bottleneck}; workers: {workers}"),
                ("node hours", f"{plan.node_seconds / 3600:,.1f}"),
                ("read", f"{say.size(plan.moved.read)} of photographs"),
                ("written", f"{say.size(plan.moved.written)} of {wanted.output}s, {_outcomes(plan)}"),
            ]
        )
    )
    lines.append("requests to the object store")
    lines.append(
        say.table(
            [
                ("GET", f"{asked.gets:,}", f"{asked.photographs:,} photographs, {asked.packing_gets:,} when packing"),
                (
                    "PUT",
                    f"{asked.puts:,}",
                    f"{asked.outputs:,} {wanted.output}s, {asked.outcome_files:,} outcome files, "
                    f"{asked.failure_log:,} of the failure log, {asked.lease_puts:,} signs of life",
                ),
                ("LIST", f"{asked.lists:,}", f"{asked.listing:,} of the source, {asked.lease_lists:,} at commits"),
                ("DELETE", f"{asked.deletes:,}", "of packed outcome files; costs nothing"),
            ],
            right=frozenset({1}),
        )
    )
    lines.append(f"cost in {prices.currency}: {prices.note} (of {prices.date})")
    lines.append(
        say.table(
            [
                ("nodes", f"{plan.cost.nodes:,.2f}"),
                ("requests", f"{plan.cost.requests:,.2f}"),
                ("together", f"{plan.cost.total:,.2f}"),
                ("a million images", f"{plan.cost.total / wanted.images * 1e6:,.2f}"),
                ("and to keep it, a month", f"{plan.cost.storage_month:,.2f}"),
            ],
            right=frozenset({1}),
        )
    )
    if night is not None:
        lines += [night_text(plan, night, prices, seed, took)]
    lines.append("supposed")
    lines.append("\n".join(f"  - {line}" for line in assumptions(plan, rates, prices, assume, night is not None)))
    return "\n".join(lines)


def night_text(plan: Estimate, night: Night, prices: Prices, seed: int, took: float) -> str:
    """The simulation beside the formula."""
    wanted = plan.wanted
    hour = wanted.cores * prices.core_hour + wanted.gpus * prices.gpu_hour
    idle, detail = night.idle, night.detail
    share = night.repeated / wanted.images
    return "\n".join(
        [
            f"simulated with seed {seed} ({took:.0f} s of CPU)",
            say.table(
                [
                    ("", "formula", "simulation"),
                    ("hours", f"{plan.hours:.3f}", f"{night.hours:.3f}"),
                    ("nodes, replacements too", f"{plan.nodes:,}", f"{night.nodes:,}"),
                    ("node hours", f"{plan.node_seconds / 3600:,.1f}", f"{night.node_seconds / 3600:,.1f}"),
                    ("cost of the nodes", f"{plan.cost.nodes:,.2f}", f"{night.node_seconds / 3600 * hour:,.2f}"),
                ],
                right=frozenset({1, 2}),
            ),
            say.table(
                [
                    ("every image ended once", f"{night.cut:,} cut, {night.failures:,} failed"),
                    ("nodes died", f"{night.node_deaths:,}; {night.cut_offs:,} were cut off and came back"),
                    ("workers died", f"{night.worker_deaths:,}; each cost its node {night.death_seconds:.2f} s"),
                    ("slow nodes", f"{night.slow_nodes:,}"),
                    ("images done again", f"{night.repeated:,} ({share:.2%})"),
                    ("late commits, dropped", f"{night.late_commits:,} shards"),
                    (
                        "idle share of a node",
                        f"{idle[0]:.1%} to {idle[2]:.1%}, the middle one {idle[1]:.1%}",
                    ),
                    ("tail", f"{say.seconds(night.tail)} after the last shard was leased"),
                    (
                        "open shards a node",
                        f"{night.open_shards:.1f}; in the detailed run {detail.open_shards:.1f}",
                    ),
                ]
            ),
        ]
    )


def assumptions(
    plan: Estimate, rates: Rates, prices: Prices, assume: Assumptions, simulated: bool = False
) -> tuple[str, ...]:
    """Everything that the plan stands on, a sentence each."""
    low, high = rates.measured_mp
    sizes = f"{low:g} MP" if low == high else f"{low:g} and {high:g} MP"
    lines = [
        f"rates: {rates.source}; {rates.machine}; photographs of {sizes}; of {rates.date}; `{rates.command}`",
        f"photographs of {say.size(rates.input_bytes_per_mp)} a megapixel; the settings with which the rates were made",
        f"cores add up, {rates.efficiency:.0%} of them busy; {1000 * rates.machinery_seconds:.0f} ms of a core an "
        "image for driver and Ray",
        f"a node boots in {say.seconds(assume.boot_seconds)} (nobody measured it) and has its first outcome "
        f"{say.seconds(rates.start_seconds)} later",
        f"{assume.headroom:.0%} of the rate is kept for faults when nodes are counted; the time is without faults",
        f"{assume.image_failures:.1%} of images fail, for {assume.reasons} reasons, with a preview of "
        f"{say.size(assume.preview_bytes)} each (in the outcome file and in the failure log)",
        "requests without retries and repeated work; of one driver: what leases of several cells will ask is not built",
        "packing the outcome files when the job ends is in the requests and not in the time",
        f"prices: {prices.note}, of {prices.date}; same region, no charge for traffic",
    ]
    if not rates.on_gpu:
        lines.append("not yet measured on a GPU")
    if simulated:
        lines.append(
            f"simulation: {assume.worker_deaths:g} worker deaths a million images; {assume.node_deaths:g} node deaths "
            f"a node and day, {assume.cut_offs:.0%} of them cuts of up to 10 min that heal, noticed after "
            f"{say.seconds(assume.notice_seconds)}; {assume.slow_nodes:.0%} of nodes {assume.slow_factor:g} times "
            "slower"
        )
        lines.append(
            "simulation, real: the coordinator of every node, and layout, batches, workers and credits in the detailed "
            "run of one; model: how long work takes, the leases of shards to nodes, the store, all faults"
        )
    return (*lines, *plan.notes)


def plan_json(
    plan: Estimate,
    rates: Rates,
    prices: Prices,
    assume: Assumptions,
    night: Night | None,
    seed: int,
    took: float,
) -> dict[str, Any]:
    """All figures by name."""
    wanted = asdict(plan.wanted)
    wanted["deadline"] = plan.wanted.deadline if math.isfinite(plan.wanted.deadline) else None
    requests = asdict(plan.requests) | {
        "gets": plan.requests.gets,
        "puts": plan.requests.puts,
        "lists": plan.requests.lists,
    }
    found: dict[str, Any] = {
        "wanted": wanted,
        "nodes": plan.nodes,
        "seconds": round(plan.seconds, 1),
        "hours": round(plan.hours, 4),
        "node_hours": round(plan.node_seconds / 3600, 3),
        "images_per_second_a_node": round(plan.node.images_per_second, 4),
        "bottleneck": plan.node.bottleneck,
        "workers": plan.node.workers,
        "requests": requests,
        "bytes": asdict(plan.moved),
        "cost": {name: round(value, 4) for name, value in asdict(plan.cost).items()}
        | {"total": round(plan.cost.total, 4), "currency": prices.currency, "note": prices.note, "date": prices.date},
        "rates": {"source": rates.source, "command": rates.command, "date": rates.date, "machine": rates.machine},
        "assumptions": asdict(assume),
        "supposed": list(assumptions(plan, rates, prices, assume, night is not None)),
    }
    if night is not None:
        figures = {name: getattr(night, name) for name in night.__slots__ if name != "detail"}
        detail = night.detail
        found["simulation"] = figures | {
            "hours": round(night.hours, 4),
            "seed": seed,
            "cpu_seconds": round(took, 1),
            "detail": {
                "images": detail.images,
                "images_per_second": round(detail.rate, 4),
                "idle": round(detail.idle, 4),
                "in_flight": round(detail.in_flight, 1),
                "open_shards": round(detail.open_shards, 2),
                "workers": detail.workers,
            },
        }
    return found


def _outcomes(plan: Estimate) -> str:
    return f"{say.size(plan.moved.outcomes)} of outcomes ({say.size(plan.moved.previews)} previews)"
