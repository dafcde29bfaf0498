"""One Parquet file of outcome rows: from outcomes to bytes, and from bytes to columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mattemill.pipeline.errors import LedgerError
from mattemill.pipeline.ledger.schema import OUTCOME_SCHEMA, FileFacts, conform, facts_of
from mattemill.pipeline.ledger.stored_key import stored_key
from mattemill.pipeline.outcome import Failure, Matte, Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import Shard

CONTENT_TYPE = "application/vnd.apache.parquet"

MESSAGE_LIMIT = 4096
"""Characters of a failure's message that are kept: a stack of exceptions can be megabytes."""


@dataclass(frozen=True, slots=True)
class OutcomeFile:
    """A file as read: what its metadata says, and the columns that were asked for.

    footer: its Parquet metadata.
    """

    name: str
    facts: FileFacts
    table: pa.Table
    footer: pq.FileMetaData

    @property
    def packed_bytes(self) -> int:
        """Compressed bytes of its columns without the previews, for the sizing of packed files.

        Counted when asked for: it costs a tenth of the reading, and a resume of 40,000 files never asks.
        """
        return _bytes_without_previews(self.footer)


def code_version() -> str:
    """The installed version of mattemill, or 'source' when it runs without being installed."""
    try:
        return version("mattemill")
    except PackageNotFoundError:
        return "source"


def shard_table(shard: Shard, outcomes: Mapping[str, Outcome], finished_at: datetime) -> pa.Table:
    """The rows of a shard in the order of their keys, as OUTCOME_SCHEMA has it.

    Raises LedgerError naming the keys when the outcomes are not exactly those of the shard.
    """
    _check_keys(shard, outcomes)
    rows = [_row(ref, outcomes[ref.key], shard, finished_at) for ref in shard.refs]
    rows.sort(key=lambda row: row["key"])
    columns = [pa.array([row[field.name] for row in rows], type=field.type) for field in OUTCOME_SCHEMA]
    return pa.Table.from_arrays(columns, schema=OUTCOME_SCHEMA)


def encode(table: pa.Table, facts: FileFacts, row_group_size: int | None = None) -> bytes:
    """The table as a zstd Parquet file with its facts in the metadata; equal input, equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(facts.to_metadata()), sink, compression="zstd", row_group_size=row_group_size
    )
    return bytes(sink.getvalue())


def decode(data: bytes, name: str, schema: pa.Schema = OUTCOME_SCHEMA) -> OutcomeFile:
    """Read the columns of `schema` from a file of any known version.

    Raises LedgerError naming the file when it is damaged, foreign, or of a newer schema version.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        facts = facts_of(file.metadata.metadata, name)
        table = file.read(columns=schema.names, use_threads=False)  # those that an older file lacks are passed over
        return OutcomeFile(name, facts, conform(table, schema), file.metadata)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise LedgerError(f"{name}: cannot be read as Parquet ({error}); restore it, or delete it to have its "
                          "images done again") from error  # fmt: skip


def _check_keys(shard: Shard, outcomes: Mapping[str, Outcome]) -> None:
    keys = [ref.key for ref in shard.refs]
    wanted = set(keys)
    if len(wanted) != len(keys):
        doubled = sorted({key for key in wanted if keys.count(key) > 1})
        raise LedgerError(f"shard {shard.id}: holds a key more than once: {_some(doubled)}")
    missing, extra = sorted(wanted - outcomes.keys()), sorted(outcomes.keys() - wanted)
    if missing or extra:
        raise LedgerError(
            f"shard {shard.id}: its {len(wanted)} images and the {len(outcomes)} outcomes differ; "
            f"without an outcome: {_some(missing)}; not of this shard: {_some(extra)}"
        )


def _some(keys: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(repr(key) for key in keys[:limit])
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return (shown + more) or "none"


def _row(ref: ImageRef, outcome: Outcome, shard: Shard, finished_at: datetime) -> dict[str, Any]:
    facts = outcome.facts
    row: dict[str, Any] = dict.fromkeys(OUTCOME_SCHEMA.names)
    row |= {
        "key": stored_key(ref.key),
        # The listed version is what the next listing is compared with, also when other bytes were read.
        "etag": ref.etag if ref.etag is not None else facts.etag,
        "size": ref.size if ref.size is not None else facts.encoded_bytes,
        "width": facts.width,
        "height": facts.height,
        "format": facts.format,
        "boxes": [list(box) for box in facts.boxes],
        "box_scores": list(facts.box_scores),
        "scores": _items(facts.scores),
        "seconds": _items(facts.seconds),
        "attempts": _items(facts.attempts),
        "worker": _items(facts.worker),
        "device": _items(facts.device),
        "generation": shard.generation,
        "shard": shard.id,
        "finished_at": finished_at,
    }
    match outcome:
        case Matte():
            row |= {
                "outcome": "matte",
                "output_key": stored_key(outcome.output_key),
                "output_bytes": outcome.output_bytes,
                "output_width": outcome.output_width,
                "output_height": outcome.output_height,
            }
        case Failure():
            row |= {
                "outcome": "failure",
                "reason": outcome.reason.value,
                "stage": outcome.stage,
                "message": _text(outcome.message),
                "preview": outcome.preview,
            }
    return row


def _items(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(mapping.items())


def _text(message: str) -> str:
    """The message as storable text: bytes of a file name that are no UTF-8 would be refused by Parquet."""
    safe = message.encode("utf-8", "replace").decode("utf-8")
    return safe if len(safe) <= MESSAGE_LIMIT else safe[: MESSAGE_LIMIT - 1] + "…"


def _bytes_without_previews(metadata: Any) -> int:
    total = 0
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            if chunk.path_in_schema != "preview":
                total += chunk.total_compressed_size
    return total


def joined_shards(files: Iterable[FileFacts]) -> tuple[str, ...]:
    """The ids of all shards in the files, sorted, each once."""
    return tuple(sorted({shard for facts in files for shard in facts.shards}))
