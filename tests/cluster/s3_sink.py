"""What a sink on S3 holds: its rows wherever they lie, its failure log, and its outputs."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq


@dataclass(frozen=True)
class S3Sink:
    """What really lies in the sink.

    rows: (key, generation) -> how often. newest: key -> its newest row. outputs: keys of what is no part of the ledger.
    logged: (key, reason, generation) of the failure log -> how often.
    """

    rows: Counter[tuple[str, int]]
    newest: dict[str, dict[str, Any]]
    outputs: set[str]
    logged: Counter[tuple[str, str, int]]

    @classmethod
    def read(cls, client: Any, bucket: str, prefix: str = "mattes/") -> S3Sink:
        """Every object below the prefix, listed and read past mattemill's own code."""
        rows: Counter[tuple[str, int]] = Counter()
        logged: Counter[tuple[str, str, int]] = Counter()
        newest: dict[str, dict[str, Any]] = {}
        outputs = set()
        for key in list_keys(client, bucket, prefix):
            if "/_mattemill/" not in key:
                outputs.add(key)
            elif key.endswith(".parquet"):
                body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
                table = pq.ParquetFile(io.BytesIO(body)).read()
                if "/outcomes/" in key:
                    for row in table.drop_columns([c for c in ("preview",) if c in table.column_names]).to_pylist():
                        rows[row["key"], row["generation"]] += 1
                        if row["generation"] >= newest.get(row["key"], row)["generation"]:
                            newest[row["key"]] = row
                else:
                    reason = key.partition("/reason=")[2].partition("/")[0]
                    for row in table.select(["key", "generation"]).to_pylist():
                        logged[row["key"], reason, row["generation"]] += 1
        return cls(rows, newest, outputs, logged)


def list_keys(client: Any, bucket: str, prefix: str) -> list[str]:
    """The keys of all objects below a prefix."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", ())]
