"""A real job on Ray, whose traces arrive at a collector on a real socket."""

from __future__ import annotations

import io
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="OpenTelemetry's exporter is not installed")

from collector import Collector, attributes

from mattemill.cluster.job import run_job
from mattemill.cluster.tracing.traces import is_traced
from mattemill.pipeline.config import JobConfig

pytestmark = pytest.mark.slow


def test_the_traces_of_a_job_are_those_of_the_sampled_images_with_every_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent))
    data = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 100, 50)).save(data, "JPEG")
    share = 0.4
    failing = next(key for key in (f"fail-matte-{i}.jpg" for i in range(100)) if is_traced(key, share))
    keys = [f"{i:03d}.jpg" for i in range(40)] + [failing]
    (tmp_path / "in").mkdir()
    for key in keys:
        (tmp_path / "in" / key).write_bytes(data.getvalue())
    sampled = {key for key in keys if is_traced(key, share)}
    assert 5 < len(sampled) < 36
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    config = JobConfig(device="cpu", placement="split", shard_size=16, trace_share=share, detector_model="real ends")
    try:
        summary = run_job(str(tmp_path / "in"), str(tmp_path / "out"), config, stages="standin_stages")
    finally:
        collector.close()
    assert summary.images == len(keys)

    by_trace: dict[bytes, list[Any]] = defaultdict(list)
    for span in collector.spans:
        by_trace[span.trace_id].append(span)
    wholes = [span for span in collector.spans if span.name == "image"]
    assert len(by_trace) == len(wholes) == len(sampled), "one trace an image"
    assert {attributes(whole)["key"] for whole in wholes} == sampled
    for whole in wholes:
        about = attributes(whole)
        assert about["job"] == summary.fingerprint
        below = sorted((s for s in by_trace[whole.trace_id] if s is not whole), key=lambda s: s.start_time_unix_nano)
        names = [span.name for span in below]
        if about["key"] == failing:
            assert (about["outcome"], about["reason"]) == ("failure", "no_subject")
            assert names[-1] == "commit"
            continue
        assert names == ["fetch", "detect", "segment", "matte", "store", "commit"]
        for before, after in pairwise(below):
            # A millisecond: the answer of a call takes its way, and ends the call only when it is there.
            assert before.end_time_unix_nano <= after.start_time_unix_nano + 1_000_000
        assert whole.start_time_unix_nano <= below[0].start_time_unix_nano
        assert whole.end_time_unix_nano == below[-1].end_time_unix_nano
        assert all(":" in attributes(span)["worker"] for span in below[:-1]), "node and pid"


def test_a_trace_without_opentelemetry_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mattemill.pipeline.errors import ConfigError

    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    (tmp_path / "in").mkdir()
    with pytest.raises(ConfigError, match="mattemill"):
        run_job(str(tmp_path / "in"), str(tmp_path / "out"), JobConfig(trace_share=1.0), stages="standin_stages")
    assert not (tmp_path / "out").exists()
