"""The formula: nodes, hours, requests and cost of a job from the rates of one node. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mattemill.cluster.planning.assumptions import Assumptions
from mattemill.cluster.planning.prices import Prices
from mattemill.cluster.planning.rates import Rates
from mattemill.cluster.planning.requests import Moved, Requests, count_bytes, count_requests
from mattemill.cluster.sizing import Sizing, solve
from mattemill.pipeline.errors import UsageError

MOST_NODES = 1000
"""Beyond it Ray's one scheduler is known to be a limit, and so is what a cloud account may start."""

S3_PUTS, S3_GETS = 3500, 5500
"""Requests a second that S3 grants a prefix before it answers SlowDown."""

_MACHINERY = "machinery"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be done: images (>= 1) within `deadline` seconds on nodes of `cores` and `gpus`.

    output: 'matte' or 'cutout'. megapixels: of a photograph. nodes: exactly so many; 0 = as few as keep the deadline.
    """

    images: int
    deadline: float  # math.inf = none
    cores: int
    gpus: int = 0
    output: str = "matte"
    megapixels: float = 2.0
    most_nodes: int = MOST_NODES
    nodes: int = 0


@dataclass(frozen=True, slots=True)
class NodeRate:
    """What one node does: images a second, what holds it there, and its workers by stage."""

    images_per_second: float
    bottleneck: str
    workers: dict[str, int]
    sizing: Sizing


@dataclass(frozen=True, slots=True)
class Cost:
    """In the currency of the prices. storage_month: of keeping what is written, a month; not in `total`."""

    nodes: float
    requests: float
    storage_month: float

    @property
    def total(self) -> float:
        return self.nodes + self.requests


@dataclass(frozen=True, slots=True)
class Estimate:
    """The answer. seconds: from asking for the nodes to the last commit. node_seconds: that are paid, of all nodes."""

    wanted: Wanted
    node: NodeRate
    nodes: int
    seconds: float
    node_seconds: float
    requests: Requests
    moved: Moved
    cost: Cost
    notes: tuple[str, ...]

    @property
    def hours(self) -> float:
        return self.seconds / 3600.0


def node_rate(rates: Rates, wanted: Wanted) -> NodeRate:
    """Images a second of one node in its steady part. Raises UsageError when these rates say nothing of such a node."""
    output = rates.outputs.get(wanted.output)
    if output is None:
        raise UsageError(
            f"--output {wanted.output}: the rates ({rates.source}) have only {', '.join(rates.outputs)}; "
            "measure it with --calibrate, or give --rates"
        )
    on_gpu = output.gpu_stages
    if wanted.gpus and not on_gpu:
        raise UsageError(
            f"--node {wanted.cores},{wanted.gpus}: mattemill is not yet measured on a GPU, and the rates "
            f"({rates.source}) have no stage on one; give --rates FILE, made on such a node with "
            "`mattemill plan --calibrate PHOTOGRAPHS --save-rates FILE`"
        )
    if on_gpu and not wanted.gpus:
        raise UsageError(
            f"--node {wanted.cores}: the rates ({rates.source}) run {', '.join(on_gpu)} on a GPU and the node has "
            "none: write --node CORES,GPUS, or give other --rates"
        )
    seconds = {name: stage.at(wanted.megapixels) for name, stage in output.stages.items()}
    busy = {name: stage.busy for name, stage in output.stages.items()}
    sizing = solve(
        {**seconds, _MACHINERY: max(rates.machinery_seconds, 1e-9)},
        {name: stage.fan_out for name, stage in output.stages.items()},
        wanted.cores * rates.efficiency,
        wanted.gpus,
        gpu_stages=on_gpu,
        per_gpu=rates.workers_per_gpu,
        busy=busy,
    )
    rate, bottleneck = sizing.rate, sizing.bottleneck
    if rate > rates.most_per_node:
        rate, bottleneck = rates.most_per_node, "coordinator"
    workers = {name: count for name, count in sizing.workers.items() if name != _MACHINERY}
    return NodeRate(rate, bottleneck, workers, sizing)


def estimate(wanted: Wanted, rates: Rates, prices: Prices, assume: Assumptions) -> Estimate:
    """The fewest nodes that keep the deadline with headroom, or the nodes that are asked for.

    Raises UsageError when the deadline cannot be kept, saying what would be possible.
    """
    node = node_rate(rates, wanted)
    rate = node.images_per_second
    most_useful = max(1, math.ceil(wanted.images / assume.shard_size))
    # A shard is one node's: the last one that is leased is done alone.
    last_shard = min(wanted.images, assume.shard_size) / rate
    fixed = assume.boot_seconds + rates.start_seconds + last_shard
    room = (wanted.deadline - fixed) * rate * (1.0 - assume.headroom)  # images that one node does in time
    if math.isfinite(wanted.deadline):
        nodes = math.ceil(wanted.images / room) if room > 0 else 0
        if nodes < 1 or nodes > min(wanted.nodes or wanted.most_nodes, most_useful):
            raise UsageError(_impossible(wanted, assume, rate, fixed, most_useful, room))
        nodes = wanted.nodes or nodes
    elif wanted.nodes:
        nodes = wanted.nodes
    else:
        raise UsageError("a plan needs --deadline (as 8h or 90m), or --nodes")
    seconds = fixed + wanted.images / (nodes * rate)
    node_seconds = nodes * seconds
    requests = count_requests(wanted.images, seconds - assume.boot_seconds, assume)
    output = rates.outputs[wanted.output]
    moved = count_bytes(wanted.images, wanted.megapixels, rates.input_bytes_per_mp, output.bytes_per_mp, assume)
    cost = _cost(wanted, node_seconds, requests, moved, prices)
    return Estimate(
        wanted, node, nodes, seconds, node_seconds, requests, moved, cost, _notes(wanted, rates, node, nodes)
    )


def _impossible(wanted: Wanted, assume: Assumptions, rate: float, fixed: float, most_useful: int, room: float) -> str:
    """What cannot be, and what could."""
    most = min(wanted.nodes or wanted.most_nodes, most_useful)
    within = fixed + wanted.images / (most * rate * (1.0 - assume.headroom))
    said = (
        f"{wanted.images:,} images within {_span(wanted.deadline)} cannot be done: a node needs {_span(fixed)} to "
        f"start and for its last shard, and does {rate:.3g} images a second. "
    )
    nodes = f"{most:,} node{'s' if most > 1 else ''} of {wanted.cores} cores"
    possible = f"Possible are {_span(within, up=True)} with {nodes}"
    if room > 0:
        possible += f", or {math.floor(most * room):,} images in that time"
        needed = math.ceil(wanted.images / room)
        if most < needed <= most_useful:
            possible += f", or --{'' if wanted.nodes else 'most-'}nodes {needed}"
        elif needed > most_useful:
            possible += f" (more nodes would find no shard of {assume.shard_size} images)"
    return said + possible


def _notes(wanted: Wanted, rates: Rates, node: NodeRate, nodes: int) -> tuple[str, ...]:
    notes = []
    low, high = rates.measured_mp
    if not 0.8 * low <= wanted.megapixels <= 1.25 * high:
        notes.append(
            f"{wanted.megapixels:g} MP lies outside the {low:g} to {high:g} MP that were measured: extrapolated in "
            "a line"
        )
    if wanted.cores > 8 * 2 and not rates.on_gpu:
        notes.append(
            f"a node of {wanted.cores} cores is extrapolated from {rates.machine}: that cores add up was not measured "
            "beyond it (memory bandwidth, hyperthreads)"
        )
    together = nodes * node.images_per_second
    if together > 0.8 * S3_PUTS:
        notes.append(
            f"{together:,.0f} images a second are near or over what S3 grants a prefix ({S3_PUTS:,} PUT, {S3_GETS:,} "
            "GET a second): spread the keys over prefixes, ahead of time"
        )
    return tuple(notes)


def _cost(wanted: Wanted, node_seconds: float, requests: Requests, moved: Moved, prices: Prices) -> Cost:
    node_hour = wanted.cores * prices.core_hour + wanted.gpus * prices.gpu_hour
    asked = (
        requests.gets * prices.get_per_1000
        + requests.puts * prices.put_per_1000
        + requests.lists * prices.list_per_1000
    )
    return Cost(
        nodes=node_seconds / 3600.0 * node_hour,
        requests=asked / 1000.0,
        storage_month=(moved.written + moved.outcomes) / 1e9 * prices.gb_month,
    )


def _span(seconds: float, up: bool = False) -> str:
    """'45 s', '12 min', '7.5 h'; up: rounded up, so that it can be given as a deadline."""
    if seconds < 120:
        return f"{math.ceil(seconds) if up else round(seconds)} s"
    if seconds < 7200:
        return f"{math.ceil(seconds / 60) if up else round(seconds / 60)} min"
    return f"{math.ceil(seconds / 360) / 10:g} h" if up else f"{seconds / 3600:.3g} h"
