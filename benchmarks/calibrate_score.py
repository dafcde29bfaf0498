"""Fits the confidence to photographs with truth, and says how far it can be trusted.

    python benchmarks/calibrate_score.py ../shared/evaldata [--cache DIR] [--save]

A logistic regression of "IoU under .85" on a few figures of `pipeline/quality.py`, once for masks of the default
recipe and once for those with a second network. Everything printed is of photographs that the fit had not seen: ten
random folds, repeated, and each set left out in turn. The coefficients to put into pipeline/quality.py are of all
photographs. `noise` is the calibration error that a perfectly calibrated score would show on so few photographs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bench import finish, machine, parser
from looks_over_truth import Cut, cut_all, networks, photographs

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.evaluation.trust import BAD, trust
from mattemill.pipeline.quality import INPUTS, score_inputs

Array = npt.NDArray[np.float64]

RIDGE = 2.0  # on standardised inputs: about 40 bad photographs carry no more than that
FOLDS, REPEATS = 10, 20
SHARES = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40)
ALONE = ("soft_of_subject", "doubt", "haze", "translucent", "several_subjects", "agreement", "edge_support", "contrast")


def fit(inputs: Array, bad: Array) -> Array:
    """(offset, weights) of a ridge logistic regression by Newton's method; inputs (n, k) as they are, bad (n,) 0/1."""
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
    x = np.hstack([np.ones((len(inputs), 1)), (inputs - mean) / spread])
    ridge = np.diag([1e-9, *[RIDGE] * inputs.shape[1]])
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        likely = 1 / (1 + np.exp(-x @ weights))
        slope = x.T @ (likely - bad) + ridge @ weights
        curvature = (x * (likely * (1 - likely))[:, None]).T @ x + ridge
        step = np.linalg.solve(curvature, slope)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    raw = weights[1:] / spread
    return np.concatenate([[weights[0] - raw @ mean], raw])


def likely_bad(weights: Array, inputs: Array) -> Array:
    """Probability of an IoU under .85 for inputs (n, k)."""
    return np.asarray(1 / (1 + np.exp(-(weights[0] + inputs @ weights[1:]))))


def random_folds(n: int, seed: int) -> Iterator[npt.NDArray[np.intp]]:
    """The photographs that are left out together."""
    order = np.random.default_rng(seed).permutation(n)
    for start in range(FOLDS):
        yield order[start::FOLDS]


def left_out(inputs: Array, bad: Array, folds: Iterator[npt.NDArray[np.intp]]) -> Array:
    """The probability of each photograph by a fit without its fold."""
    out = np.zeros(len(bad))
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(bad)), fold)
        out[fold] = likely_bad(fit(inputs[rest], bad[rest]), inputs[fold])
    return out


def figures_of(predicted: Array, ious: Sequence[float]) -> dict[str, float]:
    """AUC and expected calibration error of the confidence."""
    found = trust(list(1 - predicted), list(ious))
    assert found is not None
    assert found.auc is not None
    return {"auc": found.auc, "ece": found.ece}


def noise(predicted: Array) -> float:
    """Mean calibration error if each photograph were bad with exactly the predicted probability."""
    random = np.random.default_rng(0)
    errors = []
    for _ in range(300):
        drawn = np.where(random.random(len(predicted)) < predicted, 0.0, 1.0)
        found = trust(list(1 - predicted), list(drawn))
        assert found is not None
        errors.append(found.ece)
    return float(np.mean(errors))


def mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure, rounded."""
    return {name: round(float(np.mean([row[name] for row in rows])), 3) for name in rows[0]}


def trade(predicted: Array, bad: Array) -> list[dict[str, float]]:
    """Of the least confident share: the confidence under which it lies, what it catches, how much of it is bad."""
    order = np.argsort(-predicted, kind="stable")
    rows = []
    for share in SHARES:
        refused = order[: round(share * len(order))]
        rows.append(
            {
                "refused": round(len(refused) / len(order), 3),
                "confidence_under": round(float(1 - predicted[refused[-1]]), 3),
                "caught": round(float(bad[refused].sum() / bad.sum()), 3),
                "rightly": round(float(bad[refused].mean()), 3),
            }
        )
    return rows


def thresholds(predicted: Array, bad: Array) -> list[dict[str, float]]:
    """The same by thresholds of the confidence."""
    rows = []
    for level in (0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6):
        refused = 1 - predicted < level
        rows.append(
            {
                "confidence_under": level,
                "refused": round(float(refused.mean()), 3),
                "caught": round(float(bad[refused].sum() / bad.sum()), 3),
                "rightly": round(float(bad[refused].mean()), 3) if refused.any() else 1.0,
            }
        )
    return rows


def calibrated(cuts: list[Cut]) -> dict[str, Any]:
    """Everything about one recipe."""
    ious = [cut.iou for cut in cuts]
    bad = np.array([iou < BAD for iou in ious], np.float64)
    inputs = np.array([score_inputs(cut.figures) for cut in cuts])
    sets = np.array([cut.set for cut in cuts])
    runs = [left_out(inputs, bad, random_folds(len(bad), seed)) for seed in range(REPEATS)]
    predicted = np.mean(runs, axis=0)
    weights = fit(inputs, bad)
    without = {
        name: mean_of(
            [
                figures_of(left_out(np.delete(inputs, i, axis=1), bad, random_folds(len(bad), seed)), ious)
                for seed in range(5)
            ]
        )
        for i, name in enumerate(INPUTS)
    }
    alone = {}
    for name in ALONE:
        values = np.array([cut.figures[name] for cut in cuts])
        auc = figures_of((values - values.min()) / max(float(np.ptp(values)), 1e-9), ious)["auc"]
        alone[name] = round(max(auc, 1 - auc), 3)
    return {
        "photographs": len(cuts),
        "bad": int(bad.sum()),
        "mean_iou": round(float(np.mean(ious)), 4),
        "random_folds": mean_of([figures_of(run, ious) for run in runs]),
        "mean_of_folds": mean_of([figures_of(predicted, ious)]),
        "a_set_left_out": mean_of(
            [figures_of(left_out(inputs, bad, (np.nonzero(sets == name)[0] for name in set(sets))), ious)]
        ),
        "ece_of_noise": round(noise(predicted), 3),
        "auc_interval": _interval(predicted, ious),
        "without": without,
        "alone": alone,
        "trade": trade(predicted, bad),
        "thresholds": thresholds(predicted, bad),
        "weights": {name: round(float(value), 3) for name, value in zip(("offset", *INPUTS), weights, strict=True)},
        "worst_confident": [
            {"set": cuts[i].set, "iou": round(ious[i], 2), "confidence": round(float(1 - predicted[i]), 2)}
            for i in np.argsort(predicted)
            if bad[i]
        ][:8],
    }


def _interval(predicted: Array, ious: Sequence[float]) -> list[float]:
    random = np.random.default_rng(0)
    kept = np.array(ious)
    aucs = []
    for _ in range(1000):
        drawn = random.integers(0, len(kept), len(kept))
        if 0 < np.count_nonzero(kept[drawn] < BAD) < len(kept):
            aucs.append(figures_of(predicted[drawn], list(kept[drawn]))["auc"])
    return [round(float(value), 3) for value in np.quantile(aucs, [0.025, 0.975])]


def main() -> None:
    """Fit for both recipes and print what came out."""
    arguments = parser(__doc__)
    arguments.add_argument("evaldata", type=Path, help="../shared/evaldata")
    arguments.add_argument("--cache", type=Path, help="folder where the networks' maps are kept between runs")
    given = arguments.parse_args()
    ask, known = networks(given.cache), list(photographs(given.evaldata))
    result: dict[str, Any] = {"machine": machine(), "ridge": RIDGE, "inputs": list(INPUTS)}
    lines = []
    for second in ("none", "u2net"):
        found = calibrated(cut_all(iter(known), ask, JobConfig(second_network=second)))
        result[f"second_network {second}"] = found
        lines.append(f"second_network = {second}")
        lines += [f"  {name}: {value}" for name, value in found.items() if name not in ("trade", "thresholds")]
        lines += [f"    {row}" for row in (*found["trade"], *found["thresholds"])]
    finish("score", result, given, lines)


if __name__ == "__main__":
    main()
