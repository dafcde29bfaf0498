"""The style sheet of the report: readable in light and dark, on a phone and on paper."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --ground: #fbfaf8; --card: #ffffff; --ink: #1d1f23; --quiet: #676c76; --line: #dfddd8;
  --a: #2f6fde; --b: #d9480f; --c: #2b8a3e; --d: #9c36b5; --good: #2b8a3e; --bad: #c92a2a; --faint: #f1efeb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15171b; --card: #1d2026; --ink: #e8e9ec; --quiet: #9aa1ad; --line: #32363f;
    --a: #74a7ff; --b: #ff9457; --c: #69db7c; --d: #da8cf0; --good: #69db7c; --bad: #ff8787; --faint: #262a31;
  }
}
* { box-sizing: border-box; }
body {
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: var(--ink); background: var(--ground);
  margin: 0 auto; padding: 2rem 1.25rem 5rem; max-width: 84rem;
}
h1 { font-size: 1.6rem; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 3rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem; }
p, .note { color: var(--quiet); margin: .25rem 0 1rem; max-width: 60rem; }
nav { margin: 1rem 0 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
a { color: var(--a); text-decoration: none; } a:hover { text-decoration: underline; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: .82rem; }
th, td { padding: .35rem .5rem; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th { font-weight: 600; color: var(--quiet); border-bottom: 1px solid var(--line); vertical-align: bottom; }
th[title] { white-space: normal; }
th[title] { cursor: help; }
td:first-child, th:first-child, td.text, th.text { text-align: left; }
tr.group td { border-top: 1px solid var(--line); }
tr.all td { background: var(--faint); font-weight: 600; }
td.best { color: var(--good); font-weight: 600; }
td.better { color: var(--good); } td.worse { color: var(--bad); }
.key { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin-right: .4em; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1.25rem; }
.chart { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1rem; }
.chart h3 { margin: 0 0 .25rem; } .chart p { font-size: .85rem; margin: .25rem 0; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--quiet); font-size: 11px; }
.grid { stroke: var(--line); stroke-width: 1; } .axis { stroke: var(--quiet); stroke-width: 1; }
.case { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .75rem; margin: 0 0 1rem; }
.case .name { display: flex; flex-wrap: wrap; gap: .1rem 1rem; align-items: baseline; margin-bottom: .5rem; }
.case .name b { overflow-wrap: anywhere; } .case .name span { color: var(--quiet); font-size: .88rem; }
.case .name .flag { color: var(--bad); font-weight: 600; }
.four { display: grid; grid-template-columns: repeat(4, 1fr); gap: .6rem; }
.four figure { margin: 0; } .four img { width: 100%; height: auto; display: block; border-radius: 4px; }
.four figcaption { font-size: .78rem; color: var(--quiet); padding-top: .15rem; }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .3em 0 .8em; }
details > summary { cursor: pointer; color: var(--a); margin: .75rem 0; }
@media (max-width: 46rem) { .four { grid-template-columns: repeat(2, 1fr); } }
@media print { body { max-width: none; } .case, .chart { break-inside: avoid; } }
"""
