"""The two small JSON files of a sink: which source it belongs to, and with which settings a job ran."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mattemill.pipeline.config import MATTE_VERSION, JobConfig
from mattemill.pipeline.errors import AlreadyThereError, LedgerError, MissingObjectError, SinkError
from mattemill.pipeline.ledger.layout import Layout
from mattemill.pipeline.ledger.outcome_file import code_version
from mattemill.pipeline.storage.store import Store

BINDING_VERSION = 1
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Listing:
    """What a whole listing of the source held, for `status`. unlisted: committed keys that it no longer held."""

    listed: int
    unlisted: int
    at: str


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as its sink remembers it: `jobs/<fingerprint>.json`."""

    fingerprint: str
    settings: Mapping[str, Any]
    models: Mapping[str, str] = field(default_factory=dict)
    matte_version: int = MATTE_VERSION
    code: str = ""
    last_run: str = ""
    listing: Listing | None = None


def bind(store: Store, layout: Layout, source_root: str, now: str) -> None:
    """Make the sink belong to a source, or find that it does. Raises SinkError when it belongs to another one."""
    text = json.dumps({"schema": BINDING_VERSION, "source": source_root, "created": now}, indent=1)
    try:
        store.put(layout.binding, text.encode(), content_type=_JSON, if_absent=True)
    except AlreadyThereError:
        check_binding(store, layout, source_root)


def check_binding(store: Store, layout: Layout, source_root: str) -> None:
    """Raises SinkError when the sink belongs to another source; a sink that belongs to none is fine."""
    bound = bound_source(store, layout)
    if bound is not None and bound != source_root:
        raise SinkError(
            f"the sink holds the mattes of {bound}, not of {source_root}: keys of two sources would mix; "
            "use another sink prefix"
        )


def bound_source(store: Store, layout: Layout) -> str | None:
    """The root of the source that the sink belongs to, None when it belongs to none yet."""
    try:
        data = store.get(layout.binding).data
    except MissingObjectError:
        return None
    values = _parse(data, layout.binding)
    if values.get("schema") != BINDING_VERSION or not isinstance(values.get("source"), str):
        raise LedgerError(
            f"{layout.binding}: has schema {values.get('schema')!r}, this mattemill reads {BINDING_VERSION}; "
            "run it with the mattemill that wrote the sink"
        )
    return str(values["source"])


def job_record(config: JobConfig, fingerprint: str, models: Mapping[str, str], now: str) -> JobRecord:
    return JobRecord(fingerprint, asdict(config), dict(models), MATTE_VERSION, code_version(), now)


def write_job(store: Store, layout: Layout, record: JobRecord) -> None:
    """Write a job's record over the one of its last run."""
    data = json.dumps({"schema": 1, **asdict(record)}, indent=1, sort_keys=True).encode()
    store.put(layout.job(record.fingerprint), data, content_type=_JSON)


def read_job(store: Store, layout: Layout, fingerprint: str) -> JobRecord | None:
    """The record of a job, None when there is none."""
    key = layout.job(fingerprint)
    try:
        values = _parse(store.get(key).data, key)
    except MissingObjectError:
        return None
    try:
        listing = values["listing"]
        return JobRecord(
            fingerprint=fingerprint,
            settings=dict(values["settings"]),
            models=dict(values["models"]),
            matte_version=int(values["matte_version"]),
            code=str(values["code"]),
            last_run=str(values["last_run"]),
            listing=None if listing is None else Listing(**listing),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerError(f"{key}: cannot be read ({error!r}); delete it, the next run writes it again") from error


def _parse(data: bytes, key: str) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except ValueError as error:
        raise LedgerError(f"{key}: is no JSON ({error}); restore it or move it away") from error
    if not isinstance(values, dict):
        raise LedgerError(f"{key}: is no JSON object; restore it or move it away")
    return values
