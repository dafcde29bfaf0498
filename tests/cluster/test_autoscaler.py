"""A job on an autoscaled cluster that has no node yet: Ray's autoscaler v2 adds those that the job asks for.

The autoscaler is the real one; the machines that it starts are Ray's fake ones, further raylets on this machine.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sink_contents import SinkContents
from test_job import photographs

from mattemill.cluster.progress import Progress
from mattemill.pipeline.config import JobConfig

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
HEAD = "f" * 51 + "00000"  # what Ray's fake provider takes for the head
MOST = 2
_LISTS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
_MORE_LISTS = ("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A head without CPUs, and an autoscaler that may add nodes of one CPU. This process is not connected to it."""
    from mattemill.cluster.ray_start import local_environment

    before = dict(os.environ)
    os.environ.update(
        local_environment(),
        STANDIN_SECONDS="0.05",
        PYTHONPATH=os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
    )
    from ray.util import get_node_ip_address

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    provider = {
        # As an external one: of its own kind's defaults Ray's wheel lacks the file.
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "head_node_id": HEAD,
        "launch_multiple": True,
        "gcs_address": f"{get_node_ip_address()}:{port}",
    }
    spot = {"CPU": 1, "object_store_memory": 120 * 2**20}
    config = {
        "cluster_name": "fake",
        "max_workers": MOST,
        "provider": provider,
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "spot": {"resources": spot, "node_config": {}, "min_workers": 0, "max_workers": MOST},
        },
        "head_node_type": "ray.head.default",  # its provider knows the head by this name
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "rsync_filter": [],
        **{name: [] for name in (*_LISTS, *_MORE_LISTS)},
    }
    (tmp_path / "autoscaling.json").write_text(json.dumps(config))
    fakes = {"RAY_FAKE_CLUSTER": "1", "RAY_CLOUD_INSTANCE_ID": HEAD, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    command += ["--num-cpus=0", "--include-dashboard=false", "--object-store-memory=120000000"]
    command.append(f"--autoscaling-config={tmp_path / 'autoscaling.json'}")
    log = tmp_path / "head.log"
    with log.open("w") as out:
        head = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            env={**os.environ, **fakes, "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "1"},
        )
    started: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 60
        while (found := re.search(r"--address='([^']+)'", log.read_text())) is None:
            assert head.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield found[1]
    finally:
        import ray

        ray.shutdown()
        started = psutil.Process(head.pid).children(recursive=True)
        for process in started:
            if process.is_running():
                process.kill()
        head.kill()
        head.wait(30)
        psutil.wait_procs(started, timeout=30)
        os.environ.clear()
        os.environ.update(before)


def test_a_job_asks_for_its_nodes_and_ends_every_key_once(address: str, tmp_path: Path) -> None:
    from mattemill.cluster.job import run_job

    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    names = [f"{i:03d}.jpg" for i in range(160)]
    source, sink = photographs(tmp_path / "in", names), tmp_path / "out"
    config = JobConfig(device="cpu", ray_address=address, nodes=MOST, shard_size=4, fetch_batch=4, stall_timeout=120.0)
    notes: list[str] = []

    def look(progress: Progress) -> None:
        notes.append(progress.note)

    summary = run_job(str(source), str(sink), config, on_progress=look, stages="standin_stages")

    assert (summary.images, summary.cut, summary.drained) == (160, 160, False)
    assert any(note.startswith("waiting for a node") for note in notes), "there was a node: nothing was tested"
    assert any(note.startswith(f"cells {MOST},") for note in notes), set(notes)
    found = SinkContents.read(sink)
    assert set(found.outcomes) == set(names)
    assert set(found.rows.values()) == {1}, "a doubled row"
