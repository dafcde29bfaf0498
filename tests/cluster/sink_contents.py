"""What a sink in a folder holds: its rows wherever they lie, and its outputs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq


@dataclass(frozen=True)
class SinkContents:
    """rows: (key, generation) -> how often. outcomes: key -> outcome of its newest row. outputs: files of mattes."""

    rows: Counter[tuple[str, int]]
    outcomes: dict[str, str]
    output_keys: dict[str, str | None]
    outputs: set[str]

    @classmethod
    def read(cls, sink: Path) -> SinkContents:
        """Every outcome row in a folder, wherever it lies, and every file beside the ledger."""
        rows: Counter[tuple[str, int]] = Counter()
        newest: dict[str, tuple[int, str, str | None]] = {}
        for file in sorted((sink / "_mattemill" / "outcomes").rglob("*.parquet")):
            for row in pq.read_table(file, columns=["key", "generation", "outcome", "output_key"]).to_pylist():
                rows[row["key"], row["generation"]] += 1
                if row["generation"] >= newest.get(row["key"], (-1, "", None))[0]:
                    newest[row["key"]] = (row["generation"], row["outcome"], row["output_key"])
        outputs = {
            str(path.relative_to(sink))
            for path in sink.rglob("*")
            if path.is_file() and "_mattemill" not in path.relative_to(sink).parts
        }
        return cls(
            rows,
            {key: outcome for key, (_, outcome, _) in newest.items()},
            {key: output for key, (_, _, output) in newest.items()},
            outputs,
        )
