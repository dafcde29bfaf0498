"""The pictures of the report: photograph, truth, result and error side by side, the worst and the best."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from mattemill.pipeline.evaluation.evaluation import Evaluation
from mattemill.pipeline.evaluation.panels import Panels
from mattemill.pipeline.evaluation.runner import MATTE, Row
from mattemill.pipeline.evaluation.summary import RIGHT_MASK

_CHANGES = 8  # pictures each way in which a recipe differs most from the first


def picture_sections(found: Evaluation, count: int) -> list[str]:
    """HTML by recipe; only photographs that were drawn. count: of the worst, of the best, of the worst edges."""
    parts = [
        '<h2 id="pictures">Pictures</h2><p class="note legend">Error: '
        '<i style="background:#0066ff"></i>the truth has it, the result does not '
        '<i style="background:#ff3d00"></i>the result has it, the truth does not '
        '<i style="background:#808080"></i>does not count</p>'
    ]
    first = next(iter(found.rows.values()), ())
    for place, (name, rows) in enumerate(found.rows.items()):
        drawn = [row for row in rows if row.panels is not None and row.scores.iou is not None]
        counted = [row for row in drawn if row.set in found.counted] or drawn
        worst = sorted(counted, key=lambda row: row.scores.iou or 0.0)[:count]
        best = sorted(counted, key=_goodness, reverse=True)[:count]
        edges = sorted(
            (row for row in counted if row.soft_truth and (row.scores.iou or 0.0) > RIGHT_MASK and row.band.mae),
            key=lambda row: -(row.band.mae or 0.0),
        )[:count]
        parts.append(f"<h3>{escape(name)}: the worst (by IoU)</h3>{_cases(worst)}")
        if edges:
            parts.append(
                _folded(
                    f"{name}: right subject, worst edges (by the error in the band), with the worst place at full size",
                    _cases(edges, detail=True),
                    opened=True,
                )
            )
        parts.append(_folded(f"{name}: the best", _cases(best), opened=place == 0))
        if place:
            parts.append(_changes(name, first, rows))
    return parts


def _goodness(row: Row) -> tuple[float, float]:
    return (row.scores.iou or 0.0, -(row.band.mae or 0.0))


def _changes(name: str, first: Sequence[Row], rows: Sequence[Row]) -> str:
    """Where a recipe differs most from the first one."""
    before = {(row.set, row.name): row for row in first}
    pairs = [(before[row.set, row.name], row) for row in rows if (row.set, row.name) in before]
    pairs = [pair for pair in pairs if pair[0].panels is not None and pair[1].panels is not None]
    pairs = [pair for pair in pairs if pair[0].scores.mae is not None and pair[1].scores.mae is not None]
    pairs.sort(key=lambda pair: (pair[1].scores.mae or 0.0) - (pair[0].scores.mae or 0.0))
    better = [pair for pair in pairs if (pair[1].scores.mae or 0.0) < (pair[0].scores.mae or 0.0)][:_CHANGES]
    worse = [pair for pair in reversed(pairs) if (pair[1].scores.mae or 0.0) > (pair[0].scores.mae or 0.0)][:_CHANGES]
    parts = []
    for what, chosen in (("better", better), ("worse", worse)):
        if chosen:
            cases = "".join(_pair_case(one, other) for one, other in chosen)
            parts.append(_folded(f"{name}: most {what} than {chosen[0][0].recipe} (by MAE)", cases))
    return "".join(parts)


def _cases(rows: Iterable[Row], *, detail: bool = False) -> str:
    return "".join(_case(row, detail) for row in rows) or '<p class="note">none</p>'


def _case(row: Row, detail: bool) -> str:
    assert row.panels is not None
    pictures = _four(row.panels, "")
    if detail and row.panels.detail is not None:
        pictures += _four(row.panels.detail, ", detail")
    return _frame(row, _caption(row), pictures)


def _four(panels: Panels, what: str) -> list[tuple[str, bytes]]:
    kinds = ("photo", "truth", "result", "error")
    files = (panels.photo, panels.truth, panels.result, panels.error)
    return [(kind + what, file) for kind, file in zip(kinds, files, strict=True)]


def _pair_case(one: Row, other: Row) -> str:
    assert one.panels is not None
    assert other.panels is not None
    pictures = (
        ("photo", one.panels.photo),
        ("truth", one.panels.truth),
        (f"{one.recipe}: {_iou(one)}", one.panels.result),
        (f"{other.recipe}: {_iou(other)}", other.panels.result),
    )
    change = f"MAE {one.scores.mae or 0.0:.4f} to {other.scores.mae or 0.0:.4f}"
    return _frame(other, [change], pictures)


def _frame(row: Row, facts: Sequence[str], pictures: Sequence[tuple[str, bytes]]) -> str:
    flags = "".join(f'<span class="flag">{escape(text)}</span>' for text in _flags(row))
    said = "".join(f"<span>{escape(fact)}</span>" for fact in facts)
    shown = "".join(
        f'<figure><img loading="lazy" alt="{escape(text)} of {escape(row.name)}" src="{_data(jpeg)}">'
        f"<figcaption>{escape(text)}</figcaption></figure>"
        for text, jpeg in pictures
    )
    return (
        f'<div class="case"><div class="name"><b>{escape(row.set)} / {escape(row.name)}</b>{flags}{said}</div>'
        f'<div class="four">{shown}</div></div>'
    )


def _caption(row: Row) -> list[str]:
    facts = [_iou(row), f"MAE {row.scores.mae or 0.0:.4f}", f"SAD {row.scores.sad or 0.0:.2f}"]
    if row.scores.grad is not None:
        facts.append(f"Grad {row.scores.grad:.2f}")
    if row.band.mae is not None:
        facts.append(f"MAE in the band {row.band.mae:.3f}")
    confidence = row.figures.get("confidence")
    if confidence is not None:
        facts.append(f"confidence {confidence:.2f}")
    return facts


def _flags(row: Row) -> list[str]:
    if row.outcome != MATTE:
        return [f"failed: {row.outcome}"]
    return ["would be refused"] if row.refused else []


def _iou(row: Row) -> str:
    return f"IoU {row.scores.iou or 0.0:.3f}"


def _folded(title: str, content: str, *, opened: bool = False) -> str:
    return f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>{content}</details>"


def _data(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
