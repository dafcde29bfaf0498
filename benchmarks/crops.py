"""The crop rule against full frames and against the rule before it: IoU by set, and compute.

    python benchmarks/crops.py ../shared/evaldata [--cache DIR] [--save]

All rules see the same photographs and the same networks in one run; with --cache what the networks said is kept, so
that another rule is tried in seconds. Compute is counted in passes of u2netp.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench import finish, machine, parser
from looks_over_truth import PASSES, SETS, Cut, Known, Networks, by_rule, cut_all, networks, photographs

from mattemill.kernels.components import components
from mattemill.kernels.crop import crop, expand_box
from mattemill.kernels.paste import paste_masks
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.photo import Alpha
from mattemill.pipeline.quality import softness
from mattemill.pipeline.stages.segment import on_crop

BAD = 0.85


def full_frame(ask: Networks, name: str) -> Callable[[Known], tuple[Alpha, dict[str, float]]]:
    """The soft mask of one look at the full frame."""

    def rule(photo: Known) -> tuple[Alpha, dict[str, float]]:
        height, width = photo.image.shape[:2]
        return paste_masks([(ask[name](photo.image).mask, (0, 0, width, height))], (height, width)), {}

    return rule


def surer_of_two(ask: Networks) -> Callable[[Known], tuple[Alpha, dict[str, float]]]:
    """The rule before this one: full frame and crop around all parts, the one with fewer soft pixels is taken."""

    def rule(photo: Known) -> tuple[Alpha, dict[str, float]]:
        height, width = shape = photo.image.shape[:2]
        whole = ask["u2netp"](photo.image).mask
        boxes = np.array([box for box, _, _ in components(whole, 0.3, 0.05)])
        if not len(boxes):
            return paste_masks([(whole, (0, 0, width, height))], shape), {}
        scale = np.array([width, height, width, height]) / np.array([*whole.shape[::-1], *whole.shape[::-1]])
        box = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)]) * scale
        window = expand_box(box, 0.10, shape)
        if (window[2] - window[0]) * (window[3] - window[1]) >= 0.80 * height * width:
            return paste_masks([(whole, (0, 0, width, height))], shape), {}
        near = ask["u2netp"](crop(photo.image, window)).mask
        seen = on_crop(whole, window, shape, near.shape)
        return paste_masks([(seen if softness(seen) < softness(near) else near, window)], shape), {}

    return rule


def summary(cuts: list[Cut]) -> dict[str, Any]:
    """Mean IoU in all and by set, share under .85, compute an image."""
    sets = {name: float(np.mean([cut.iou for cut in cuts if cut.set == name])) for name in SETS}
    ious = np.array([cut.iou for cut in cuts])
    return {
        "photographs": len(cuts),
        "iou": round(float(ious.mean()), 4),
        "under_85": round(float(np.mean(ious < BAD)), 3),
        "passes": round(float(np.mean([cut.passes for cut in cuts])), 2),
        "sets": {name: round(value, 3) for name, value in sets.items()},
    }


def bootstrap(one: list[Cut], other: list[Cut]) -> list[float]:
    """The 95 % interval of the mean gain of `one` over `other`, photographs resampled in pairs 10,000 times."""
    gains = np.array([a.iou - b.iou for a, b in zip(one, other, strict=True)])
    random = np.random.default_rng(0)
    means = gains[random.integers(0, len(gains), (10_000, len(gains)))].mean(axis=1)
    return [round(float(value), 4) for value in np.quantile(means, [0.025, 0.975])]


def main() -> None:
    """Run all rules and print their table."""
    arguments = parser(__doc__)
    arguments.add_argument("evaldata", type=Path, help="../shared/evaldata")
    arguments.add_argument("--cache", type=Path, help="folder where the networks' maps are kept between runs")
    given = arguments.parse_args()
    ask = networks(given.cache)
    known = list(photographs(given.evaldata))
    cuts: dict[str, list[Cut]] = {
        "u2netp, full frame": by_rule(iter(known), ask, full_frame(ask, "u2netp")),
        "u2net, full frame": by_rule(iter(known), ask, full_frame(ask, "u2net")),
        "surer of two looks": by_rule(iter(known), ask, surer_of_two(ask)),
        "default": cut_all(iter(known), ask, JobConfig()),
        "default, every part kept": cut_all(iter(known), ask, JobConfig(main_share=0.0)),
        "second network": cut_all(iter(known), ask, JobConfig(second_network="u2net")),
        "second network, every part kept": cut_all(iter(known), ask, JobConfig(second_network="u2net", main_share=0.0)),
        "second network, always asked": cut_all(iter(known), ask, JobConfig(second_network="u2net", second_doubt=0.0)),
    }
    rules = {name: summary(found) for name, found in cuts.items()}
    before = cuts["surer of two looks"]
    best_of = ["u2netp, full frame", "u2net, full frame", "default", "second network, always asked"]
    result = {
        "machine": machine(),
        "passes_of": PASSES,
        "rules": rules,
        "gain_over_surer_of_two": {name: bootstrap(cuts[name], before) for name in ("default", "second network")},
        "oracle": {
            "of": best_of,
            "iou": round(float(np.mean(np.max([[cut.iou for cut in cuts[name]] for name in best_of], axis=0))), 4),
        },
        "main_share": sweep(known, ask, "main_share", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)),
        "second_doubt": sweep(known, ask, "second_doubt", (0.05, 0.1, 0.15, 0.2, 0.3)),
    }
    chosen = result["main_share"]["chosen_on_other_folds"]
    lines = [f"{name:34s} {row['iou']:.4f}  passes {row['passes']:.2f}  {row['sets']}" for name, row in rules.items()]
    finish("crops", result, given, [*lines, f"oracle {result['oracle']}", f"main_share of other folds: {chosen:.4f}"])


def sweep(known: list[Known], ask: Networks, name: str, values: tuple[float, ...]) -> dict[str, Any]:
    """Mean IoU and compute of the recipe with a second network for values of one setting.

    chosen_on_other_folds: mean IoU where each tenth of the photographs (20 divisions at random) is cut with the value
    that is best on the other nine.
    """
    found: dict[str, Any] = {}
    ious = []
    for value in values:
        cuts = cut_all(iter(known), ask, JobConfig(second_network="u2net", **{name: value}))
        found[str(value)] = {key: summary(cuts)[key] for key in ("iou", "passes")}
        ious.append([cut.iou for cut in cuts])
    table, unseen = np.array(ious), []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(known))
        for start in range(10):
            fold = order[start::10]
            best = int(np.delete(table, fold, axis=1).mean(axis=1).argmax())
            unseen += list(table[best, fold])
    return found | {"chosen_on_other_folds": round(float(np.mean(unseen)), 4)}


if __name__ == "__main__":
    main()
