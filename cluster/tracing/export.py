"""Sends the traces of sampled images to an OpenTelemetry collector: a span an image, and below it one a call.

Where to and how: OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT and the others of
https://opentelemetry.io/docs/specs/otel/protocol/exporter/), its protocol over HTTP. A collector that is away costs
traces, never an image, and at the end of a job a few seconds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import ConfigError
from mattemill.pipeline.outcome import Failure, Outcome, Trace, TracedCall
from mattemill.pipeline.shard import Shard

_log = logging.getLogger(__name__)

_QUEUE = 16_384  # spans that wait to be sent; more are dropped
_CLOSE = 5.0  # seconds for what is not sent yet when a job ends


def check_tracing(config: JobConfig) -> None:
    """Raises ConfigError when images are to be traced and OpenTelemetry is not installed, or set up wrongly."""
    if config.trace_share > 0:
        try:
            import opentelemetry.exporter.otlp.proto.http.trace_exporter
            import opentelemetry.sdk.trace.export  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"trace_share = {config.trace_share} needs OpenTelemetry, which is not installed here ({error}): "
                "pip install 'mattemill[trace]', or set trace_share = 0"
            ) from error
        try:
            TraceExporter("").close()
        except Exception as error:  # of what its variables say: here, and not once the job holds its lease
            raise ConfigError(
                f"OpenTelemetry cannot be used as its variables (OTEL_...) say: {error}; "
                "mend them, or leave trace_share out"
            ) from error


def trace_exporter(config: JobConfig, job: str) -> TraceExporter | None:
    """What sends the traces of this job (its fingerprint); None when nothing is traced. After `check_tracing`."""
    return TraceExporter(job) if config.trace_share > 0 else None


class TraceExporter:
    """Outcomes in, spans out, from one thread; the sending is in OpenTelemetry's own. sent: images."""

    def __init__(self, job: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        resource = Resource.create({SERVICE_NAME: "mattemill"}).merge(OTELResourceDetector().detect())
        # Which images are traced was decided when they were admitted: OTEL_TRACES_SAMPLER is not asked again.
        self._provider: Any = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
        # A shard's traces come at once, 7 spans each: room for those of a few shards of the default size.
        processor = BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=_QUEUE)
        self._provider.add_span_processor(processor)
        self._tracer: Any = self._provider.get_tracer("mattemill")
        self._job = job
        self._broken = False
        self.sent = 0

    def committed(self, shard: Shard, outcomes: Mapping[str, Outcome], now: float) -> None:
        """Send the traces among these outcomes, which stand in the sink since `now` (Unix seconds).

        Raises nothing: an error ends the tracing, never the job.
        """
        for key, outcome in outcomes.items():
            trace = outcome.facts.trace
            if trace is None or self._broken:
                continue
            try:
                self._send(shard, key, outcome, trace, now)
            except Exception as error:  # seeing less is no reason to cut nothing
                self._broken = True
                _log.warning("traces end error=%r next=the job goes on without them", error)

    def close(self) -> None:
        """Send what is left, waiting a few seconds for a collector that is slow or away."""
        # Its own limits are not kept: a collector that takes connections and says nothing costs 10 s each 512 spans.
        ending = threading.Thread(target=self._provider.shutdown, name="mattemill-traces", daemon=True)
        ending.start()
        ending.join(_CLOSE)
        if ending.is_alive():
            _log.warning("traces not sent within %.0f s next=the last ones are dropped", _CLOSE)

    def _send(self, shard: Shard, key: str, outcome: Outcome, trace: Trace, now: float) -> None:
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        about: dict[str, Any] = {
            "mattemill.job": self._job,
            "mattemill.shard": shard.id,
            "mattemill.key": _text(key),
            "mattemill.outcome": "failure" if isinstance(outcome, Failure) else "matte",
        }
        facts = outcome.facts
        for name, value in (("width", facts.width), ("height", facts.height), ("encoded_bytes", facts.encoded_bytes)):
            if value is not None:
                about[f"mattemill.{name}"] = value
        whole = self._tracer.start_span("image", start_time=_ns(trace.admitted), attributes=about)
        if isinstance(outcome, Failure):
            whole.set_attribute("mattemill.reason", str(outcome.reason))
            whole.set_attribute("mattemill.stage", outcome.stage)
            whole.set_status(Status(StatusCode.ERROR, _text(f"{outcome.reason}: {outcome.message}")))
        inside = set_span_in_context(whole)
        for call in trace.calls:
            span = self._tracer.start_span(call.stage, inside, start_time=_ns(call.began), attributes=_about(call))
            if call.fault:
                span.set_status(Status(StatusCode.ERROR, call.fault))
            span.end(_ns(call.ended))
        # From the end of its last stage an image waits for the others of its shard, then for the commit.
        span = self._tracer.start_span("commit", inside, start_time=_ns(trace.ended))
        span.end(_ns(max(now, trace.ended)))
        whole.end(_ns(max(now, trace.ended)))
        self.sent += 1


def _about(call: TracedCall) -> dict[str, Any]:
    about: dict[str, Any] = {"mattemill.items": call.items, "mattemill.attempt": call.attempt}
    if call.worker:
        about["mattemill.worker"] = call.worker
    if call.device:
        about["mattemill.device"] = call.device
    if call.crop is not None:
        about["mattemill.crop"] = call.crop
    if call.fault:
        about["mattemill.fault"] = call.fault
    return about


def _text(text: str) -> str:
    """What can be sent as UTF-8: keys may hold bytes that are none."""
    return text.encode("utf-8", "backslashreplace").decode()


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
