"""Random uploads, duplicates, disorder, junk, crashes and stops: every content is committed once, nothing is lost."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from intake_case import Case, settings
from simulated_queue import SimulatedQueue, eventbridge_body, s3_body, s3_record, sns_body

from mattemill.pipeline.errors import ForbiddenError, StoreUnavailableError
from mattemill.pipeline.events.judge import READING
from mattemill.pipeline.events.notices import read_notices
from mattemill.pipeline.shard import Shard

VISIBILITY = 30.0


class World:
    """Uploads and the messages about them; a cell that takes shards and commits them some time later.

    versions: key -> its ETags in the order in which they were written; told: which of them an event's time stands for.
    reuse: whether the bytes of a key may be those that it had before, which then have the same ETag.
    """

    def __init__(self, seed: int, reuse: bool) -> None:
        self.reuse = reuse
        self.told: dict[float, int] = {}
        self.rng = random.Random(seed)
        queue = SimulatedQueue(VISIBILITY, self.rng)
        queue.fails_delete = 0.05
        queue.on_delete = self.check_deletion
        # So many crashes are no poison: what is given up is tested apart.
        self.case = Case(settings(max_age=2.0, max_receives=1000), self.rng.choice([1, 3, 8]), queue=queue)
        self.versions: dict[str, list[str]] = {}
        self.deleted_objects: set[str] = set()
        self.open: list[Shard] = []
        self.unacknowledged: list[Shard] = []
        self.sequence = 0x10

    def upload(self) -> None:
        """One to three objects are written, and told of in one message; sometimes twice, sometimes late."""
        records = []
        for _ in range(self.rng.choice([1, 1, 1, 2, 3])):
            key = f"{self.rng.randrange(30):02d} +%.jpg"
            versions = self.versions.setdefault(key, [])
            name = self.rng.randrange(3) if self.reuse else len(versions)
            versions.append(f"{key}-v{name}")
            self.case.objects[key] = versions[-1]
            self.deleted_objects.discard(key)
            self.sequence += 1
            # Some stores send no sequencer, or always the same.
            sequencer = self.rng.choice([f"{self.sequence:08X}", f"{self.sequence:08X}", "", "0"])
            time = datetime.fromtimestamp(1_800_000_000 + self.sequence, UTC)
            self.told[time.timestamp()] = len(versions) - 1
            records.append((key, versions[-1], sequencer, time.isoformat()))
        if len(records) == 1 and self.rng.random() < 0.3:
            body = eventbridge_body(*records[0][:3], time=records[0][3])
        else:
            body = s3_body(*(s3_record(*record, time=time) for *record, time in records))
        if self.rng.random() < 0.3:
            body = sns_body(body)
        for _ in range(self.rng.choice([1, 1, 1, 2])):
            self.case.queue.send(body, delay=self.rng.choice([0, 0, 1, 5, 50]))

    def junk(self) -> None:
        bodies = ["hello", "[]", json.dumps({"Event": "s3:TestEvent"}), s3_body(s3_record("a", name="ObjectRemoved:X"))]
        self.case.queue.send(self.rng.choice(bodies))

    def remove(self) -> None:
        if self.case.objects:
            key = self.rng.choice(sorted(self.case.objects))
            del self.case.objects[key]
            self.deleted_objects.add(key)

    def work(self) -> None:
        """Take a shard, commit one, or tell the intake of a commit."""
        intake = self.case.intake
        if intake.ready and len(self.open) < 4:
            self.open.append(self.case.take())
        if self.open and self.rng.random() < 0.4:
            shard = self.open.pop(self.rng.randrange(len(self.open)))
            for ref in shard.refs:
                there = self.case.objects.get(ref.uri.removeprefix("s3://shop/"))
                reason = None if there == ref.etag else "missing" if there is None else "changed_while_reading"
                self.case.ledger.add(ref, shard.generation, reason)
            self.unacknowledged.append(shard)
        if self.unacknowledged and self.rng.random() < 0.5:
            intake.committed(ref.key for ref in self.unacknowledged.pop(0).refs)

    def outage(self) -> None:
        """The store stops saying what lies there, or says it again."""
        errors = [StoreUnavailableError("503"), ForbiddenError("403"), None, None]
        self.case.refusal = self.rng.choice(errors)

    def crash(self) -> None:
        """kill -9: what was in hand is forgotten; what was committed stands."""
        self.open.clear()
        self.unacknowledged.clear()
        self.case.intake = self.case.new_intake()

    def stop(self) -> None:
        """SIGTERM: nothing new, part of what is open ends within the deadline, the rest is given back."""
        self.case.intake.abandon()
        for shard in self.open[: self.rng.randint(0, len(self.open))]:
            part = shard.refs[: self.rng.randint(0, len(shard.refs))]
            for ref in part:
                there = self.case.objects.get(ref.uri.removeprefix("s3://shop/"))
                self.case.ledger.add(ref, shard.generation, None if there == ref.etag else "changed_while_reading")
            self.case.intake.committed(ref.key for ref in part)
        for shard in self.unacknowledged:
            self.case.intake.committed(ref.key for ref in shard.refs)
        self.case.intake.close()
        assert self.case.intake.stats.held == 0
        self.crash()

    def check_deletion(self, body: str) -> None:
        """No message goes before each of its contents, or a later one of the key, has its outcome."""
        notices = read_notices(body)
        for created in notices.created:
            row = self.case.ledger.newest.get(f"s3://shop/{created.key}")
            assert row is not None, f"deleted before its commit: {created}"
            assert row.etag is not None
            assert created.etag is not None
            versions = self.versions[created.key]
            assert created.time is not None
            newest = len(versions) - 1 - versions[::-1].index(row.etag)
            late = created.key in self.deleted_objects or newest >= self.told[created.time]
            assert late, f"deleted, and only an older content is committed: {created} {row}"


@pytest.mark.parametrize(
    ("reuse", "outages"),
    [(False, False), (True, False), (True, True)],
    ids=["new bytes each time", "the same bytes again", "a store that is away at times"],
)
@pytest.mark.parametrize("seed", range(25))
def test_every_content_is_committed_once_and_no_message_is_left_or_lost(seed: int, reuse: bool, outages: bool) -> None:
    world = World(seed, reuse)
    rng, case = world.rng, world.case
    for _ in range(300):
        doing = rng.random()
        if doing < 0.25:
            world.upload()
        elif doing < 0.28:
            world.junk()
        elif doing < 0.29:
            world.remove()
        elif doing < 0.30:
            world.crash()
        elif doing < 0.31:
            world.stop()
        if outages and doing > 0.9:
            world.outage()
        world.work()
        case.queue.now += rng.choice([0.0, 0.1, 1.0])
        case.intake.step(rng.random() < 0.8)
    case.refusal = None
    for _ in range(3000):
        if not case.queue.lying:
            break
        world.work()
        case.queue.now += 0.5
        case.intake.step(True)

    assert case.queue.lying == {}, "messages that nobody ends"
    assert (case.intake.stats.held, case.intake.stats.parked, case.intake.stats.waiting) == (0, 0, 0)
    newest = case.ledger.newest
    assert {f"s3://shop/{key}" for key in world.versions} <= newest.keys(), "a key without an outcome"
    for key, etag in case.objects.items():
        row = newest[f"s3://shop/{key}"]
        assert (row.etag, row.reason) == (etag, None), "the last content has no matte"
    for key in newest:
        rows = [(etag, reason) for name, etag, reason, _ in case.ledger.rows if name == key]
        again = [row for row, after in itertools.pairwise(rows) if row[0] == after[0]]
        assert all(reason in READING for _, reason in again), "a content was done twice with nothing between"
    if not reuse:
        twice = {row: n for row, n in Counter((key, etag) for key, etag, _, _ in case.ledger.rows).items() if n > 1}
        assert twice == {}, "a content was done twice"
