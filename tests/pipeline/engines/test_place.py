"""Where networks run: what is named is had or is an error, what is open is chosen in order, and both are told."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from types import ModuleType, SimpleNamespace

import pytest

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.devices import CudaFound
from mattemill.pipeline.engines.gpus import DriverFound, Gpu
from mattemill.pipeline.engines.place import (
    CPU,
    EngineName,
    EnginesFound,
    Place,
    find_engines,
    place_of,
    rtx_capabilities,
    rtx_doubt,
    settled,
)
from mattemill.pipeline.errors import ConfigError, DeviceError

_H200 = Gpu(0, "NVIDIA H200", "9.0", 141 << 30)
_ON_H200 = DriverFound("13.0", (_H200,), None)
_NO_DRIVER = DriverFound(None, (), "no NVIDIA driver: libcuda.so.1 cannot be loaded")


def found(*lacking: EngineName, no_gpu: str = "", doubts: Mapping[EngineName, str] | None = None) -> EnginesFound:
    names: tuple[EngineName, ...] = ("onnxruntime", "tensorrt", "tensorrt_rtx")
    return EnginesFound(no_gpu, {name: f"{name} is gone" if name in lacking else "" for name in names}, doubts or {})


@pytest.mark.parametrize(
    ("lacking", "where"),
    [
        ((), "cuda:0 tensorrt fp16"),
        (("tensorrt",), "cuda:0 tensorrt_rtx fp16"),
        (("tensorrt", "tensorrt_rtx"), "cuda:0 onnxruntime"),
    ],
)
def test_an_open_engine_is_tensorrt_and_without_it_onnxruntime_on_the_gpu(
    lacking: tuple[EngineName, ...], where: str
) -> None:
    assert str(place_of(JobConfig(), found(*lacking))) == where
    assert str(place_of(JobConfig(device="cuda"), found(*lacking))) == where


def test_the_cpu_is_asked_for_and_had_without_a_look_at_gpus() -> None:
    assert place_of(JobConfig(device="cpu"), found()) == CPU
    assert str(CPU) == "cpu"


def test_an_engine_in_doubt_is_passed_over_and_taken_when_it_is_named(caplog: pytest.LogCaptureFixture) -> None:
    here = found("tensorrt", doubts={"tensorrt_rtx": "will most likely refuse NVIDIA H200"})
    assert place_of(JobConfig(), here) == Place("cuda:0", "onnxruntime", "fp32")
    with caplog.at_level(logging.WARNING):
        assert place_of(JobConfig(engine="tensorrt_rtx"), here) == Place("cuda:0", "tensorrt_rtx", "fp16")
    assert "most likely refuse" in caplog.text


def test_what_is_named_is_never_replaced_by_something_else() -> None:
    for name in ("onnxruntime", "tensorrt", "tensorrt_rtx"):
        with pytest.raises(DeviceError, match=rf"^engine {name} was asked for and cannot be had: {name} is gone"):
            place_of(JobConfig(engine=name, device="cuda" if name == "onnxruntime" else "auto"), found(name))
    for config in (JobConfig(device="cuda"), JobConfig(engine="tensorrt"), JobConfig(precision="fp16")):
        with pytest.raises(DeviceError, match="cannot be had: no driver"):
            place_of(config, found(no_gpu="no driver"))
    with pytest.raises(DeviceError, match="precision fp16, which is made in TensorRT's engines"):
        place_of(JobConfig(precision="fp16"), found("tensorrt", "tensorrt_rtx"))


def test_the_refusal_names_everything_that_is_missing_and_the_way_out() -> None:
    with pytest.raises(DeviceError) as refused:
        place_of(JobConfig(device="cuda"), find_engines(_NO_DRIVER, CudaFound(False, False, "cannot be loaded", 0)))
    for said in ("no NVIDIA driver", "tensorrt: ", "tensorrt_rtx: ", "install onnxruntime-gpu", "--device cpu"):
        assert said in str(refused.value)


def test_an_open_device_without_a_gpu_is_the_cpu_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert place_of(JobConfig(), found(no_gpu="no NVIDIA driver")) == CPU
        assert place_of(JobConfig(engine="onnxruntime"), found("onnxruntime")) == CPU
    assert "no NVIDIA driver" in caplog.text
    assert "onnxruntime is gone" in caplog.text


def test_fp32_is_had_in_every_engine() -> None:
    assert place_of(JobConfig(precision="fp32"), found()) == Place("cuda:0", "tensorrt", "fp32")
    assert place_of(JobConfig(precision="fp32"), found(no_gpu="none")) == CPU


@pytest.mark.parametrize(
    "settings",
    [
        {"engine": "tensorrt", "device": "cpu"},
        {"precision": "fp16", "device": "cpu"},
        {"precision": "fp16", "engine": "onnxruntime"},
        {"cuda_graphs": "on", "device": "cpu"},
        {"cuda_graphs": "on", "engine": "tensorrt_rtx"},
        {"cuda_graphs": "always"},
        {"engine": "openvino"},
        {"precision": "int8"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        JobConfig(**settings)  # type: ignore[arg-type]


def test_halves_are_another_fingerprint_and_onnxruntime_on_any_device_has_the_one_it_had() -> None:
    open_ = JobConfig()
    on_cpu = settled(open_, CPU)
    on_cuda = settled(open_, Place("cuda:0", "onnxruntime", "fp32"))
    halves = settled(open_, Place("cuda:0", "tensorrt", "fp16"))
    assert open_.fingerprint({}) == on_cpu.fingerprint({}) == on_cuda.fingerprint({}) != halves.fingerprint({})
    assert (halves.device, halves.engine, halves.precision) == ("cuda", "tensorrt", "fp16")


def test_graphs_that_are_asked_for_are_had_in_tensorrt_or_are_an_error() -> None:
    on = JobConfig(cuda_graphs="on")
    place = place_of(on, found())
    assert place == Place("cuda:0", "tensorrt", "fp16", "on")
    assert place_of(settled(on, place), found()) == place
    for here in (found("tensorrt"), found(no_gpu="no driver")):
        with pytest.raises(DeviceError, match=r"^engine tensorrt was asked for .*Or ask for --set cuda_graphs=auto$"):
            place_of(on, here)


def test_graphs_are_no_part_of_the_fingerprint_nor_of_what_a_place_is_called() -> None:
    places = {use: place_of(JobConfig(cuda_graphs=use), found()) for use in ("auto", "on", "off")}
    assert {place.graphs for place in places.values()} == {"auto", "on", "off"}
    assert {str(place) for place in places.values()} == {"cuda:0 tensorrt fp16"}
    assert JobConfig(cuda_graphs="auto").fingerprint({}) == JobConfig().fingerprint({})


def test_settled_settings_give_the_same_place_again_or_an_error() -> None:
    for lacking in ((), ("tensorrt", "tensorrt_rtx")):
        here = found(*lacking)
        place = place_of(JobConfig(), here)
        again = settled(JobConfig(), place)
        assert place_of(again, here) == place
        with pytest.raises(DeviceError):  # on a node that lacks it
            place_of(again, found("onnxruntime", "tensorrt"))


def test_tensorrt_rtx_is_doubted_on_a_gpu_that_it_has_no_name_for(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tensorrt_rtx")
    names = dict.fromkeys(("CURRENT", "NONE", "SM75", "SM80", "SM86", "SM89", "SM120", "SM121"), 0)
    module.ComputeCapability = SimpleNamespace(**names)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    assert rtx_capabilities() == ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
    doubt = find_engines(_ON_H200, CudaFound(False, True, "", 1)).doubts["tensorrt_rtx"]
    assert "will most likely refuse NVIDIA H200: it has no name for compute capability 9.0" in doubt
    assert rtx_doubt(Gpu(0, "GeForce RTX 5090", "12.0", 32 << 30), rtx_capabilities()) == ""


def test_the_real_tensorrt_rtx_has_no_name_for_an_h200() -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx, which is not installed")
    assert "8.9" in rtx_capabilities()
    assert "refuse NVIDIA H200" in rtx_doubt(_H200, rtx_capabilities())
