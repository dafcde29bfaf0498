"""From rows to figures: means by set and over all, and recipes against each other.

Figures have flat names, the same in the JSON, in a gate and here:
  n, failed, refused      photographs; those without a matte; those that the recipe's threshold would refuse
  iou mae mse sad grad conn      of the matte (`Scores`), means over photographs
  band_*                  the same within the unknown band
  mask_*                  the same of the soft mask before refinement
  right_n, right_sad, right_mask_sad    of photographs whose soft mask is right (IoU over .93)
  wrong_n, wrong_sad, wrong_mask_sad    of the others
  cpu_ms, wall_ms         of the whole cut, and cpu_ms_STAGE, wall_ms_STAGE
  refine_cpu_s_mp         CPU seconds of the refinement for each million pixels of unknown band
  peak_mb                 largest peak memory of a process while it cut
  auc, ece                of the confidence, see `trust`
  box_ap .. mask_ar       where there are instances, see `InstanceScores`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from mattemill.pipeline.evaluation.bootstrap import Difference, paired_difference
from mattemill.pipeline.evaluation.instances import InstanceScores
from mattemill.pipeline.evaluation.metrics import METRICS, Scores
from mattemill.pipeline.evaluation.runner import CUT, MATTE, REFINE, Row
from mattemill.pipeline.evaluation.trust import Trust, trust

ALL: Final = "all"
"""Name of the group that holds the photographs of all sets that count."""

RIGHT_MASK: Final = 0.93
"""From this IoU on a soft mask counts as right: what is left to do is its edge."""

COMPARED: Final = (*METRICS, *(f"band_{name}" for name in METRICS))
"""Figures that recipes are compared by."""

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Summary:
    """One recipe. groups: figures by set, `ALL` last. trust: of the photographs that count, None without any."""

    recipe: str
    groups: Mapping[str, Figures]
    trust: Trust | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of recipe b less that of recipe a, in one group."""

    a: str
    b: str
    group: str
    figure: str
    difference: Difference


def more_is_better(figure: str) -> bool:
    """Whether a larger value of a figure is a better one."""
    return figure.endswith("iou") or figure in ("auc", "n") or figure.startswith(("box_a", "mask_a"))


def summarise(
    recipe: str, rows: Sequence[Row], counted: Sequence[str], instances: Mapping[str, InstanceScores]
) -> Summary:
    """Figures of one recipe. rows: all of it. counted: names of the sets that `ALL` is made of."""
    groups: dict[str, Figures] = {}
    for name in sorted({row.set for row in rows} | set(instances)):
        here = [row for row in rows if row.set == name]
        groups[name] = {**figures(here), **(_instance_figures(instances[name]) if name in instances else {})}
    together = [row for row in rows if row.set in counted]
    if together:
        groups[ALL] = figures(together)
    return Summary(recipe, groups, _trust(together))


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """Of one group; a figure that no photograph has is not there."""
    out: dict[str, float] = {
        "n": len(rows),
        "failed": sum(row.outcome != MATTE for row in rows),
        "refused": sum(row.refused for row in rows),
    }
    for name in _names(rows):
        values = [value for row in rows if (value := figure_of(row, name)) is not None]
        if values:
            out[name] = sum(values) / len(values)
    for kind, right in (("right", True), ("wrong", False)):
        chosen = [row for row in rows if row.soft_truth and _mask_is_right(row) is right]
        if chosen:
            out[f"{kind}_n"] = len(chosen)
            out[f"{kind}_sad"] = _mean([figure_of(row, "sad") for row in chosen])
            out[f"{kind}_mask_sad"] = _mean([figure_of(row, "mask_sad") for row in chosen])
    unknown = sum(row.unknown_pixels for row in rows if REFINE in row.cpu_ms)
    if unknown:
        out["refine_cpu_s_mp"] = sum(row.cpu_ms.get(REFINE, 0.0) for row in rows) / 1000 / (unknown / 1e6)
    peaks = [row.peak_mb for row in rows if row.peak_mb is not None]
    if peaks:
        out["peak_mb"] = max(peaks)
    found = _trust(rows)
    if found is not None:
        out["ece"] = found.ece
        if found.auc is not None:
            out["auc"] = found.auc
    return out


def figure_of(row: Row, name: str) -> float | None:
    """One figure of one photograph by its flat name; None when it has none. Raises KeyError for an unknown name."""
    if name in METRICS:
        return _field(row.scores, name)
    kind, _, rest = name.partition("_")
    if kind == "band" and rest in METRICS:
        return _field(row.band, rest)
    if kind == "mask" and rest in METRICS:
        return _field(row.mask, rest)
    if kind in ("cpu", "wall"):
        stage = rest.removeprefix("ms").removeprefix("_") or CUT
        return (row.cpu_ms if kind == "cpu" else row.wall_ms).get(stage)
    raise KeyError(name)


def compare(a: Sequence[Row], b: Sequence[Row], counted: Sequence[str], *, seed: int = 0) -> tuple[Comparison, ...]:
    """Recipe b against recipe a on the photographs that both have, by set and over all. a, b: not empty."""
    pairs = _pairs(a, b)
    sets = sorted({one.set for one, _ in pairs})
    found = []
    for group, members in [*((name, [name]) for name in sets), (ALL, [name for name in sets if name in counted])]:
        for figure in COMPARED:
            groups = [_values(pairs, name, figure) for name in members]
            if any(values for values, _ in groups):
                difference = paired_difference(groups, seed=seed)
                found.append(Comparison(a[0].recipe, b[0].recipe, group, figure, difference))
    return tuple(found)


def _pairs(a: Sequence[Row], b: Sequence[Row]) -> list[tuple[Row, Row]]:
    others = {(row.set, row.name): row for row in b}
    return [(row, others[row.set, row.name]) for row in a if (row.set, row.name) in others]


def _values(pairs: Sequence[tuple[Row, Row]], name: str, figure: str) -> tuple[list[float], list[float]]:
    left, right = [], []
    for one, other in pairs:
        if one.set != name:
            continue
        x, y = figure_of(one, figure), figure_of(other, figure)
        if x is not None and y is not None:
            left.append(x)
            right.append(y)
    return left, right


def _names(rows: Sequence[Row]) -> list[str]:
    names = [*METRICS, *(f"band_{name}" for name in METRICS), *(f"mask_{name}" for name in METRICS)]
    names += ["cpu_ms", "wall_ms"]
    for kind in ("cpu", "wall"):
        stages = sorted({stage for row in rows for stage in row.cpu_ms if stage != CUT})
        names += [f"{kind}_ms_{stage}" for stage in stages]
    return names


def _instance_figures(found: InstanceScores) -> dict[str, float]:
    return {name: value for name, value in asdict(found).items() if name.startswith(("box_", "mask_"))}


def _trust(rows: Sequence[Row]) -> Trust | None:
    known = [(row.figures.get("confidence", 0.0), row.scores.iou) for row in rows if row.scores.iou is not None]
    return trust([confidence for confidence, _ in known], [iou for _, iou in known if iou is not None])


def _mask_is_right(row: Row) -> bool:
    return row.mask.iou is not None and row.mask.iou > RIGHT_MASK


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def _field(scores: Scores, name: str) -> float | None:
    value: float | None = getattr(scores, name)
    return value
