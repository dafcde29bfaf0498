"""A simulated night: 10 million images on 100 nodes, with faults, and the CPU time that the simulation takes.

    python benchmarks/plan_night.py [--seeds 3] [--json] [--save]

The same as `mattemill plan --images 10M --nodes 100 --node 8 --simulate --seed N`, with the packaged rates. Asserted
for each seed: every image has ended exactly once, and the simulation took less than a minute of CPU. What of it is real
code and what is model stands in mattemill.cluster.planning.night.
"""

from __future__ import annotations

import time
from typing import Any

from bench import finish, machine, machine_line, parser, say

from mattemill.cluster.planning.assumptions import Assumptions
from mattemill.cluster.planning.estimate import Wanted, estimate
from mattemill.cluster.planning.night import simulate_night
from mattemill.cluster.planning.prices import packaged_prices
from mattemill.cluster.planning.rates import packaged_rates

IMAGES, NODES, CORES = 10_000_000, 100, 8
MOST_CPU_SECONDS = 60.0


def main() -> None:
    """Run it from the command line."""
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=3)
    arguments = options.parse_args()
    found, rates, assume = machine(), packaged_rates(), Assumptions()
    wanted = Wanted(IMAGES, float("inf"), CORES, nodes=NODES)
    planned = estimate(wanted, rates, packaged_prices(), assume)
    runs: list[dict[str, Any]] = []
    for seed in range(1, arguments.seeds + 1):
        began = time.process_time()
        night = simulate_night(wanted, NODES, rates, assume, seed=seed)
        took = time.process_time() - began
        assert night.cut + night.failures == IMAGES
        assert took < MOST_CPU_SECONDS, f"{took:.0f} s"
        figures = {name: getattr(night, name) for name in night.__slots__ if name != "detail"}
        runs.append(
            {
                "seed": seed,
                "cpu_seconds": round(took, 1),
                "hours": round(night.hours, 4),
                **{name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()},
                "idle": [round(share, 4) for share in night.idle],
                "detail_images_per_second": round(night.detail.rate, 3),
                "detail_open_shards": round(night.detail.open_shards, 2),
                "over_formula": round(night.seconds / planned.seconds, 4),
            }
        )
        say(f"seed {seed}: {runs[-1]}")
    result = {
        "machine": found,
        "images": IMAGES,
        "nodes": NODES,
        "cores_a_node": CORES,
        "formula": {
            "hours": round(planned.hours, 4),
            "images_per_second_a_node": round(planned.node.images_per_second, 3),
        },
        "faults": {
            "image_failures": assume.image_failures,
            "worker_deaths_per_million_images": assume.worker_deaths,
            "node_deaths_per_node_and_day": assume.node_deaths,
            "of_them_cut_off": assume.cut_offs,
            "slow_nodes": assume.slow_nodes,
            "slow_factor": assume.slow_factor,
        },
        "runs": runs,
    }
    lines = [machine_line(found), f"{IMAGES:,} images, {NODES} nodes of {CORES} cores: formula {planned.hours:.3f} h"]
    for run in runs:
        lines.append(
            f"seed {run['seed']}: {run['hours']:.3f} h ({run['over_formula']:.3f} of the formula), {run['repeated']:,} "
            f"images done again after {run['node_deaths']} node deaths, {run['cut_offs']} cuts and "
            f"{run['worker_deaths']} worker deaths; idle {run['idle'][0]:.1%} to {run['idle'][2]:.1%}, middle "
            f"{run['idle'][1]:.1%}; tail {run['tail']:.0f} s; {run['cpu_seconds']} s of CPU"
        )
    finish("plan_night", result, arguments, lines)


if __name__ == "__main__":
    main()
