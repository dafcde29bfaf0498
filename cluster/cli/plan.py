"""`mattemill plan`: nodes, hours, requests and cost of a catalogue, by a formula and by a simulation beside it."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from mattemill.cluster.cli import options
from mattemill.pipeline.errors import UsageError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_SPANS = {"d": 86_400, "h": 3600, "m": 60, "min": 60, "s": 1}
_CALIBRATE_IMAGES = 16


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "plan",
        help="how many nodes, hours, requests and how much money a catalogue takes",
        description="Says what a catalogue takes, from measured rates, with all that it supposes. The packaged rates "
        "are of CPUs; of a GPU nothing is measured yet: plan GPU nodes with --rates. Prices are examples: give yours.",
    )
    what = parser.add_argument_group("what is wanted")
    what.add_argument("--images", type=image_count, metavar="N", help="photographs, as 5e6, 5_000_000 or 5M")
    what.add_argument("--deadline", type=duration, metavar="TIME", help="from asking for the nodes on, as 8h or 90m")
    what.add_argument("--output", choices=("matte", "cutout"), default="matte", help="what comes out (matte)")
    what.add_argument(
        "--size-mp", type=_positive, metavar="MP", help="of a photograph, megapixels (2, or as calibrated)"
    )
    where = parser.add_argument_group("where")
    where.add_argument("--node", type=node_kind, default=(16, 0), metavar="CORES[,GPUS]", help="of one node (16)")
    where.add_argument("--nodes", type=_count, default=0, metavar="N", help="exactly so many, instead of the fewest")
    where.add_argument("--most-nodes", type=_count, metavar="N", help="that may be had (1000)")
    figures = parser.add_argument_group("from which figures")
    figures.add_argument("--rates", type=Path, metavar="FILE", help="rates of a node as TOML, instead of the packaged")
    figures.add_argument("--prices", type=Path, metavar="FILE", help="your prices as TOML, instead of the examples")
    figures.add_argument(
        "--calibrate",
        metavar="PHOTOGRAPHS",
        help="measure the stages here on photographs of yours, half a minute",
    )
    figures.add_argument("--calibrate-images", type=_count, default=_CALIBRATE_IMAGES, metavar="N", help="of them (16)")
    figures.add_argument(
        "--save-rates", type=Path, metavar="FILE", help="write the rates of this plan, to be edited and for --rates"
    )
    figures.add_argument("--example-prices", action="store_true", help="print a prices file to fill in, and end")
    faults = parser.add_argument_group("what goes wrong")
    faults.add_argument("--simulate", action="store_true", help="simulate it as well, faults included (a minute)")
    faults.add_argument("--seed", type=int, default=0, metavar="N", help="of the simulation (0)")
    faults.add_argument("--image-failures", type=_share, metavar="0..1", help="share that fails (0.02)")
    faults.add_argument("--worker-deaths", type=_share_or_more, metavar="N", help="a million images (20)")
    faults.add_argument("--node-deaths", type=_share_or_more, metavar="N", help="a node and day, spot say (1)")
    faults.add_argument("--slow-nodes", type=_share, metavar="0..1", help="share of nodes at half the speed (0.03)")
    options.add_config(parser)
    options.add_common(parser, json_help="as one JSON object on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the plan; 0 when there is one."""
    # Imported here: the other commands do without them.
    from mattemill.cluster.planning import prices as price_list
    from mattemill.cluster.planning.assumptions import Assumptions
    from mattemill.cluster.planning.estimate import MOST_NODES, Wanted, estimate

    if args.example_prices:
        sys.stdout.write(price_list.example_prices())
        return 0
    prices = price_list.read_prices(args.prices) if args.prices else price_list.packaged_prices()
    rates = _rates(args)
    if args.save_rates is not None:
        _save(args.save_rates, rates)
    if args.images is None:
        if args.save_rates is None:
            raise UsageError("a plan needs --images, as 5e6 or 5M")
        return 0  # only measured
    cores, gpus = args.node
    wanted = Wanted(
        args.images,
        math.inf if args.deadline is None else args.deadline,
        cores,
        gpus,
        args.output,
        args.size_mp if args.size_mp is not None else rates.measured_mp[1] if args.calibrate else 2.0,
        args.most_nodes or MOST_NODES,
        args.nodes,
    )
    given = {
        name: value
        for name in ("image_failures", "worker_deaths", "node_deaths", "slow_nodes")
        if (value := getattr(args, name)) is not None
    }
    assume = replace(Assumptions(shard_size=options.config_of(args).shard_size), **given)
    planned = estimate(wanted, rates, prices, assume)
    night, took = None, 0.0
    if args.simulate:
        from mattemill.cluster.planning.night import simulate_night

        began = time.process_time()
        night = simulate_night(wanted, planned.nodes, rates, assume, seed=args.seed)
        took = time.process_time() - began
    from mattemill.cluster.cli.plan_text import plan_json, plan_text

    if args.json:
        print(json.dumps(plan_json(planned, rates, prices, assume, night, args.seed, took)))
    else:
        print(plan_text(planned, rates, prices, assume, night, args.seed, took))
    return 0


def _rates(args: argparse.Namespace) -> Any:
    """The packaged rates, those of --rates, or those that --calibrate measures now."""
    from mattemill.cluster.planning.rates import packaged_rates, read_rates

    rates = read_rates(args.rates) if args.rates else packaged_rates()
    if args.calibrate is None:
        return rates
    from mattemill.cluster.cli.models import fetch_needed
    from mattemill.cluster.planning.calibrate import measure, rates_of

    config = replace(options.config_of(args), output=args.output)
    fetch_needed(config.model, config.second_network)
    with tempfile.TemporaryDirectory(prefix="mattemill-plan-") as sink:
        measured = measure(args.calibrate, sink, config, args.calibrate_images)
    return rates_of(
        [measured],
        rates,
        source=f"measured on this machine just now; what a job adds to it is from {rates.source}",
        command="mattemill plan --calibrate",
    )


def _save(path: Path, rates: Any) -> None:
    from mattemill.cluster.planning.rates import to_toml

    try:
        path.write_text(to_toml(rates), encoding="utf-8")
        sys.stderr.write(f"rates written to {path}\n")
    except OSError as error:
        raise UsageError(f"--save-rates {path}: cannot be written ({error})") from error


def image_count(text: str) -> int:
    """'5e6', '5_000_000', '5,000,000', '5M', '250k': a whole number of images, at least 1."""
    plain = text.strip().replace(",", "").replace("_", "").lower()
    unit = plain[-1:] if plain[-1:] in ("k", "m", "g") else ""
    try:
        value = float(plain.removesuffix(unit)) * _UNITS[unit]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of images: write 5e6, 5_000_000 or 5M") from None
    if not 1 <= value <= 1e12 or value != int(value):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number of images from 1 to 10^12")
    return int(value)


def duration(text: str) -> float:
    """Seconds of '8h', '90m', '1h30m', '45s', '2d'."""
    plain = text.strip().lower().replace(" ", "")
    parts = re.findall(r"(\d+(?:\.\d+)?)(min|[dhms])", plain)
    if not parts or "".join(number + unit for number, unit in parts) != plain:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 8h, 90m or 1h30m")
    seconds = sum(float(number) * _SPANS[unit] for number, unit in parts)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: must be more than nothing")
    return seconds


def node_kind(text: str) -> tuple[int, int]:
    """(cores, GPUs) of '16' or '16,1'."""
    cores, comma, gpus = text.partition(",")
    try:
        found = int(cores), int(gpus) if comma else 0
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no node: write CORES or CORES,GPUS, as 16 or 16,1") from None
    if not 1 <= found[0] <= 1024 or not 0 <= found[1] <= 64:
        raise argparse.ArgumentTypeError(f"{text!r}: a node has 1 to 1024 cores and 0 to 64 GPUs")
    return found


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not 1 <= value <= 100_000:
        raise argparse.ArgumentTypeError(f"{value}: must lie in 1..100000")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if not 0.0 < value <= 1000.0:
        raise argparse.ArgumentTypeError(f"{text}: must be above 0, at most 1000")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"{text}: must be from 0 to below 1")
    return value


def _share_or_more(text: str) -> float:
    value = _number(text)
    if not 0.0 <= value <= 1000.0:
        raise argparse.ArgumentTypeError(f"{text}: must lie in 0..1000")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
