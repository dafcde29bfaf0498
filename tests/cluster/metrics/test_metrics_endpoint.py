"""A small real job, and what Ray's endpoint says of it."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mattemill.cluster.metrics.catalogue import CATALOGUE
from mattemill.cluster.metrics.figures import Value
from mattemill.cluster.metrics.publish import RayMetrics
from mattemill.pipeline.config import JobConfig

pytest.importorskip(
    "opentelemetry.exporter.prometheus", reason="needs Ray's agent, of the extra `metrics`, which is not installed"
)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told_each_second() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "1000")
        yield


def test_every_metric_is_served_with_the_labels_that_the_catalogue_says(
    told_each_second: None, ray_here: None, tmp_path: Path
) -> None:
    import ray

    from mattemill.cluster.job import run_job

    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "b.jpg", "fail-detect-1.jpg"):
        (tmp_path / "in" / name).write_bytes(b"\x01" * 100)
    config = JobConfig(price_per_hour=3.0, placement="split", device="cpu")
    summary = run_job(str(tmp_path / "in"), str(tmp_path / "out"), config, stages="standin_stages")
    # What only a queue or several nodes make goes through the same publisher.
    RayMetrics(summary.fingerprint).send(
        [
            Value("mattemill_queue_messages", 2.0, {"what": "received"}),
            Value("mattemill_queue_held", 1.0),
            Value("mattemill_backlog_age_seconds", 4.0),
            Value("mattemill_event_to_matte_seconds", 1.5, {"quantile": "0.5"}),
            Value("mattemill_cells", 2.0, {"state": "working"}),
            Value("mattemill_cells_lost", 1.0),
            Value("mattemill_shards_leased_again", 2.0),
            Value("mattemill_cell_silence_seconds", 0.5),
        ]
    )
    nodes: Any = ray.nodes  # which Ray gives no types
    url = f"http://127.0.0.1:{nodes()[0]['MetricsExportPort']}/metrics"
    wanted, text = {metric.exported for metric in CATALOGUE}, ""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
        if wanted <= set(re.findall(r"^(ray_mattemill_\w+)\{", text, re.MULTILINE)):
            break
        time.sleep(0.5)
    served = dict(re.findall(r"^(ray_mattemill_\w+)\{(.*?)\} ", text, re.MULTILINE))
    assert wanted - served.keys() == set()
    for metric in CATALOGUE:
        assert {"fingerprint", *metric.labels} <= set(re.findall(r'(\w+)="', served[metric.exported])), metric.name
    failed = re.findall(r'^ray_mattemill_images_total\{.*reason="no_subject".*\} (\S+)', text, re.MULTILINE)
    assert [float(value) for value in failed] == [1.0]
