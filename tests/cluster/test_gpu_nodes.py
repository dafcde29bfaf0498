"""GPUs of other nodes: what they say is made into one place; a job whose driver has none runs on them.

No GPU is there: a Ray node that says it has one stands for it, and stand-in stages run on it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sink_contents import SinkContents
from test_job import photographs

from mattemill.cluster import gpu_nodes
from mattemill.cluster.gpu_nodes import Survey, agreed, find_place
from mattemill.cluster.progress import Progress
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.gpus import find_gpus
from mattemill.pipeline.engines.place import CPU, Place
from mattemill.pipeline.errors import DeviceError

HERE = Path(__file__).parent
FP16 = Place("cuda:0", "tensorrt", "fp16")


def test_nodes_that_agree_give_their_place_and_the_memory_of_the_smallest_gpu() -> None:
    surveys = [Survey("a", FP16, 80), Survey("b", FP16, 24), Survey("c", None, why="no driver")]

    assert agreed(surveys) == (FP16, 24)


def test_nodes_that_would_make_different_mattes_are_an_error_that_names_both() -> None:
    with pytest.raises(DeviceError, match=r"node a .*tensorrt fp16, node b .*onnxruntime: say which with --set engine"):
        agreed([Survey("a", FP16, 80), Survey("b", Place("cuda:0"), 80)])


def test_without_a_usable_gpu_every_node_says_why() -> None:
    with pytest.raises(
        DeviceError, match=r"node a offers a GPU to Ray, but no driver; node b offers .*, but no pycuda"
    ):
        agreed([Survey("a", None, why="no driver"), Survey("b", None, why="no pycuda")])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without CPUs, as in infra/k8s/ray-gpu; this process is its driver."""
    if find_gpus().gpus:
        pytest.skip("this machine has a GPU: the driver would take it")
    from mattemill.cluster.ray_start import local_environment

    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    before = dict(os.environ)
    os.environ.update(local_environment(), STANDIN_SECONDS="0.05")
    import ray
    from ray.cluster_utils import Cluster

    store = {"object_store_memory": 120 * 2**20}
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **store})
    try:
        ray.init(address=found.address, log_to_driver=False)
        yield found
    finally:
        ray.shutdown()
        found.shutdown()
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.slow
def test_a_job_on_gpus_of_other_nodes(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mattemill.cluster.job import run_job

    asked_for = JobConfig(device="cuda", ray_address=cluster.address, shard_size=4, stall_timeout=60.0)
    with pytest.raises(DeviceError, match=r"no node of the Ray cluster at .* offers a CPU and a GPU"):
        find_place(asked_for)
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(DeviceError, match="stopped while it waited"):
        find_place(asked_for, wait=30.0, stop=stopped)

    told: list[str] = []

    def add(note: str) -> None:
        if not told:
            cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=120 * 2**20)
        told.append(note)

    # The node that comes is asked for real, and has no driver.
    with pytest.raises(DeviceError, match="offers a GPU to Ray, but device cuda was asked for and cannot be had: "):
        find_place(asked_for, wait=30.0, on_wait=add)
    assert told[0] == "waiting for a node with a GPU"
    assert find_place(JobConfig(ray_address=cluster.address)).place == CPU, "what was left open runs on the CPU"

    def has_one(config: JobConfig) -> Survey:  # within the test, so that Ray sends it as it is
        import ray

        assert ray.get_gpu_ids() == [0], "a task without a share of a GPU does not see it"
        return Survey("b", Place("cuda:0", "tensorrt", "fp16"), 8 << 30)

    monkeypatch.setattr(gpu_nodes, "survey", has_one)
    names = [f"{i:02d}.jpg" for i in range(20)]
    source = photographs(tmp_path / "in", names)

    free: list[float] = []

    def look(progress: Progress) -> None:
        import ray

        free.append(ray.available_resources().get("GPU", 0.0))

    summary = run_job(str(source), str(tmp_path / "out"), asked_for, on_progress=look, stages="standin_stages")

    assert (summary.images, summary.drained) == (20, False)
    assert set(SinkContents.read(tmp_path / "out").rows.values()) == {1}
    assert min(free) < 0.01, "the workers of the networks took no GPU"
