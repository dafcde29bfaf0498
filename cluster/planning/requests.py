"""Requests to the object store that a job makes, and the bytes that they move: counted from what the code does.

A test holds the counts of the ledger's part against the real ledger on a store that counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mattemill.cluster.planning.assumptions import Assumptions
from mattemill.pipeline.ledger.lease import BEAT_SECONDS
from mattemill.pipeline.ledger.packing import LARGEST, MOST_ROWS

PAGE = 1000
"""Keys that one LIST answers."""

_LOOK_SECONDS = 30.0  # of the committer, at the lease
_OPEN = {"put": 3, "get": 1, "list": 6}  # binding, lease and job record of a sink that is new
_END = {"put": 2, "get": 1, "list": 1}  # the listing's size into the job record, a last look, the lease given back


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests by what they are for. HEADs are counted as GETs: they cost the same. DELETEs cost nothing.

    photographs: GETs. outputs: PUTs. listing: LISTs of the source. outcome_files: PUTs, one a shard.
    failure_log: PUTs, one a shard and reason that occurs in it. packing_gets, packing_puts: when the job ends.
    lease_lists, lease_puts: looks whether another run took over, and signs of life. Start and end are in the sums.
    """

    photographs: int
    outputs: int
    listing: int
    outcome_files: int
    failure_log: int
    packing_gets: int
    packing_puts: int
    lease_lists: int
    lease_puts: int
    deletes: int

    @property
    def gets(self) -> int:
        return self.photographs + self.packing_gets + _OPEN["get"] + _END["get"]

    @property
    def puts(self) -> int:
        other = _OPEN["put"] + _END["put"]
        return self.outputs + self.outcome_files + self.failure_log + self.packing_puts + self.lease_puts + other

    @property
    def lists(self) -> int:
        return self.listing + self.lease_lists + _OPEN["list"] + _END["list"]


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes: read (photographs), written (outputs), outcomes (outcome files and failure log, previews in both)."""

    read: int
    written: int
    outcomes: int
    previews: int


def count_requests(images: int, seconds: float, assume: Assumptions) -> Requests:
    """Requests of one job over `images` that are all due, with one driver, without retries and repeated work.

    seconds: from the driver's start to its end.
    """
    shards = math.ceil(images / assume.shard_size)
    failed = images * assume.image_failures
    files = round(shards * _reasons_a_shard(assume))
    packed = max(1, math.ceil(images / MOST_ROWS), math.ceil(images * assume.row_bytes / LARGEST)) if shards > 1 else 0
    return Requests(
        photographs=images,
        outputs=images - round(failed),
        listing=math.ceil(images / PAGE),
        outcome_files=shards,
        failure_log=files,
        # Each shard's file is read again, and each packed file looked at (HEAD).
        packing_gets=shards + packed,
        packing_puts=packed,
        # One look before each commit; at the end one before each PUT and each deletion, and the log's own listing.
        lease_lists=shards + math.floor(seconds / _LOOK_SECONDS) + 2 * packed + math.ceil(files / PAGE),
        lease_puts=math.floor(seconds / BEAT_SECONDS),
        deletes=shards if packed else 0,
    )


def count_bytes(
    images: int, megapixels: float, input_per_mp: float, output_per_mp: float, assume: Assumptions
) -> Moved:
    """Bytes of one job over photographs of one size."""
    failed = images * assume.image_failures
    previews = 2 * failed * assume.preview_bytes  # in the shard's file, and in the failure log
    return Moved(
        read=round(images * megapixels * input_per_mp),
        written=round((images - failed) * megapixels * output_per_mp),
        outcomes=round(2 * images * assume.row_bytes + failed * assume.row_bytes + previews),
        previews=round(previews),
    )


def _reasons_a_shard(assume: Assumptions) -> float:
    """Different reasons that a shard's failures have, on average, all being equally frequent."""
    each = assume.image_failures / assume.reasons
    return float(assume.reasons * (1.0 - (1.0 - each) ** assume.shard_size))
