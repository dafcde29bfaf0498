"""An evaluation as one HTML file: tables, comparisons, the trust in the score, the worst and the best pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from mattemill.pipeline.evaluation.charts import (
    calibration_chart,
    catch_chart,
    colour_of,
    interval_bar,
    iou_chart,
    stage_bars,
)
from mattemill.pipeline.evaluation.columns import COLUMNS, Column, columns_of, repairs_of
from mattemill.pipeline.evaluation.evaluation import Evaluation, machine
from mattemill.pipeline.evaluation.report_pictures import picture_sections
from mattemill.pipeline.evaluation.report_style import STYLE
from mattemill.pipeline.evaluation.summary import ALL, RIGHT_MASK, Comparison, more_is_better
from mattemill.pipeline.evaluation.trust import BAD, Trust

_STAGES: Final = ("detect", "segment", "matte")
_BEST_OF: Final = frozenset(column.figure for column in COLUMNS) - {"n", "failed", "mask_iou", "mask_sad"}
_COMPARED: Final = ("iou", "mae", "mse", "sad", "grad", "conn", "band_mse", "band_sad", "band_grad")
_SHOWN: Final[Mapping[str, Column]] = {column.figure: column for column in COLUMNS}


def report_html(found: Evaluation, *, title: str, details: Sequence[str] = (), pictures: int = 12) -> str:
    """The whole page; nothing outside it is needed. title: what was evaluated. details: lines under it.

    pictures: how many of the worst and of the best photographs each recipe shows; they must have been drawn.
    """
    compared = _comparison_section(found) if found.comparisons else ""
    body = [
        f"<header><h1>{escape(title)}</h1>",
        *(f'<p style="margin:0">{escape(line)}</p>' for line in (*details, _machine_line())),
        _navigation(found),
        "</header>",
        '<h2 id="summary">Summary</h2>',
        _summary_note(found),
        _summary_table(found),
        _repair_section(found),
        compared,
        _trust_section(found),
        _time_section(found),
        *picture_sections(found, pictures),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _navigation(found: Evaluation) -> str:
    links = [("summary", "Summary")]
    if found.comparisons:
        links.append(("comparison", "Comparison"))
    links += [("trust", "Trust in the score"), ("time", "Time and memory"), ("pictures", "Pictures")]
    return "<nav>" + "".join(f'<a href="#{to}">{escape(text)}</a>' for to, text in links) + "</nav>"


def _summary_note(found: Evaluation) -> str:
    apart = [each.name for each in found.sets if each.name not in found.counted]
    trimaps = {
        "auto": "The trimap is the pipeline's own.",
        "supplied": "Where a set has trimap/, the matte was found in that trimap, not in the pipeline's own.",
        "supplied2": "Where a set has trimap2/, the matte was found in that trimap, not in the pipeline's own.",
    }
    text = [
        f"Means over photographs; '{ALL}' is the mean over the photographs of {', '.join(found.counted) or 'no set'}.",
        f"Reported apart, as their truth is the main instance and need not be what stands out: {', '.join(apart)}."
        if apart
        else "",
        "A photograph without a matte counts as an empty one. The band is the set's trimap/, else 1 % of the long side "
        "around what is soft in the truth.",
        trimaps[found.contestants[0].trimap],
    ]
    return f'<p class="note">{escape(" ".join(part for part in text if part))}</p>'


def _summary_table(found: Evaluation) -> str:
    columns = columns_of(figures for each in found.summaries for figures in each.groups.values())
    several = len(found.summaries) > 1
    heads = ['<th class="text">set</th>']
    if several:
        heads.append('<th class="text">recipe</th>')
    heads += [f'<th title="{escape(column.meaning)}">{escape(column.title)}</th>' for column in columns]
    rows = []
    for group in _groups(found):
        best = {column.figure: _best(found, group, column.figure) for column in columns} if several else {}
        for place, summary in enumerate(found.summaries):
            figures = summary.groups.get(group)
            if figures is None:
                continue
            cells = [f"<td>{escape(group) if place == 0 else ''}</td>"]
            if several:
                cells.append(f'<td class="text">{_key(place)}{escape(summary.recipe)}</td>')
            for column in columns:
                winner = best.get(column.figure) is not None and best[column.figure] == figures.get(column.figure)
                cells.append(f"<td{' class=best' if winner else ''}>{column.text(figures)}</td>")
            kinds = [name for name, on in (("group", place == 0), ("all", group == ALL)) if on]
            rows.append(f'<tr class="{" ".join(kinds)}">{"".join(cells)}</tr>')
    return f'<div class="scroll"><table><tr>{"".join(heads)}</tr>{"".join(rows)}</table></div>'


def _best(found: Evaluation, group: str, figure: str) -> float | None:
    """The best value of a group, when one recipe is better than another."""
    values = [value for each in found.summaries if (value := each.groups.get(group, {}).get(figure)) is not None]
    if figure not in _BEST_OF or len(set(values)) < 2:
        return None
    return max(values) if more_is_better(figure) else min(values)


def _groups(found: Evaluation) -> list[str]:
    """Sets in their order, those apart behind the mean over all others."""
    there = {name for each in found.summaries for name in each.groups}
    order = [each.name for each in found.sets if each.name in found.counted]
    order += [ALL, *(each.name for each in found.sets if each.name not in found.counted)]
    return [name for name in order if name in there]


def _repair_section(found: Evaluation) -> str:
    lines = []
    for group in _groups(found):
        first = True
        for place, summary in enumerate(found.summaries):
            for repair in repairs_of(summary.groups.get(group, {})):
                kind = "better" if repair.change < 0 else "worse" if repair.change > 0 else ""
                over = f"IoU over {RIGHT_MASK:g}" if repair.kind == "right" else f"IoU up to {RIGHT_MASK:g}"
                lines.append(
                    f"<tr{' class=group' if first else ''}><td>{escape(group) if first else ''}</td>"
                    f'<td class="text">{_key(place)}{escape(summary.recipe)}</td><td class="text">{over}</td>'
                    f"<td>{repair.n}</td><td>{repair.mask_sad:.2f}</td><td>{repair.sad:.2f}</td>"
                    f'<td class="{kind}">{repair.change:+.1%}</td></tr>'
                )
                first = False
    if not lines:
        return ""
    return (
        "<h3>What refinement does to the mask</h3>"
        '<p class="note">Mean SAD in thousands of the soft mask and of the matte made from it, where the truth is an '
        "alpha: of masks that are right, whose edges are all that is left to do, and of the others, which the "
        "pipeline's own trimap seldom saves and must not harm.</p>"
        '<div class="scroll"><table><tr><th class="text">set</th><th class="text">recipe</th>'
        '<th class="text">masks</th>'
        f"<th>n</th><th>SAD of the mask</th><th>SAD of the matte</th><th>change</th></tr>{''.join(lines)}</table></div>"
    )


def _comparison_section(found: Evaluation) -> str:
    parts = [
        '<h2 id="comparison">Comparison</h2>',
        f'<p class="note">Differences to {escape(found.contestants[0].name)} on the same photographs, with the 95 % '
        "interval of a paired bootstrap (photographs drawn anew within each set, 10,000 times). Coloured where the "
        "interval leaves 0 out: green is better, red is worse. With a handful of photographs the interval is too "
        "narrow to be taken at its word.</p>",
    ]
    for place, contestant in enumerate(found.contestants[1:], 1):
        mine = [each for each in found.comparisons if each.b == contestant.name and each.figure in _COMPARED]
        overall = [each for each in mine if each.group == ALL]
        parts.append(f"<h3>{_key(place)}{escape(contestant.name)}, over all</h3>{_comparison_table(overall, 'figure')}")
        rest = [each for each in mine if each.group != ALL]
        if rest:
            parts.append(f"<details><summary>by set</summary>{_comparison_table(rest, 'set')}</details>")
    return "".join(parts)


def _comparison_table(rows: Sequence[Comparison], first: str) -> str:
    reaches: dict[str, float] = {}
    for each in rows:
        ends = (each.difference.mean, each.difference.low or 0.0, each.difference.high or 0.0)
        reaches[each.figure] = max(reaches.get(each.figure, 0.0), *(abs(end) for end in ends))
    lines = []
    last = None
    for each in rows:
        column, difference = _SHOWN.get(each.figure, Column(each.figure, each.figure, "", 4)), each.difference
        kind, colour = "", "var(--quiet)"
        if difference.sure:
            better = (difference.mean > 0) == more_is_better(each.figure)
            kind, colour = ("better", "var(--good)") if better else ("worse", "var(--bad)")
        digits = max(3, column.digits)
        interval = (
            f"{difference.low * column.factor:+.{digits}f} .. {difference.high * column.factor:+.{digits}f}"
            if difference.low is not None and difference.high is not None
            else "one photograph only"
        )
        group = f"<td>{escape(each.group) if each.group != last else ''}</td>" if first == "set" else ""
        lines.append(
            f'<tr{" class=group" if each.group != last else ""}>{group}<td class="text">{escape(column.title)}</td>'
            f"<td>{difference.n}</td>"
            f'<td class="{kind}">{difference.mean * column.factor:+.{digits}f}</td><td>{interval}</td>'
            f'<td class="text">{interval_bar(difference, reaches[each.figure], colour)}</td></tr>'
        )
        last = each.group
    head = '<th class="text">set</th>' if first == "set" else ""
    return (
        f'<div class="scroll"><table><tr>{head}<th class="text">figure</th><th>n</th><th>difference</th>'
        f'<th>95 % interval</th><th class="text"></th></tr>{"".join(lines)}</table></div>'
    )


def _trust_section(found: Evaluation) -> str:
    known = [(place, each.trust) for place, each in enumerate(found.summaries) if each.trust is not None]
    if not known:
        return ""
    ious = [
        (place, [row.scores.iou for row in rows if row.set in found.counted and row.scores.iou is not None])
        for place, rows in enumerate(found.rows.values())
    ]
    lines = "".join(
        f"<li>{_key(place)}{escape(found.summaries[place].recipe)}: {_trust_sentence(trust)}</li>"
        for place, trust in known
    )
    return (
        '<h2 id="trust">Can the score be trusted?</h2>'
        f'<p class="note">A matte with an IoU under {BAD:g} is a bad one. The confidence is meant as the probability '
        "that it is not; the less confident ones are refused first. Figures are over the sets that count.</p>"
        f'<ul style="list-style:none;padding:0">{lines}</ul><div class="charts">'
        '<div class="chart"><h3>What refusing catches</h3><p>Dashed: by chance. Pale: the best there could be.</p>'
        f"{catch_chart(known)}</div>"
        '<div class="chart"><h3>Does it mean what it says?</h3><p>A dot a tenth of the confidence; on the dashed line '
        f"it is right.</p>{calibration_chart(known)}</div>"
        '<div class="chart"><h3>The tail</h3><p>How many photographs reach an IoU; the area under it is the mean.</p>'
        f"{iou_chart([(place, values) for place, values in ious if values])}</div></div>{_catch_table(found, known)}"
    )


def _trust_sentence(trust: Trust) -> str:
    auc = f"AUC {trust.auc:.3f}" if trust.auc is not None else "no AUC (all good or all bad)"
    return f"{auc}, calibration error {trust.ece:.3f}; {trust.bad} of {trust.n} photographs are bad"


def _catch_table(found: Evaluation, known: Sequence[tuple[int, Trust]]) -> str:
    lines = []
    for place, trust in known:
        name = _key(place) + escape(found.summaries[place].recipe)
        for i, each in enumerate(trust.catches):
            cells = (f"{each.refused:.0%}", f"{each.threshold:.2f}", f"{each.caught:.0%}", f"{each.right:.0%}")
            first = name if i == 0 else ""
            shown = "".join(f"<td>{cell}</td>" for cell in cells)
            lines.append(f'<tr class="{"" if i else "group"}"><td>{first}</td>{shown}</tr>')
    rows = "".join(lines)
    if not rows:
        return ""
    return (
        '<h3>At a failure rate of x %</h3><div class="scroll"><table><tr><th class="text">recipe</th><th>refused</th>'
        "<th>threshold</th><th>bad ones caught</th><th>of the refused are bad</th></tr>"
        f"{rows}</table></div>"
    )


def _time_section(found: Evaluation) -> str:
    bars = []
    for summary in found.summaries:
        figures = summary.groups.get(ALL) or next(iter(summary.groups.values()), {})
        stages = [(name, figures[f"cpu_ms_{name}"]) for name in _STAGES if f"cpu_ms_{name}" in figures]
        bars.append((summary.recipe, stages))
    legend = "".join(f"<span>{_key(i)}{name}&ensp;</span>" for i, name in enumerate(_STAGES))
    return (
        '<h2 id="time">Time and memory</h2><p class="note">CPU ms a photograph on one thread, by stage; decoding the '
        "photograph is in detect, writing the file in none. Memory: the largest that any process held while it cut.</p>"
        f'<div class="chart" style="max-width:48rem"><p>{legend}</p>{stage_bars(bars)}</div>{_memory_line(found)}'
    )


def _memory_line(found: Evaluation) -> str:
    parts = []
    for summary in found.summaries:
        peaks = [figures["peak_mb"] for figures in summary.groups.values() if "peak_mb" in figures]
        if peaks:
            parts.append(f"{summary.recipe} {max(peaks):,.0f} MB")
    return f'<p class="note">Peak memory: {escape(", ".join(parts))}.</p>' if parts else ""


def _machine_line() -> str:
    found = machine()
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return f"{found['cpu']}; Python {found['python']}, {versions}"


def _key(place: int) -> str:
    return f'<span class="key" style="background:{colour_of(place)}"></span>'
