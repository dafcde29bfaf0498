"""One evaluation: every recipe over every photograph, summed up and compared."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from mattemill.pipeline.config import MATTE_VERSION, PIXEL_FIELDS, JobConfig
from mattemill.pipeline.engines.place import place_of, settled
from mattemill.pipeline.evaluation.contest import Contestant
from mattemill.pipeline.evaluation.datasets import TruthSet
from mattemill.pipeline.evaluation.instances import InstanceRow, InstanceScores, check_instances, instance_scores
from mattemill.pipeline.evaluation.runner import Row
from mattemill.pipeline.evaluation.summary import Comparison, Summary, compare, summarise
from mattemill.pipeline.evaluation.workers import Task, run_tasks
from mattemill.pipeline.models.load import model_hashes

_PACKAGES: Final = ("onnxruntime", "numpy", "opencv-python-headless", "pillow", "simplejpeg")
_DIGITS = 6  # significant ones of a figure in the JSON

OnDone = Callable[[str, int, int], None]
"""Called with (recipe, photographs done, of how many) after each photograph."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that was found.

    counted: names of the sets that the figures over all are made of. rows: by recipe, in the order of the photographs.
    comparisons: of each recipe with the first.
    """

    sets: tuple[TruthSet, ...]
    counted: tuple[str, ...]
    contestants: tuple[Contestant, ...]
    rows: Mapping[str, tuple[Row, ...]]
    instances: Mapping[str, Mapping[str, InstanceScores]]
    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data; figures have 6 significant digits."""
        return {
            "matte_version": MATTE_VERSION,
            "machine": machine(),
            "trimap": self.contestants[0].trimap,
            "sets": {
                each.name: {
                    "photographs": len(each.examples),
                    "in_all": each.name in self.counted,
                    "truth": sorted({example.kind for example in each.examples if example.kind is not None}),
                }
                for each in self.sets
            },
            "recipes": [self._recipe(contestant) for contestant in self.contestants],
            "comparisons": [
                {
                    "a": each.a,
                    "b": each.b,
                    "group": each.group,
                    "figure": each.figure,
                    **rounded(asdict(each.difference)),
                    "sure": each.difference.sure,
                }
                for each in self.comparisons
            ],
        }

    def photographs_json(self) -> list[dict[str, Any]]:
        """A row for each recipe and photograph."""
        return [_row_json(row) for rows in self.rows.values() for row in rows]

    def _recipe(self, contestant: Contestant) -> dict[str, Any]:
        summary = next(each for each in self.summaries if each.recipe == contestant.name)
        config = contestant.config
        default = JobConfig()
        fields = [name for name in (*PIXEL_FIELDS, "detector_model") if getattr(config, name) != getattr(default, name)]
        return {
            "name": contestant.name,
            "settings": {name: getattr(config, name) for name in fields},
            "confidence_threshold": contestant.threshold,
            "closed_form": contestant.closed_form,
            "models": model_hashes(config),
            "fingerprint": settled(config, place_of(config)).fingerprint(model_hashes(config)),
            "groups": {name: rounded(figures) for name, figures in summary.groups.items()},
            "trust": _trust_json(summary),
            "instances": {name: rounded(asdict(each)) for name, each in self.instances[contestant.name].items()},
        }


def evaluate(
    sets: Sequence[TruthSet],
    contestants: Sequence[Contestant],
    *,
    jobs: int,
    asked: Sequence[str] | None = None,
    panels: bool = False,
    on_done: OnDone | None = None,
) -> Evaluation:
    """Run every recipe over every photograph, one recipe after the other.

    asked: names of sets that count although their truth is apart. panels: draw each photograph for a report. Raises
    UsageError, ModelError, EngineError and what else a recipe raises.
    """
    check_instances(sets)
    counted = tuple(each.name for each in sets if not each.apart or each.name in (asked or ()))
    rows: dict[str, tuple[Row, ...]] = {}
    instances: dict[str, dict[str, InstanceScores]] = {}
    for contestant in contestants:
        rows[contestant.name], found = _run(contestant, sets, jobs, panels, on_done)
        instances[contestant.name] = {
            each.name: instance_scores(each.instances, [row for row in found if row.set == each.name])
            for each in sets
            if each.instances is not None and any(row.set == each.name for row in found)
        }
    summaries = [summarise(name, each, counted, instances[name]) for name, each in rows.items()]
    first = rows[contestants[0].name]
    comparisons = [
        each
        for contestant in contestants[1:]
        if first and rows[contestant.name]
        for each in compare(first, rows[contestant.name], counted)
    ]
    return Evaluation(tuple(sets), counted, tuple(contestants), rows, instances, tuple(summaries), tuple(comparisons))


def _run(
    contestant: Contestant, sets: Sequence[TruthSet], jobs: int, panels: bool, on_done: OnDone | None
) -> tuple[tuple[Row, ...], list[InstanceRow]]:
    tasks = [Task(e, panels=panels) for each in sets for e in each.examples if e.truth is not None]
    if not contestant.closed_form:  # it would change nothing but the edges, at a minute a photograph of many things
        tasks += [Task(e, instances=True) for each in sets if each.instances is not None for e in each.examples]
    order = {(task.example.set, task.example.name): i for i, task in reversed(list(enumerate(tasks)))}
    rows: list[Row] = []
    found: list[InstanceRow] = []
    if on_done is not None:
        on_done(contestant.name, 0, len(tasks))
    for done, result in enumerate(run_tasks(contestant, tasks, jobs), 1):
        if isinstance(result, Row):
            rows.append(result)
        else:
            found.append(result)
        if on_done is not None:
            on_done(contestant.name, done, len(tasks))
    rows.sort(key=lambda row: order[row.set, row.name])
    return tuple(rows), sorted(found, key=lambda row: row.name)


def machine() -> dict[str, Any]:
    """CPU, Python and the versions of the libraries that touch a pixel."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {"cpu": _cpu_name(), "python": platform.python_version(), "versions": versions}


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Floats with 6 significant digits; everything else as it is."""
    return {
        name: float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value for name, value in values.items()
    }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "recipe": row.recipe,
        "set": row.set,
        "name": row.name,
        "size": [row.width, row.height],
        "outcome": row.outcome,
        "refused": row.refused,
        **rounded(asdict(row.scores)),
        "band": rounded(asdict(row.band)),
        "mask": rounded(asdict(row.mask)),
        "supplied_trimap": row.supplied_trimap,
        "band_pixels": row.band_pixels,
        "unknown_pixels": row.unknown_pixels,
        "figures": rounded({name: float(value) for name, value in row.figures.items()}),
        "cpu_ms": {name: round(value, 1) for name, value in row.cpu_ms.items()},
        "wall_ms": {name: round(value, 1) for name, value in row.wall_ms.items()},
        "peak_mb": round(row.peak_mb, 1) if row.peak_mb is not None else None,
    }


def _trust_json(summary: Summary) -> dict[str, Any] | None:
    found = summary.trust
    if found is None:
        return None
    return {
        "n": found.n,
        "bad": found.bad,
        **rounded({"auc": found.auc, "ece": found.ece}),
        "bins": [rounded(asdict(each)) for each in found.bins],
        "catches": [rounded(asdict(each)) for each in found.catches],
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
