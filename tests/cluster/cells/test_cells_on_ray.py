"""A job on a Ray cluster of several nodes, with S3 beside it; one node is killed in the middle."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image
from s3_sink import S3Sink

from mattemill.cluster.metrics import watch
from mattemill.cluster.metrics.figures import Value
from mattemill.cluster.progress import JobSummary, Progress
from mattemill.pipeline.config import JobConfig

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and two nodes with a core each; jobs in this process use them."""
    from mattemill.cluster.ray_start import local_environment

    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    before = dict(os.environ)
    os.environ.update(local_environment(), STANDIN_SECONDS="0.15")
    import ray
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "object_store_memory": 120 * 2**20}
    found = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    try:
        found.workers = [found.add_node(**options), found.add_node(**options)]
        ray.init(address=found.address, log_to_driver=False)
        yield found
    finally:
        ray.shutdown()
        found.shutdown()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def photographs(bucket: str, s3_client: Any) -> set[str]:
    data = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 100, 50)).save(data, "JPEG")
    keys = {f"{i:03d}.jpg" for i in range(120)} | {"fail-cut-1.jpg"}
    for key in keys:
        s3_client.put_object(Bucket=bucket, Key=f"photos/{key}", Body=data.getvalue())
    return keys


def run(bucket: str, cluster: Any, on_progress: Any = None) -> JobSummary:
    from mattemill.cluster.job import run_job

    config = JobConfig(
        detector_model="real ends",
        device="cpu",
        shard_size=8,
        fetch_batch=4,
        lease_seconds=4.0,
        stall_timeout=60.0,
        ray_address=cluster.address,
    )
    source, sink = f"s3://{bucket}/photos/", f"s3://{bucket}/mattes/"
    return run_job(source, sink, config, on_progress=on_progress, stages="standin_stages", stop=threading.Event())


def assert_each_key_once(found: S3Sink, photographs: set[str]) -> None:
    assert set(found.newest) == photographs
    assert set(found.rows.values()) == {1}, "a doubled row"
    written = {row["output_key"] for row in found.newest.values() if row["outcome"] == "matte"}
    assert found.outputs == written, "a row without its matte, or a matte without its row"
    assert found.logged == Counter({("fail-cut-1.jpg", "no_subject", 0): 1})


class KeptMetrics:
    """In the place of Ray's metrics, which only show what Ray's agent serves: the last value of each series."""

    last: ClassVar[dict[tuple[str, ...], float]] = {}
    most: ClassVar[dict[tuple[str, ...], float]] = {}

    def __init__(self, fingerprint: str) -> None:
        self.last.clear()
        self.most.clear()

    def send(self, found: Iterable[Value]) -> None:
        for value in found:
            series = (value.name.removeprefix("mattemill_"), *value.labels.values())
            self.last[series] = value.value
            self.most[series] = max(value.value, self.most.get(series, 0.0))


def test_every_node_has_a_cell_and_every_key_one_row_also_when_a_node_is_killed(
    cluster: Any, bucket: str, photographs: set[str], s3_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "RayMetrics", KeptMetrics)
    notes: list[str] = []
    killed: list[int] = []

    def on_progress(progress: Progress) -> None:
        notes.append(progress.note)
        if not killed and "cells 3" in progress.note and 0 < progress.done < len(photographs) // 2:
            killed.append(progress.done)
            cluster.remove_node(cluster.workers.pop(), allow_graceful=False)

    summary = run(bucket, cluster, on_progress)

    assert killed, f"no node was killed in time: {notes}"
    assert any("silent 1" in note or "lost 1" in note for note in notes), notes
    assert not notes[-1].endswith("leased again 0"), "the node that was killed had nothing to do"
    assert summary.finished
    assert summary.images == len(photographs)
    found = S3Sink.read(s3_client, bucket)
    assert_each_key_once(found, photographs)
    last, most = KeptMetrics.last, KeptMetrics.most
    assert most["cells", "working"] == 3
    assert last["cells_lost",] + most["cells", "silent"] >= 1, "Ray may give the node up only after the job"
    assert last["shards_leased_again",] >= 1
    assert last["images_committed",] == len(photographs)
    # What a cell did after its last report, and then its node was gone, nobody can know.
    assert last["images", "matte", ""] >= len(photographs) - 1
    assert last["images", "failure", "no_subject"] >= 1
    assert most["stage_workers", "cut"] >= 2
    assert last["stage_items", "store"] >= len(photographs) - 1
    again = run(bucket, cluster)
    assert (again.images, again.already_done) == (0, len(photographs))
