"""How the commands put things to a person: sizes, times, rates, tables, log lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence


def count(number: int, one: str, many: str | None = None) -> str:
    """'1 image', '1,234 images'."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(n_bytes: float) -> str:
    """Bytes with a decimal unit: '912 B', '4.6 MB', '1.2 TB'."""
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def seconds(value: float) -> str:
    """'0.4 s', '12 s', '3 min 05 s', '7 h 12 min', '3 d 04 h'."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02d} h"


def rate(per_second: float, what: str = "images") -> str:
    """'0.42 images/s', '1.9 images/s', '1,540 images/s'."""
    digits = 0 if per_second >= 99.5 else 1 if per_second >= 0.995 else 2
    return f"{per_second:,.{digits}f} {what}/s"


def printable(text: str) -> str:
    """The text with control characters and bytes that are not UTF-8 escaped: a key comes from others."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def table(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset(), indent: str = "  ") -> str:
    """Rows of cells in columns as wide as their widest cell; the columns in `right` are set to the right."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))]  # noqa: B905
        lines.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


class StderrHandler(logging.Handler):
    """Log records to whatever `sys.stderr` is at that moment, so that they pass above a live progress view."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)


def set_up_logging(verbose: int) -> None:
    """Structured lines on stderr: warnings by default, information with -v, everything of ours with -vv."""
    handler = StderrHandler()
    handler.setFormatter(logging.Formatter("level=%(levelname)s logger=%(name)s %(message)s"))
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    for name in ("mattemill", "__main__"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
