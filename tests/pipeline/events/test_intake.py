"""What the intake does with messages, one behaviour each."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from intake_case import Case, keys_of, settings
from simulated_queue import SimulatedQueue, s3_body, s3_record

from mattemill.pipeline.errors import ConfigError, ForbiddenError, StoreError, StoreUnavailableError, UsageError
from mattemill.pipeline.events.errors import QueueAwayError
from mattemill.pipeline.events.queue import Message
from mattemill.pipeline.events.settings import EventSettings
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.storage.location import Location
from mattemill.pipeline.storage.store import Entry


def sent(case: Case, *keys: str, etag: str = "e1", sequencer: str = "") -> list[str]:
    return [case.queue.send(s3_body(s3_record(key, etag, sequencer))) for key in keys]


def test_a_shard_closes_when_it_is_full() -> None:
    case = Case(shard_size=3)
    sent(case, "a.jpg", "b.jpg", "c.jpg")
    while not case.intake.ready:
        case.steps()
    assert sorted(keys_of(case.take())) == ["s3://shop/a.jpg", "s3://shop/b.jpg", "s3://shop/c.jpg"]
    assert case.queue.now < 1005, "it did not wait for its age"


def test_a_shard_closes_when_it_is_old() -> None:
    case = Case(settings(max_age=5.0), shard_size=100)
    sent(case, "a.jpg")
    case.steps()
    assert not case.intake.ready
    case.steps(6)
    assert keys_of(case.take()) == ["s3://shop/a.jpg"]


def test_a_message_is_deleted_after_the_commit_and_not_before() -> None:
    case = Case(shard_size=1)
    (id,) = sent(case, "a.jpg")
    case.steps()
    shard = case.take()
    case.steps(100)
    assert case.queue.deleted == {}
    case.commit(shard)
    case.steps()
    assert list(case.queue.deleted) == [id]
    assert len(case.queue.lying) == 0


def test_a_message_in_several_shards_is_deleted_after_the_last_of_them() -> None:
    case = Case(shard_size=2)
    case.queue.send(s3_body(*(s3_record(f"{name}.jpg") for name in "abcd")))
    case.steps()
    first, second = case.take(), case.take()
    case.commit(second)
    case.steps(3)
    assert case.queue.deleted == {}
    case.commit(first)
    case.steps()
    assert len(case.queue.deleted) == 1


def test_a_message_stays_hidden_while_it_is_worked_on() -> None:
    case = Case(shard_size=1, queue=SimulatedQueue(visibility=30.0))
    sent(case, "a.jpg")
    case.steps()
    shard = case.take()
    case.steps(600, wants=False, seconds=1.0)
    assert case.intake.stats.extended >= 600 / 30
    assert case.intake.stats.lost_holds == 0
    (lying,) = case.queue.lying.values()
    assert lying.receives == 1
    case.commit(shard)
    case.steps()
    assert case.queue.lying == {}


def test_a_renewal_that_the_queue_did_not_answer_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(shard_size=1, queue=SimulatedQueue(visibility=30.0))
    sent(case, "a.jpg")
    case.steps()
    case.queue.now += 15

    def away(*_: object) -> int:
        raise QueueAwayError("503")

    with monkeypatch.context() as patch:
        patch.setattr(case.queue, "extend", away)
        with pytest.raises(QueueAwayError):
            case.steps(wants=False)
    case.steps(wants=False, seconds=10.0)
    assert (case.intake.stats.extended, case.intake.stats.lost_holds) == (1, 0)


def test_nothing_is_received_that_is_not_wanted() -> None:
    case = Case(shard_size=2)
    sent(case, *(f"{i}.jpg" for i in range(50)))
    case.steps(20, wants=False)
    assert case.queue.receive_calls == 0
    case.steps(20)
    assert case.intake.stats.held <= 2 + 10, "with a shard ready, no more is received"


def test_the_same_content_again_is_no_work() -> None:
    case = Case(shard_size=1)
    sent(case, "a.jpg")
    case.steps()
    case.commit(case.take())
    sent(case, "a.jpg")
    case.steps(4)
    assert not case.intake.ready
    assert len(case.queue.deleted) == 2
    assert case.intake.stats.done_before == 1
    assert case.heads == 0


def test_the_same_content_while_it_is_under_way_shares_its_end() -> None:
    case = Case(shard_size=1)
    sent(case, "a.jpg", "a.jpg")
    case.steps(5)
    shard = case.take()
    case.steps(5)
    assert not case.intake.ready
    assert case.queue.deleted == {}
    case.commit(shard)
    case.steps(2)
    assert len(case.queue.deleted) == 2
    assert len(case.ledger.rows) == 1


def test_new_content_is_done_again() -> None:
    case = Case(shard_size=1)
    case.objects["a.jpg"] = "e1"
    sent(case, "a.jpg", etag="e1", sequencer="01")
    case.steps()
    case.commit(case.take())
    case.objects["a.jpg"] = "e2"
    sent(case, "a.jpg", etag="e2", sequencer="02")
    case.steps(2)
    case.commit(case.take())
    assert case.ledger.rows == [("s3://shop/a.jpg", "e1", None, 0), ("s3://shop/a.jpg", "e2", None, 1)]


def test_new_content_of_a_key_that_is_under_way_waits_for_its_commit() -> None:
    case = Case(shard_size=1)
    case.objects["a.jpg"] = "e2"
    sent(case, "a.jpg", etag="e1", sequencer="01")
    case.steps()
    shard = case.take()
    sent(case, "a.jpg", etag="e2", sequencer="02")
    case.steps(3)
    assert not case.intake.ready
    assert case.intake.stats.parked == 1
    case.commit(shard)
    case.steps(2)
    case.commit(case.take())
    case.steps()
    assert [row[1:3] for row in case.ledger.rows] == [("e1", "changed_while_reading"), ("e2", None)]
    assert len(case.queue.deleted) == 2


def test_an_older_event_after_a_newer_one_is_ignored_by_its_sequencer() -> None:
    case = Case(shard_size=1)
    case.objects["a.jpg"] = "e2"
    sent(case, "a.jpg", etag="e2", sequencer="02")
    case.steps()
    case.commit(case.take())
    case.steps()
    sent(case, "a.jpg", etag="e1", sequencer="01")
    case.steps(3)
    assert not case.intake.ready
    assert (case.intake.stats.outdated, case.heads, len(case.queue.deleted)) == (1, 0, 2)


def test_an_older_event_after_a_restart_is_ignored_because_the_newer_content_lies_there() -> None:
    case = Case(shard_size=1)
    case.objects["a.jpg"] = "e2"
    sent(case, "a.jpg", etag="e2", sequencer="02")
    case.steps()
    case.commit(case.take())
    case.intake = case.new_intake()
    case.queue.lying.clear()
    sent(case, "a.jpg", etag="e1", sequencer="01")
    case.steps(3)
    assert not case.intake.ready
    assert (case.intake.stats.outdated, case.heads) == (1, 1)
    assert case.ledger.newest["s3://shop/a.jpg"].etag == "e2"


def test_an_event_of_an_object_that_is_gone_leaves_its_row_alone() -> None:
    case = Case(shard_size=1)
    sent(case, "a.jpg", etag="e1")
    case.steps()
    case.commit(case.take())
    sent(case, "a.jpg", etag="e2")
    case.steps(4)
    assert (case.intake.stats.gone, len(case.ledger.rows), len(case.queue.deleted)) == (1, 1, 2)


def test_the_first_content_again_after_a_second_one_is_cut_though_the_first_try_found_the_second() -> None:
    case = Case(shard_size=1)
    sent(case, "a.jpg", etag="e1", sequencer="01")
    case.steps()
    shard = case.take()
    sent(case, "a.jpg", etag="e2", sequencer="02")
    case.steps(3)
    case.ledger.add(shard.refs[0], shard.generation, "changed_while_reading")
    case.objects["a.jpg"] = "e1"
    sent(case, "a.jpg", etag="e1", sequencer="03")
    case.steps(3)
    case.intake.committed([shard.refs[0].key])
    case.steps(3)
    case.commit(case.take())
    case.steps(3)
    assert [row[1:] for row in case.ledger.rows] == [("e1", "changed_while_reading", 0), ("e1", None, 1)]
    assert case.queue.lying == {}
    assert not case.intake.ready


@pytest.mark.parametrize("sequencer", ["05", "", "0"])
@pytest.mark.parametrize("reason", ["missing", "forbidden", "changed_while_reading", "read_failed"])
def test_a_new_upload_of_what_could_not_be_read_is_tried_again(reason: str, sequencer: str) -> None:
    case = Case(shard_size=1)
    sent(case, "a.jpg", sequencer="01")
    case.steps()
    shard = case.take()
    case.objects["a.jpg"] = "e1"
    sent(case, "a.jpg", sequencer=sequencer)
    case.steps(3)
    case.ledger.add(shard.refs[0], 0, reason)
    case.intake.committed([shard.refs[0].key])
    case.steps(3)
    case.commit(case.take())
    case.steps(2)
    assert [row[1:] for row in case.ledger.rows] == [("e1", reason, 0), ("e1", None, 1)]
    assert case.queue.lying == {}


def test_a_failure_of_the_content_itself_stands_against_a_new_upload_of_it() -> None:
    case = Case(shard_size=1)
    sent(case, "a.jpg", sequencer="01")
    case.steps()
    shard = case.take()
    case.ledger.add(shard.refs[0], 0, "undecodable")
    case.intake.committed([shard.refs[0].key])
    case.objects["a.jpg"] = "e1"
    sent(case, "a.jpg", sequencer="02")
    case.steps(4)
    assert (len(case.ledger.rows), case.heads, case.queue.lying) == (1, 0, {})


def test_an_event_that_cannot_be_judged_now_is_judged_later(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(shard_size=1)
    sent(case, "a.jpg", etag="e1")
    case.steps()
    case.commit(case.take())
    case.steps()
    away = True
    real = case._head

    def head(ref: object) -> object:
        if away:
            raise StoreUnavailableError("503")
        return real(ref)  # type: ignore[arg-type]

    monkeypatch.setattr(case.intake._judge, "_head", head)
    case.objects["a.jpg"] = "e2"
    sent(case, "a.jpg", etag="e2")
    case.steps(20, seconds=1.0)
    assert not case.intake.ready
    assert len(case.queue.deleted) == 1
    away = False
    case.steps(10, seconds=1.0)
    case.commit(case.take())
    case.steps()
    assert len(case.queue.deleted) == 2


def cut_before(case: Case, *keys: str) -> None:
    """Photographs of which an earlier content is committed, and a later one lies there, and is told of."""
    sent(case, *keys, sequencer="01")
    while len(case.ledger.rows) < len(keys):
        case.steps()
        while case.intake.ready:
            case.commit(case.take())
    case.steps()
    case.objects.update(dict.fromkeys(keys, "e2"))
    sent(case, *keys, etag="e2", sequencer="02")


def test_an_upload_that_may_not_be_looked_up_for_a_while_is_cut_after_it() -> None:
    case = Case(shard_size=1)
    cut_before(case, "a.jpg")
    case.refusal = ForbiddenError("403")
    case.steps(60, seconds=1.0)
    assert (len(case.queue.lying), case.intake.stats.lost_holds) == (1, 0)
    case.refusal = None
    case.steps(70, seconds=1.0)
    case.commit(case.take())
    case.steps()
    assert [row[1:] for row in case.ledger.rows] == [("e1", None, 0), ("e2", None, 1)]
    assert case.queue.lying == {}


@pytest.mark.parametrize(
    ("refusal", "seconds", "reason"),
    [
        (ForbiddenError("403"), 300, "forbidden"),
        (StoreError("301"), 300, "read_failed"),
        (StoreUnavailableError("503"), 3600, "read_failed"),
    ],
)
def test_an_upload_that_may_never_be_looked_up_ends_as_a_failure(
    refusal: StoreError, seconds: int, reason: str
) -> None:
    case = Case(shard_size=1, queue=SimulatedQueue(visibility=120.0))
    cut_before(case, "a.jpg")
    case.refusal = refusal
    end = case.queue.now + seconds
    while case.queue.now < end - 20:
        case.steps(seconds=10.0)
    assert len(case.ledger.rows) == 1
    case.steps(20, seconds=10.0)
    assert [row[1:] for row in case.ledger.rows] == [("e1", None, 0), ("e2", reason, 1)]
    assert (case.queue.lying, case.intake.stats.given_up) == ({}, 1)


def test_uploads_that_may_not_be_looked_up_do_not_keep_others_from_being_cut() -> None:
    case = Case(shard_size=1)
    cut_before(case, "a.jpg")
    case.refusal = ForbiddenError("403")
    case.steps(5, seconds=1.0)
    sent(case, "b.jpg")
    case.steps(5, seconds=1.0)
    assert keys_of(case.take()) == ["s3://shop/b.jpg"]


def test_while_the_store_is_away_one_look_a_step_is_taken_and_nothing_is_received() -> None:
    case = Case(shard_size=8, queue=SimulatedQueue(visibility=120.0))
    keys = [f"{i}.jpg" for i in range(40)]
    cut_before(case, *keys)
    case.refusal, case.head_seconds = StoreUnavailableError("503"), 20.0
    while len(case.intake._later) < 2:
        case.steps()
    sent(case, "new.jpg")
    received = case.intake.stats.received
    for _ in range(30):
        heads, now = case.heads, case.queue.now
        case.steps(seconds=1.0)
        assert case.heads - heads <= 1
        assert case.queue.now - now <= 21
    assert (case.intake.stats.received, case.intake.stats.lost_holds) == (received, 0)
    case.refusal, case.head_seconds = None, 0.0
    for _ in range(100):
        case.steps(seconds=1.0)
        while case.intake.ready:
            case.commit(case.take())
    assert case.queue.lying == {}
    assert {row.etag for key, row in case.ledger.newest.items() if "new" not in key} == {"e2"}
    assert len(case.ledger.rows) == 2 * len(keys) + 1


def test_one_object_that_the_store_cannot_tell_of_is_not_a_store_that_is_away() -> None:
    case = Case(shard_size=1, queue=SimulatedQueue(visibility=120.0))
    cut_before(case, "bad.jpg")
    real = case._head

    def head(ref: ImageRef) -> Entry:
        if "bad" in ref.key:
            raise StoreUnavailableError("500")
        return real(ref)

    case.intake._judge._head = head  # type: ignore[attr-defined]
    case.steps()
    assert case.intake.in_vain == 1
    sent(case, *(f"{i}.jpg" for i in range(5)))
    for _ in range(60):
        case.steps(seconds=1.0)
        while case.intake.ready:
            case.commit(case.take())
    assert len(case.queue.lying) == 1
    assert len(case.ledger.rows) == 1 + 5


def test_what_comes_at_the_end_of_a_long_poll_is_judged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(shard_size=1, queue=SimulatedQueue(visibility=10.0))
    real = case.queue.receive

    def receive(wait: float) -> Sequence[Message]:
        case.queue.now += wait
        return real(wait)

    monkeypatch.setattr(case.queue, "receive", receive)
    sent(case, "a.jpg")
    case.steps()
    assert case.intake.ready


def test_each_of_the_uploads_that_wait_for_the_store_is_asked_for_in_turn() -> None:
    case = Case(shard_size=8, queue=SimulatedQueue(visibility=120.0))
    cut_before(case, *(f"{i}.jpg" for i in range(5)))
    asked = []

    def head(ref: ImageRef) -> Entry:
        asked.append(ref.key)
        raise StoreUnavailableError("503")

    case.intake._judge._head = head  # type: ignore[attr-defined]
    case.steps(60, seconds=5.0)
    assert set(asked) == {later.event.ref.key for later in case.intake._later}
    assert len(set(asked)) > 1


def test_a_store_that_is_slow_does_not_keep_messages_from_being_hidden_for_longer() -> None:
    case = Case(shard_size=8, queue=SimulatedQueue(visibility=30.0))
    keys = [f"{i}.jpg" for i in range(30)]
    cut_before(case, *keys)
    case.head_seconds = 4.0
    for _ in range(200):
        now = case.queue.now
        case.steps()
        assert case.queue.now - now <= 15
        while case.intake.ready:
            case.commit(case.take())
    assert (case.queue.lying, case.intake.stats.lost_holds) == ({}, 0)
    assert {row.etag for row in case.ledger.newest.values()} == {"e2"}


def test_no_more_is_received_than_can_wait_behind_one_image() -> None:
    case = Case(shard_size=2)
    for i in range(400):
        sent(case, "hot.jpg", etag=f"e{i}", sequencer=f"{i + 1:04x}")
    case.objects["hot.jpg"] = "e399"
    case.steps(10, seconds=1.0)
    shard = case.take()
    case.steps(200)
    assert case.intake.stats.held <= 4 * 2 + 2 * 10
    case.commit(shard)
    for _ in range(400):
        case.steps(seconds=0.5)
        while case.intake.ready:
            case.commit(case.take())
    assert case.queue.lying == {}
    assert case.ledger.newest["s3://shop/hot.jpg"].etag == "e399"


def test_holds_are_renewed_though_the_queue_takes_no_deletions(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(shard_size=1, queue=SimulatedQueue(visibility=30.0))
    sent(case, "a.jpg", "b.jpg")
    case.steps()
    done = case.take()
    while not case.intake.ready:
        case.steps()

    def away(*_: object) -> list[str]:
        raise QueueAwayError("503")

    monkeypatch.setattr(case.queue, "delete", away)
    case.commit(done)
    for _ in range(20):
        case.queue.now += 5
        with pytest.raises(QueueAwayError):
            case.steps(wants=False)
    assert {lying.receives for lying in case.queue.lying.values()} == {1}
    assert all(lying.visible_at > case.queue.now for lying in case.queue.lying.values())


def test_the_last_try_of_a_message_is_a_shard_of_its_own() -> None:
    case = Case(settings(max_receives=3), shard_size=4, queue=SimulatedQueue(visibility=10.0))
    sent(case, *(f"{i}.jpg" for i in range(4)))
    for _ in range(2):  # one of the four ends each driver
        while not case.intake.ready:
            case.steps(seconds=1.0)
        assert len(case.take().refs) == 4
        case.intake = case.new_intake()
        case.queue.now += 11
    for _ in range(20):
        case.steps(seconds=1.0)
        while case.intake.ready:
            shard = case.take()
            assert len(shard.refs) == 1
            if keys_of(shard) != ["s3://shop/2.jpg"]:
                case.commit(shard)
    case.intake = case.new_intake()
    case.steps(30, seconds=1.0)
    assert case.queue.lying == {}
    assert {key: row.reason for key, row in case.ledger.newest.items()} == {
        f"s3://shop/{i}.jpg": "bad_message" if i == 2 else None for i in range(4)
    }


def test_a_message_that_is_no_event_ends_as_a_failure_row_and_is_deleted() -> None:
    case = Case()
    id = case.queue.send("hello")
    case.steps(2)
    assert case.ledger.rows == [(f"sqs://uploads/{id}", id, "bad_message", 0)]
    assert list(case.queue.deleted) == [id]


def test_a_bad_message_whose_deletion_failed_is_no_second_row() -> None:
    case = Case(queue=SimulatedQueue(visibility=10.0))
    case.queue.send("hello")
    case.queue.fails_delete = 1.0
    case.steps(2)
    case.intake = case.new_intake()
    case.queue.fails_delete = 0.0
    case.steps(20, seconds=1.0)
    assert case.queue.lying == {}
    assert len(case.ledger.rows) == 1


def test_a_message_that_came_too_often_ends_as_a_failure_of_its_images() -> None:
    case = Case(settings(max_receives=3), shard_size=1, queue=SimulatedQueue(visibility=10.0))
    (id,) = sent(case, "a.jpg")
    for _ in range(3):  # three drivers that die on it
        case.steps(11, seconds=1.0)
        assert case.take()
        case.intake = case.new_intake()
    case.steps(12, seconds=1.0)
    assert not case.intake.ready
    assert case.ledger.rows == [("s3://shop/a.jpg", "e1", "bad_message", 0)]
    assert list(case.queue.deleted) == [id]


def test_a_message_that_came_too_often_but_is_done_is_no_failure() -> None:
    case = Case(settings(max_receives=1), shard_size=1, queue=SimulatedQueue(visibility=10.0))
    sent(case, "a.jpg")
    case.steps()
    case.commit(case.take())
    case.intake = case.new_intake()  # killed between the commit and the deletion
    case.steps(12, seconds=1.0)
    assert [row[2] for row in case.ledger.rows] == [None]
    assert case.queue.lying == {}


def test_what_is_no_photograph_or_an_output_of_the_sink_is_deleted_and_counted() -> None:
    case = Case()
    for key, bucket in (("x.json", "shop"), ("folder/", "shop"), ("out/a.jpg.png", "mattes"), ("y.jpg", "mattes")):
        case.queue.send(s3_body(s3_record(key, bucket=bucket)))
    case.steps(8)
    assert case.intake._source.skipped == {".json file": 1, "folder marker": 1, "output of mattemill": 1}
    assert len(case.queue.deleted) == 3
    assert keys_of(case.take()) == ["s3://mattes/y.jpg"]


def test_with_a_source_keys_are_relative_to_it_and_others_are_left_out() -> None:
    case = Case(shard_size=1, source=Location.parse("s3://shop/photos"))
    sent(case, "photos/a.jpg", "elsewhere/b.jpg")
    case.steps(4)
    assert keys_of(case.take()) == ["a.jpg"]
    assert case.intake._source.skipped == {"outside of the source": 1}


def test_a_source_that_is_a_folder_is_refused() -> None:
    with pytest.raises(UsageError, match="events are of objects on S3"):
        Case(source=Location.parse("/photos"))


def test_a_stop_gives_back_what_is_not_being_worked_on_and_the_end_what_did_not_end() -> None:
    case = Case(shard_size=2)
    sent(case, *(f"{i}.jpg" for i in range(7)))
    while case.intake.stats.received < 2 or not case.intake.ready:
        case.steps()
    shard = case.take()
    held = case.intake.stats.held
    case.intake.abandon()
    assert case.intake.stats.held == 2
    assert case.intake.stats.released == held - 2
    case.ledger.add(shard.refs[0], 0, None)
    case.intake.committed([shard.refs[0].key])  # the other one did not end within the deadline
    case.intake.close()
    assert (case.intake.stats.held, len(case.queue.deleted)) == (0, 1)
    assert all(lying.visible_at <= case.queue.now for lying in case.queue.lying.values())


def test_it_is_idle_when_the_queue_is_empty_and_nothing_is_in_hand() -> None:
    case = Case(settings(idle_exit=3.0), shard_size=1)
    sent(case, "a.jpg")
    case.steps()
    shard = case.take()
    case.steps(20)
    assert not case.intake.idle, "an image is under way"
    case.commit(shard)
    case.steps()
    assert case.intake.idle


def test_latency_and_backlog_are_told() -> None:
    case = Case(shard_size=1)
    case.queue.now = 1_795_435_200.0 + 10  # ten seconds after the event
    sent(case, "a.jpg")
    case.queue.now += 20
    case.steps()
    assert case.intake.stats.backlog_age == pytest.approx(20)
    case.commit(case.take())
    case.queue.now += 5
    case.steps()
    stats = case.intake.stats
    assert stats.backlog_age == 0
    assert (stats.latency_p50, stats.latency_max) == pytest.approx((35, 35))
    assert stats.to_json()["committed"] == 1


@pytest.mark.parametrize("wrong", [{"max_age": -1.0}, {"max_receives": 0}, {"poll": 21.0}, {"idle_exit": -1.0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must lie in"):
        EventSettings(**wrong)  # type: ignore[arg-type]
