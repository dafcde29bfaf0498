"""Where the ledger's files lie below a sink: names only, no reading or writing.

    <sink>/_mattemill/sink.json                                    the source that this sink belongs to
    <sink>/_mattemill/jobs/<fingerprint>.json                      settings, model hashes and last listing of a job
    <sink>/_mattemill/lease/<number>.json                          the run lease: one job at a time
    <sink>/_mattemill/outcomes/<fingerprint>/<shard id>.parquet    the outcomes of one shard: the commit
    <sink>/_mattemill/outcomes/<fingerprint>/packed-*.parquet      many shards' outcomes, joined when a job ended
    <sink>/_mattemill/failures/date=.../reason=.../<fingerprint>-<shard id>.parquet    the failure log

A packed file's name sorts after every shard's (`g...`), and a later one's after an earlier one's. A listing of S3 runs
in the order of names, page by page; a file that packing deletes is therefore still listed, or its successor is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FOLDER = "_mattemill"

_PACKED = re.compile(r"packed-(\d{8})-[0-9a-f]{16}\.parquet")
_LEASE = re.compile(r"(\d{8})\.json")


@dataclass(frozen=True, slots=True)
class Layout:
    """The names below one sink. root: '<prefix of the sink>/_mattemill', without a slash at the end."""

    root: str

    def output(self, key: str) -> str:
        """Where the output `key` (relative to the sink) lies."""
        return self.root.removesuffix(FOLDER) + key

    @property
    def binding(self) -> str:
        return f"{self.root}/sink.json"

    @property
    def jobs(self) -> str:
        return f"{self.root}/jobs/"

    def job(self, fingerprint: str) -> str:
        return f"{self.root}/jobs/{fingerprint}.json"

    def outcomes(self, fingerprint: str) -> str:
        return f"{self.root}/outcomes/{fingerprint}/"

    @property
    def all_outcomes(self) -> str:
        return f"{self.root}/outcomes/"

    def shard_file(self, fingerprint: str, shard_id: str) -> str:
        return f"{self.outcomes(fingerprint)}{shard_id}.parquet"

    def packed_file(self, fingerprint: str, number: int, digest: str) -> str:
        return f"{self.outcomes(fingerprint)}packed-{number:08d}-{digest[:16]}.parquet"

    @property
    def failures(self) -> str:
        return f"{self.root}/failures/"

    def failures_of(self, date: str) -> str:
        return f"{self.failures}date={date}/"

    def failure_file(self, date: str, reason: str, fingerprint: str, shard_id: str) -> str:
        return f"{self.failures_of(date)}reason={reason}/{fingerprint}-{shard_id}.parquet"

    @property
    def leases(self) -> str:
        return f"{self.root}/lease/"

    def lease(self, number: int) -> str:
        return f"{self.leases}{number:08d}.json"

    def knock(self, run_id: str) -> str:
        return f"{self.leases}knock-{run_id}.json"


def layout_below(prefix: str) -> Layout:
    """The layout of a sink whose keys start with `prefix`: '' or something that ends in '/' (`Location.prefix`)."""
    return Layout(prefix + FOLDER)


def packed_number(key: str) -> int | None:
    """The number of a packed file, None for any other name."""
    found = _PACKED.fullmatch(key.rpartition("/")[2])
    return int(found[1]) if found else None


def lease_number(key: str) -> int | None:
    """The number of a lease file, None for any other name."""
    found = _LEASE.fullmatch(key.rpartition("/")[2])
    return int(found[1]) if found else None


def shard_id_of(key: str) -> str | None:
    """The shard id of a shard's outcome file, None for a packed or a foreign file."""
    name = key.rpartition("/")[2]
    if not name.endswith(".parquet") or not name.startswith("g"):
        return None
    return name.removesuffix(".parquet")
