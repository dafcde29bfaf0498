"""The report's charts, as SVG that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mattemill.pipeline.evaluation.bootstrap import Difference
from mattemill.pipeline.evaluation.trust import Trust

COLOURS = ("var(--a)", "var(--b)", "var(--c)", "var(--d)")
"""Of the first recipe, the second and so on; they repeat."""

_WIDTH, _HEIGHT = 380, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 10, 36

Point = tuple[float, float]


def colour_of(index: int) -> str:
    """The colour of a recipe by its place."""
    return COLOURS[index % len(COLOURS)]


def catch_chart(found: Sequence[tuple[int, Trust]]) -> str:
    """Share of the bad ones that is caught over the share that is refused; a diagonal is what chance catches.

    found: (place of the recipe, its trust).
    """
    marks = [_line([(0, 0), (1, 1)], "var(--quiet)", dashed=True)]
    for place, trust in found:
        if trust.bad:
            ideal = trust.bad / trust.n
            marks.append(_line([(0, 0), (ideal, 1), (1, 1)], "var(--line)"))
            marks.append(_line(trust.curve, colour_of(place)))
    return _plot(marks, "refused, share of all", "caught, share of the bad ones")


def calibration_chart(found: Sequence[tuple[int, Trust]]) -> str:
    """Share of good ones over the confidence, a dot a tenth, as large as the number of its photographs."""
    marks = [_line([(0, 0), (1, 1)], "var(--quiet)", dashed=True)]
    for place, trust in found:
        marks.append(_line([(each.confidence, each.good) for each in trust.bins], colour_of(place), faint=True))
        for each in trust.bins:
            x, y = _at((each.confidence, each.good))
            radius = 2.5 + 9 * (each.n / trust.n) ** 0.5
            marks.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour_of(place)}" fill-opacity=".75">'
                f"<title>{each.n} photographs: confidence {each.confidence:.2f}, {each.good:.0%} good</title></circle>"
            )
    return _plot(marks, "confidence", "share with an IoU of .85 or more")


def iou_chart(found: Sequence[tuple[int, Sequence[float]]]) -> str:
    """How many photographs are at least so good: the share of photographs over the IoU. found: (place, IoUs)."""
    marks = []
    for place, ious in found:
        ordered = sorted(ious)
        n = len(ordered)
        points = [(0.0, 1.0)]
        for i, iou in enumerate(ordered):
            points += [(iou, 1 - i / n), (iou, 1 - (i + 1) / n)]
        marks.append(_line(points, colour_of(place)))
    return _plot(marks, "IoU", "share of photographs that have it")


def interval_bar(difference: Difference, reach: float, colour: str) -> str:
    """A difference with its interval on a scale from -reach to reach, 0 in the middle."""
    width, height = 160, 16
    scale = width / 2 / reach if reach > 0 else 0.0

    def x(value: float) -> float:
        return min(width, max(0.0, width / 2 + value * scale))

    low = difference.low if difference.low is not None else difference.mean
    high = difference.high if difference.high is not None else difference.mean
    return (
        f'<svg viewBox="0 0 {width} {height}" style="width:10rem" role="img" aria-label="interval">'
        f'<line class="axis" x1="{width / 2}" x2="{width / 2}" y1="1" y2="{height - 1}"/>'
        f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="8" y2="8" stroke="{colour}" stroke-width="3" '
        f'stroke-opacity=".55"/><circle cx="{x(difference.mean):.1f}" cy="8" r="4" fill="{colour}"/></svg>'
    )


def stage_bars(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> str:
    """One bar a recipe, its stages one after the other. rows: (recipe, [(stage, ms)])."""
    longest = max((sum(ms for _, ms in stages) for _, stages in rows), default=0.0) or 1.0
    parts, y = [], 4
    for name, stages in rows:
        parts.append(f'<text x="0" y="{y + 9}">{escape(name)}</text>')
        x = 0.0
        for i, (stage, ms) in enumerate(stages):
            width = ms / longest * 560
            parts.append(
                f'<rect x="{x:.1f}" y="{y + 14}" width="{max(width - 1, 0.5):.1f}" height="16" fill="{colour_of(i)}" '
                f'rx="2"><title>{escape(stage)}: {ms:.0f} ms</title></rect>'
            )
            x += width
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 26}">{sum(ms for _, ms in stages):.0f} ms</text>')
        y += 46
    return f'<svg viewBox="0 0 640 {y}" role="img" aria-label="CPU ms by stage">{"".join(parts)}</svg>'


def _at(point: Point) -> Point:
    return (
        _LEFT + point[0] * (_WIDTH - _LEFT - _RIGHT),
        _HEIGHT - _BOTTOM - point[1] * (_HEIGHT - _TOP - _BOTTOM),
    )


def _line(points: Sequence[Point], colour: str, *, dashed: bool = False, faint: bool = False) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(_at, points))
    extra = ' stroke-dasharray="4 4"' if dashed else ' stroke-opacity=".4"' if faint else ""
    width = 1 if dashed else 2
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{extra}/>'


def _plot(marks: Sequence[str], across: str, up: str) -> str:
    """Both axes from 0 to 1."""
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _at((tick, tick))
        left, bottom = _at((0, 0))
        right, top = _at((1, 1))
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{top}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{tick:g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 5}" text-anchor="middle">{escape(across)}</text>')
    height = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f'<text transform="translate(11 {height}) rotate(-90)" text-anchor="middle">{escape(up)}</text>')
    label = escape(f"{up} over {across}")
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}{"".join(marks)}</svg>'
    )
