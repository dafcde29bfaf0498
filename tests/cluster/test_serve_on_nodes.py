"""`serve` over several Ray nodes: uploads become mattes in all of them, once each, also when a node is killed."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from event_server import EventServer
from PIL import Image
from s3_sink import S3Sink
from service_process import HERE, Service, outputs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[EventServer]:
    with EventServer() as server:
        yield server


@pytest.fixture
def cluster(server: EventServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without CPUs, and two nodes of one; what works there finds the stores and the stand-in stages."""
    from mattemill.cluster.ray_start import local_environment

    for name, value in {**local_environment(), **server.environment, "STANDIN_SECONDS": "0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.syspath_prepend(str(HERE))
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 100 * 2**20}
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
    try:
        found.workers = [found.add_node(num_cpus=1, **small) for _ in range(2)]
        yield found
    finally:
        found.shutdown()


def test_a_service_over_two_nodes_cuts_each_upload_once_though_one_of_them_is_killed(
    server: EventServer, cluster: Any, tmp_path: Path
) -> None:
    queue = server.queue("uploads")
    server.bucket("shop", queue, prefix="photos/")
    server.bucket("mattes")
    data = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 100, 50)).save(data, "JPEG")
    etags: dict[str, str] = {}

    def upload(*names: str) -> None:
        for name in names:
            answer = server.s3.put_object(Bucket="shop", Key=f"photos/{name}", Body=data.getvalue())
            etags[f"s3://shop/photos/{name}"] = answer["ETag"].strip('"')

    service = Service(server, queue, tmp_path / "log", seconds=0.1, SERVE_RAY_ADDRESS=cluster.address)
    try:
        service.wait_until(
            lambda: (
                service.progress.get("note") == "waiting for events"
                and all(stage["workers"] >= 2 for stage in service.progress["stages"])
            ),
            "workers of both cells, before there is any upload,",
        )
        assert server.messages(queue) == (0, 0)
        upload(*(f"{i:02d}.jpg" for i in range(60)))
        service.wait_until(lambda: outputs(server) >= 6, "six mattes")
        cluster.remove_node(cluster.workers.pop(), allow_graceful=False)
        assert outputs(server) < 60, "all was done before the node was killed: nothing was tested"
        service.wait_until(lambda: sum(server.messages(queue)) == 0, "the end of all messages")
        upload("late.jpg")
        service.wait_until(lambda: outputs(server) == 61, "the matte of an upload after the node was killed")
        service.wait_until(lambda: sum(server.messages(queue)) == 0, "the end of the last message")
        service.process.send_signal(signal.SIGTERM)
        out, _ = service.process.communicate(timeout=60)
    finally:
        service.process.kill()
    assert service.process.returncode == 0, (tmp_path / "log").read_text()
    found = S3Sink.read(server.s3, "mattes", "out/")
    assert {key: row["etag"] for key, row in found.newest.items()} == etags
    assert {row["outcome"] for row in found.newest.values()} == {"matte"}
    assert set(found.rows.values()) == {1}, "a doubled row"
    assert found.outputs == {row["output_key"] for row in found.newest.values()}
    cells = {dict(row["worker"])["cut"] for row in found.newest.values()}
    assert len(cells) >= 2, "one cell did it all"
    summary = json.loads(out.splitlines()[-1])
    assert summary["drained"] is True
    assert summary["events"]["deleted"] == 62, "one an upload, and the test event of the bucket's configuration"
    assert summary["events"]["held"] == 0
