"""Where the device chain is asked for and cannot be had, the error names the setting and says what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mattemill.kernels.cuda.cpu_build import compiler
from mattemill.kernels.cuda.cpu_driver import CpuDriver, CpuStream
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.device_chain import open_chain
from mattemill.pipeline.device_chain.open_chain import check_chain
from mattemill.pipeline.engines.gpus import DriverFound, Gpu
from mattemill.pipeline.engines.place import CPU, Place
from mattemill.pipeline.errors import ConfigError
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.cards import CARDS

GPU = Place("cuda:0", "tensorrt", "fp16")
ON = JobConfig(device_chain="on", refine="guided")


def test_what_it_can_do_on_a_gpu_with_tensorrt_is_taken() -> None:
    check_chain(ON, GPU)
    check_chain(replace(ON, output="cutout", second_network="u2net"), GPU)
    check_chain(JobConfig(device_chain="on"), GPU)
    check_chain(replace(ON, refine="none"), GPU)


def test_nobody_is_asked_anything_while_it_is_off() -> None:
    check_chain(JobConfig(placement="split", canvas="100x100", output="cutout"), CPU)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"refine": "vitmatte"}, "refine = vitmatte"),
        ({"canvas": "100x100", "output": "cutout"}, "canvas"),
        ({"format": "webp"}, "format = webp"),
        ({"placement": "split"}, "placement = 'split'"),
    ],
)
def test_a_setting_that_it_has_no_kernel_for_is_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        check_chain(replace(ON, **settings), GPU)


@pytest.mark.parametrize("place", [CPU, Place("cuda:0", "onnxruntime")], ids=str)
def test_a_place_without_tensorrt_is_refused(place: Place) -> None:
    with pytest.raises(ConfigError, match=f"would run on {place}: .mattemill doctor"):
        check_chain(ON, place)


def test_a_model_whose_resizing_has_no_kernel_is_refused_before_a_job_begins() -> None:
    bilinear = [card.name for card in CARDS.values() if card.task == "saliency" and card.input.resample == "bilinear"]
    assert bilinear
    with pytest.raises(ConfigError, match=f"model {bilinear[0]}"):
        check_chain(replace(ON, model=bilinear[0]), GPU)


@pytest.mark.skipif(compiler() is None, reason="needs g++ to compile the kernels for the CPU")
@pytest.mark.parametrize(("refine", "opened"), [("network", ["u2netp", "mattenet"]), ("guided", ["u2netp"])])
def test_the_networks_that_a_job_needs_are_opened_at_its_place(
    refine: str, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lane and engines are fakes: there is no GPU here."""
    found: list[str] = []

    def open_engine(card: ModelCard, path: Path, place: Place) -> SimpleNamespace:
        assert place == GPU
        found.append(card.name)
        return SimpleNamespace(device="cuda:0", batch_limit=16)

    lost: list[str] = []
    lane = SimpleNamespace(driver=CpuDriver(), compute=CpuStream(), before_close=lambda drop: None, lose=lost.append)
    monkeypatch.setattr(open_chain, "lane_here", lambda gpu: lane)
    monkeypatch.setattr(open_chain, "open_engine", open_engine)
    monkeypatch.setattr(open_chain, "model_path", lambda name: Path(f"{name}.onnx"))
    chain = open_chain.open_chain(replace(ON, refine=refine), GPU)
    assert found == opened
    chain._lose("a kernel failed")
    assert lost == ["a kernel failed"], "a GPU that the chain loses is lost for every network of its lane"


def test_it_is_another_job_with_the_chain_and_without_it_the_same_as_before_there_was_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mattemill.pipeline.config.MATTE_VERSION", 4)  # that there was then
    hashes = {"detect": "0" * 64}
    without = JobConfig(refine="guided")
    assert ON.fingerprint(hashes) != without.fingerprint(hashes)
    assert without.fingerprint(hashes) == "3ac93c241f72de27"


def test_decoding_on_the_gpu_is_another_job_and_without_it_the_chain_is_the_same_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mattemill.pipeline.config.MATTE_VERSION", 4)  # that there was then
    hashes = {"detect": "0" * 64}
    assert replace(ON, gpu_decode="on").fingerprint(hashes) != ON.fingerprint(hashes)
    assert ON.fingerprint(hashes) == "dd383df3401a2672"


def test_decoding_on_the_gpu_needs_the_chain() -> None:
    with pytest.raises(ConfigError, match="set device_chain = 'on', too"):
        JobConfig(gpu_decode="on")


def test_decoding_on_the_gpu_without_nvimagecodec_is_refused_before_a_job_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = replace(ON, gpu_decode="on")
    found = DriverFound("13.0", (Gpu(0, "NVIDIA H200", "9.0", 141 << 30),), None)
    monkeypatch.setattr(open_chain, "why_no_nvimgcodec", lambda: "nvJPEG is missing: pip install it")
    monkeypatch.setattr(open_chain, "find_gpus", lambda: DriverFound(None, (), "no NVIDIA driver"))
    check_chain(config, GPU)  # a driver on a head node: its workers have the GPUs
    monkeypatch.setattr(open_chain, "find_gpus", lambda: found)
    check_chain(ON, GPU)
    with pytest.raises(
        ConfigError, match="gpu_decode = 'on': nvJPEG is missing: pip install it; or leave gpu_decode out"
    ):
        check_chain(config, GPU)
