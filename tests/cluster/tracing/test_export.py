"""Traces of images as an OpenTelemetry collector gets them, over a real socket."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="OpenTelemetry's exporter is not installed")

from collector import Collector, attributes
from simulated_cell import shards_of

from mattemill.cluster.tracing import export
from mattemill.cluster.tracing.export import TraceExporter, check_tracing, trace_exporter
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import ConfigError
from mattemill.pipeline.outcome import Facts, Failure, Matte, Outcome, Trace, TracedCall
from mattemill.pipeline.reasons import Reason

CALLS = (
    TracedCall("fetch", 1000.5, 1001.0, "node:11", "cpu", items=16),
    TracedCall("cut", 1001.25, 1002.0, items=8, fault="died"),
    TracedCall("cut", 1002.0, 1003.0, "node:12", "cpu", items=1, attempt=2),
    TracedCall("store", 1003.0, 1003.125, "node:13", "cpu", items=4),
)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    yield found
    found.close()


def some(key_of_failure: int = 1) -> tuple[Any, dict[str, Outcome]]:
    (shard,) = shards_of(3)
    keys = [ref.key for ref in shard.refs]
    traced = Facts(width=40, height=30, encoded_bytes=999, trace=Trace(1000.0, 1003.125, CALLS))
    outcomes: dict[str, Outcome] = dict.fromkeys(keys, Matte("k.png", 1))
    outcomes[keys[0]] = Matte("k.png", 1, traced)
    outcomes[keys[key_of_failure]] = Failure(Reason.NO_SUBJECT, "cut", "nothing \udcff found", None, traced)
    return shard, outcomes


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


def test_an_image_is_a_span_with_one_below_it_for_each_call_and_the_commit(collector: Collector) -> None:
    shard, outcomes = some()
    exporter = TraceExporter("0123456789abcdef")
    exporter.committed(shard, outcomes, 1010.0)
    exporter.close()
    assert exporter.sent == 2, "the third image is not traced"
    assert collector.services == {"mattemill"}
    by_trace = defaultdict(list)
    for span in collector.spans:
        by_trace[span.trace_id].append(span)
    assert len(by_trace) == 2
    for spans in by_trace.values():
        (whole,) = [span for span in spans if span.name == "image"]
        assert not whole.parent_span_id
        assert (whole.start_time_unix_nano, whole.end_time_unix_nano) == (ns(1000.0), ns(1010.0))
        below = [span for span in spans if span is not whole]
        assert {span.parent_span_id for span in below} == {whole.span_id}
        assert [(s.name, s.start_time_unix_nano, s.end_time_unix_nano) for s in below] == [
            *((call.stage, ns(call.began), ns(call.ended)) for call in CALLS),
            ("commit", ns(1003.125), ns(1010.0)),
        ]
        assert [span.status.code for span in below] == [0, 2, 0, 0, 0], "2 = error"
        assert attributes(below[1]) == {"items": 8, "attempt": 1, "fault": "died"}
        assert attributes(below[2]) == {"items": 1, "attempt": 2, "worker": "node:12", "device": "cpu"}


def test_the_span_of_an_image_says_which_it_is_and_how_it_ended(collector: Collector) -> None:
    shard, outcomes = some()
    exporter = TraceExporter("0123456789abcdef")
    exporter.committed(shard, outcomes, 1010.0)
    exporter.close()
    found = {attributes(span)["key"]: span for span in collector.spans if span.name == "image"}
    cut, failed = (found[ref.key] for ref in shard.refs[:2])
    common = {"job": "0123456789abcdef", "shard": shard.id, "width": 40, "height": 30, "encoded_bytes": 999}
    assert attributes(cut) == {**common, "key": shard.refs[0].key, "outcome": "matte"}
    assert cut.status.code == 0
    ending = {"outcome": "failure", "reason": "no_subject", "stage": "cut"}
    assert attributes(failed) == {**common, **ending, "key": shard.refs[1].key}
    assert (failed.status.code, failed.status.message) == (2, "no_subject: nothing \\udcff found")


def test_the_service_may_be_named_from_outside(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly")
    exporter = TraceExporter("job")
    exporter.committed(*some(), 1010.0)
    exporter.close()
    assert collector.services == {"nightly"}


def test_all_of_a_large_shard_is_sent(collector: Collector) -> None:
    (shard,) = shards_of(256, 256)
    facts = Facts(trace=Trace(1000.0, 1003.125, CALLS))
    exporter = TraceExporter("job")
    for _ in range(5):
        exporter.committed(shard, {ref.key: Matte("k.png", 1, facts) for ref in shard.refs}, 1010.0)
    exporter.close()
    assert len(collector.spans) == 5 * 256 * 6


@pytest.mark.parametrize("away", ["refuses", "is not there"])
def test_a_collector_that_is_away_stops_nothing(
    away: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = Collector(answers=400)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    if away == "is not there":
        found.close()
    exporter = TraceExporter("job")
    exporter.committed(*some(), 1010.0)
    exporter.close()
    if away == "refuses":
        found.close()
        assert found.requests >= 1
    assert caplog.records, "it is said"


def test_a_collector_that_says_nothing_holds_up_no_job(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(export, "_CLOSE", 0.2)
    found = Collector(silent=True)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    try:
        exporter = TraceExporter("job")
        (shard,) = shards_of(256, 256)
        facts = Facts(trace=Trace(1000.0, 1003.125, CALLS))
        for _ in range(3):
            exporter.committed(shard, {ref.key: Matte("k.png", 1, facts) for ref in shard.refs}, 1010.0)
        exporter.close()
        assert found.requests == 0, "it returned before the collector had said anything"
        assert "traces not sent" in caplog.text
    finally:
        found.close()


def test_an_error_ends_the_tracing_and_not_the_job(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    shard, outcomes = some()
    exporter = TraceExporter("job")
    exporter._tracer = None
    for _ in range(3):
        exporter.committed(shard, outcomes, 1010.0)
    exporter.close()
    assert caplog.text.count("traces end") == 1


def test_nothing_is_traced_unless_it_is_asked_for() -> None:
    assert trace_exporter(JobConfig(), "job") is None


def test_without_opentelemetry_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"pip install 'mattemill\[trace\]'"):
        check_tracing(JobConfig(trace_share=0.5))


def test_the_share_does_not_change_which_job_it_is() -> None:
    assert JobConfig(trace_share=1.0).fingerprint({}) == JobConfig().fingerprint({})
    with pytest.raises(ConfigError, match="trace_share"):
        JobConfig(trace_share=1.5)


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100000"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "abc")]
)
def test_variables_that_opentelemetry_refuses_are_an_error_before_anything_is_done(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"OpenTelemetry cannot be used as its variables"):
        check_tracing(JobConfig(trace_share=0.5))
    check_tracing(JobConfig())
