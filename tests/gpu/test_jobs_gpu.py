"""Jobs on a real GPU: their networks run in the engine that was asked for, and cut as the CPU does. Not yet run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mattemill.cluster.job import run_job
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.cutter import Cutter
from mattemill.pipeline.engines.place import EngineName, find_engines, place_of

pytestmark = pytest.mark.gpu

_WITH_SUBJECT = ("astronaut.jpg", "cat.png", "coffee.webp")


@pytest.fixture(scope="module", params=["onnxruntime", "tensorrt", "tensorrt_rtx"])
def engine(request: pytest.FixtureRequest) -> EngineName:
    name: EngineName = request.param
    refusal = find_engines().refusal(name)
    if refusal is not None:
        pytest.skip(f"needs a GPU with {name}: {refusal}")
    return name


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_photograph_is_cut_on_the_gpu_as_on_the_cpu(
    engine: EngineName, precision: str, u2netp: Path, sample_photos: Path
) -> None:
    if engine == "onnxruntime" and precision == "fp16":
        pytest.skip("onnxruntime computes in what the network's file has, which is fp32 here")
    on_gpu = Cutter(JobConfig(device="cuda", engine=engine, precision=precision))
    on_cpu = Cutter(JobConfig(device="cpu"))
    for name in _WITH_SUBJECT:
        data = (sample_photos / name).read_bytes()
        ours, theirs = on_gpu.cut(data), on_cpu.cut(data)
        assert all(where.startswith(f"cuda:0 {engine}") for where in ours.facts.device.values())
        difference = np.abs(ours.pixels.astype(np.int16) - theirs.pixels).mean()
        assert difference < (2.5 if precision == "fp16" else 0.5), name


@pytest.mark.parametrize("placement", ["split", "fused"])
def test_a_job_runs_all_its_networks_on_the_gpu_and_its_summary_says_so(
    engine: EngineName, placement: str, u2netp: Path, sample_photos: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in _WITH_SUBJECT:
        (source / name).write_bytes((sample_photos / name).read_bytes())
    config = JobConfig(device="cuda", engine=engine, placement=placement)
    summary = run_job(str(source), str(tmp_path / "out"), config)
    assert (summary.images, summary.cut) == (3, 3)
    networks = {stage for stage in summary.devices if stage not in ("fetch", "store")}
    assert networks == ({"cut"} if placement == "fused" else {"detect", "segment", "matte"})
    assert {summary.devices[stage] for stage in networks} == {str(place_of(config))}


@pytest.mark.parametrize(("output", "refine"), [("matte", "guided"), ("cutout", "guided"), ("matte", "network")])
def test_a_job_with_the_device_chain_writes_what_one_without_it_writes(
    engine: EngineName, output: str, refine: str, u2netp: Path, sample_photos: Path, tmp_path: Path
) -> None:
    if engine == "onnxruntime":
        pytest.skip("the device chain needs TensorRT's engines")
    source = tmp_path / "in"
    source.mkdir()
    for name in _WITH_SUBJECT:
        (source / name).write_bytes((sample_photos / name).read_bytes())
    common = JobConfig(device="cuda", engine=engine, refine=refine, output=output)
    for name, config in (("host", common), ("chain", replace(common, device_chain="on"))):
        summary = run_job(str(source), str(tmp_path / name), config)
        assert (summary.images, summary.cut) == (3, 3)
    for path in (tmp_path / "host").glob("*.png"):
        with Image.open(path) as one, Image.open(tmp_path / "chain" / path.name) as other:
            difference = np.abs(np.asarray(one).astype(int) - np.asarray(other))
        assert difference.mean() < 0.5, path.name
