"""The columns of the outcome files and of the failure log, their versions, and how older files are read.

Outcome files (`outcomes/<fingerprint>/*.parquet`), one row an image and generation, sorted by key:

| column | type | meaning |
|---|---|---|
| key | string | identity of the image within the source; one that is not UTF-8 as in stored_key.py |
| etag | string | version of the object as listed, else as read; what resume compares; null = neither said it |
| size | int64 | bytes of the source file, as listed, else as read |
| outcome | string | 'matte' or 'failure' |
| reason | string | failures: one of the closed list in reasons.py; null for mattes |
| stage | string | failures: the stage in which the image ended |
| message | string | failures: one sentence for a person, at most 4,096 characters |
| output_key | string | mattes: key in the sink's bucket, or path below the sink's folder |
| output_bytes | int64 | mattes: encoded size |
| output_width, output_height | int32 | mattes: pixels of the output: the photograph's, or the canvas' |
| width, height | int32 | pixels as a viewer shows the photograph; null when no header could be read |
| format | string | of the source file: 'jpeg', 'png', ... |
| boxes | list<fixed list<float, 4>> | subjects, x0 y0 x1 y1 in pixels as shown |
| box_scores | list<float> | 0..1, one a box |
| scores | map<string, float> | named quality figures, 0..1 unless the name says otherwise |
| seconds | map<string, float> | wall time by stage |
| attempts | map<string, int32> | calls by stage that held this image |
| worker | map<string, string> | stage -> 'node:pid' |
| device | map<string, string> | stage -> 'cpu', 'cuda:0' |
| generation | int32 | 0 = first try; a retry or a changed photograph is one above the row that it replaces |
| shard | string | id of the shard that committed the row |
| finished_at | timestamp us UTC | when the shard was committed (by the driver's clock) |
| preview | binary | failures: a small JPEG or null; not in packed files, whose previews are in the failure log |

The newest row of a key counts: the highest generation, then the latest `finished_at`.

The failure log (`failures/date=YYYY-MM-DD/reason=<reason>/*.parquet`) has a row for each failure ever committed,
also for those that a later generation has put right: LOG_COLUMNS, and `date` and `reason` from the folders' names.

File metadata: the key `mattemill` holds JSON with schema, kind ('shard', 'packed' or 'failures'), fingerprint,
source, generation, shards (ids contained), committed_at and code (the version of mattemill that wrote it).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mattemill.pipeline.errors import LedgerError

SCHEMA_VERSION = 2

_BOX = pa.list_(pa.float32(), 4)

OUTCOME_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("stage", pa.string()),
        pa.field("message", pa.string()),
        pa.field("output_key", pa.string()),
        pa.field("output_bytes", pa.int64()),
        pa.field("output_width", pa.int32()),
        pa.field("output_height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("boxes", pa.list_(_BOX)),
        pa.field("box_scores", pa.list_(pa.float32())),
        pa.field("scores", pa.map_(pa.string(), pa.float32())),
        pa.field("seconds", pa.map_(pa.string(), pa.float32())),
        pa.field("attempts", pa.map_(pa.string(), pa.int32())),
        pa.field("worker", pa.map_(pa.string(), pa.string())),
        pa.field("device", pa.map_(pa.string(), pa.string())),
        pa.field("generation", pa.int32(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("finished_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("preview", pa.binary()),
    ]
)

PACKED_SCHEMA = pa.schema([f for f in OUTCOME_SCHEMA if f.name != "preview"])

LOG_COLUMNS = (
    "key",
    "etag",
    "stage",
    "message",
    "attempts",
    "boxes",
    "box_scores",
    "scores",
    "width",
    "height",
    "format",
    "fingerprint",
    "shard",
    "generation",
    "finished_at",
    "seconds",
    "preview",
)

LOG_SCHEMA = pa.schema(
    [
        pa.field("fingerprint", pa.string()) if name == "fingerprint" else OUTCOME_SCHEMA.field(name)
        for name in LOG_COLUMNS
    ]
)

HISTORY: dict[int, str] = {
    1: "The first one.",
    2: "output_width and output_height: an output on a canvas is of another size than its photograph.",
}
"""What each version of the schema changed. A version only ever adds columns; an added one is null in older files."""

METADATA_KEY = b"mattemill"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file's metadata says about it.

    kind: 'shard', 'packed' or 'failures'. generation: of a shard; the highest one contained in a packed file.
    shards: the ids of the shards whose rows are in the file. committed_at: ISO 8601, UTC. code: mattemill's version.
    """

    kind: str
    fingerprint: str
    source: str
    generation: int
    shards: tuple[str, ...]
    committed_at: str
    code: str
    schema: int = SCHEMA_VERSION

    @property
    def date(self) -> str:
        """YYYY-MM-DD of the commit: the partition of the failure log."""
        return self.committed_at[:10]

    def to_metadata(self) -> dict[bytes, bytes]:
        values = {name: getattr(self, name) for name in self.__slots__}
        return {METADATA_KEY: json.dumps(values, sort_keys=True).encode()}


def facts_of(metadata: dict[bytes, bytes] | None, name: str) -> FileFacts:
    """The facts in a file's metadata. Raises LedgerError naming the file when they are missing or too new."""
    raw = (metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise LedgerError(
            f"{name}: not written by mattemill (no metadata); move it out of the sink's _mattemill folder"
        )
    try:
        values: dict[str, Any] = json.loads(raw)
        version = int(values["schema"])
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{name}: its metadata cannot be read ({error}); restore the file or move it away") from error
    if version not in HISTORY:
        raise LedgerError(
            f"{name}: written with schema version {version}, this mattemill reads up to {SCHEMA_VERSION}; "
            "run it with the newer mattemill that wrote the file"
        )
    try:
        return FileFacts(
            kind=str(values["kind"]),
            fingerprint=str(values["fingerprint"]),
            source=str(values["source"]),
            generation=int(values["generation"]),
            shards=tuple(values["shards"]),
            committed_at=str(values["committed_at"]),
            code=str(values["code"]),
            schema=version,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            f"{name}: its metadata cannot be read ({error!r}); restore the file or move it away"
        ) from error


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the columns of `schema`, in its order; columns that an older file lacks are null."""
    there = dict(zip(table.column_names, table.columns, strict=True))
    columns = []
    for wanted in schema:
        column = there.get(wanted.name)
        if column is None:
            column = pa.nulls(table.num_rows, wanted.type)
        elif column.type != wanted.type:
            column = column.cast(wanted.type)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)
