"""The previews of the failure log as files, and a page that shows them: for a person who goes through failures."""

from __future__ import annotations

import hashlib
from html import escape
from pathlib import Path

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.ledger.layout import layout_below
from mattemill.pipeline.ledger.outcome_file import decode
from mattemill.pipeline.ledger.queries import FailureExample, FailureReport
from mattemill.pipeline.ledger.schema import LOG_SCHEMA
from mattemill.pipeline.storage.location import Location, open_store

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222; }
h2 { margin-top: 2.5rem; } h2 small { font-weight: normal; color: #666; }
ul { list-style: none; padding: 0; display: grid; gap: 1rem; }
ul { grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
li { border: 1px solid #ddd; border-radius: 6px; padding: .6rem; overflow-wrap: anywhere; }
img { display: block; max-width: 100%; max-height: 16rem; margin: 0 auto .5rem; }
.none { height: 6rem; display: grid; place-items: center; background: #f3f3f3; color: #888; margin-bottom: .5rem; }
code { font-size: .85em; } p { margin: .3rem 0; }
"""


def write_page(folder: Path, report: FailureReport, sink: str, config: JobConfig) -> tuple[Path, int]:
    """Write DIR/index.html and DIR/previews/*.jpg for the examples of a report; returns the page and how many pictures.

    Raises UsageError when the folder cannot be written.
    """
    wanted = {(example.key, example.generation): example for group in report.groups for example in group.examples}
    pictures = read_previews(sink, config, report, set(wanted))
    named = {who: f"previews/{hashlib.sha256(repr(who).encode()).hexdigest()[:20]}.jpg" for who in pictures}
    try:
        (folder / "previews").mkdir(parents=True, exist_ok=True)
        for who, data in pictures.items():
            (folder / named[who]).write_bytes(data)
        page = folder / "index.html"
        page.write_text(page_html(report, named), encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror})") from error
    return page, len(pictures)


def read_previews(
    sink: str, config: JobConfig, report: FailureReport, wanted: set[tuple[str, int]]
) -> dict[tuple[str, int], bytes]:
    """(key, generation) -> JPEG, from the failure log of the report's job. Raises StoreError, LedgerError."""
    location = Location.parse(sink)
    store, layout = open_store(location, config), layout_below(location.prefix)
    reasons = {group.reason for group in report.groups}
    found: dict[tuple[str, int], bytes] = {}
    for entry in store.list(layout.failures):
        folder, _, name = entry.key.rpartition("/")
        if folder.rpartition("reason=")[2] not in reasons or not name.startswith(f"{report.fingerprint}-"):
            continue
        rows = decode(store.get(entry.key).data, entry.key, LOG_SCHEMA).table.select(["key", "generation", "preview"])
        for row in rows.to_pylist():
            who = (row["key"], row["generation"])
            if who in wanted and row["preview"]:
                found[who] = row["preview"]
        if len(found) == len(wanted):
            break
    return found


def page_html(report: FailureReport, pictures: dict[tuple[str, int], str]) -> str:
    """The page; keys and messages come from others and are escaped."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>mattemill: failures</title>',
        f"<style>{_STYLE}</style></head><body><h1>{report.failed:,} of {report.done:,} images failed</h1>",
        f"<p>Job {escape(str(report.fingerprint))} in {escape(report.sink)}. The log itself: "
        f"<code>{escape(report.log)}</code></p>",
    ]
    for group in report.groups:
        parts.append(
            f"<h2>{escape(group.reason)} <small>{group.count:,}</small></h2><p>{escape(group.sentence)}</p><ul>"
        )
        parts += [_item(example, pictures.get((example.key, example.generation))) for example in group.examples]
        parts.append("</ul>")
        if group.count > len(group.examples):
            parts.append(f"<p>and {group.count - len(group.examples):,} more</p>")
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _item(example: FailureExample, picture: str | None) -> str:
    shown = f'<img src="{picture}" alt="">' if picture else '<div class="none">no preview</div>'
    scores = ", ".join(f"{name} {value:.2f}" for name, value in example.scores.items())
    dimensions = f"{example.width}x{example.height}, " if example.width and example.height else ""
    return (
        f"<li>{shown}<p><code>{escape(example.key)}</code></p><p>{escape(example.message)}</p>"
        f"<p><small>{dimensions}in {escape(example.stage)}{', ' + escape(scores) if scores else ''}</small></p></li>"
    )
