"""`mattemill doctor`: what it finds here, and what it makes of machines that are not here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from mattemill.cluster.cli.doctor import text_of
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines import doctor
from mattemill.pipeline.engines.devices import CudaFound
from mattemill.pipeline.engines.doctor import diagnose
from mattemill.pipeline.engines.gpus import DriverFound, Gpu, find_gpus
from mattemill.pipeline.engines.place import find_engines, place_of
from mattemill.pipeline.errors import DeviceError
from mattemill.pipeline.images import nvimgcodec_api

_NO_DRIVER = DriverFound(None, (), "no NVIDIA driver: libcuda.so.1 cannot be loaded")
_H200 = DriverFound("13.0", (Gpu(0, "NVIDIA H200", "9.0", 141 << 30),), None)
_NO_CUDA = CudaFound(False, False, "cannot be loaded", 0)
_CUDA = CudaFound(True, True, "", 1)


def test_it_finds_what_is_installed_here(here: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert here("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    parts = {part["name"]: part for part in found["parts"]}
    for name in ("onnxruntime", "simplejpeg", "isal"):
        assert parts[name]["state"] == "ok"
        assert parts[name]["found"][0].isdigit()
    assert (parts["NVIDIA GPU"]["state"] == "ok") == bool(find_gpus().gpus)
    assert found["cuda_refusal"] == find_engines().refusal()


def test_it_says_the_same_as_device_cuda_does_when_it_refuses() -> None:
    with pytest.raises(DeviceError) as refused:
        place_of(JobConfig(device="cuda"), find_engines(_NO_DRIVER, _NO_CUDA))
    said = diagnose(_NO_DRIVER, _NO_CUDA).cuda_refusal
    assert said is not None
    assert str(refused.value).startswith(said)
    assert "--device cuda is refused: device cuda was asked for" in text_of(diagnose(_NO_DRIVER, _NO_CUDA))


def test_without_a_gpu_networks_run_on_the_cpu_and_the_reason_is_told() -> None:
    networks, engines, _ = diagnose(_NO_DRIVER, _NO_CUDA).plans
    assert networks.where == "cpu"
    assert "onnxruntime-gpu" in networks.why
    assert engines.where in ("nowhere", "built here, run nowhere")
    assert "no NVIDIA driver" in engines.why


def test_with_a_gpu_and_its_provider_networks_run_there() -> None:
    found = diagnose(_H200, _CUDA)
    assert found.plans[0].where == "cuda:0"
    assert found.cuda_refusal is None
    text = text_of(found)
    assert "NVIDIA H200 (9.0, 141 GiB); driver for CUDA 13.0" in text
    assert "--device cuda can be had" in text


def test_what_is_missing_is_told_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    found = diagnose(_H200, _CUDA)
    parts = {part.name: part for part in found.parts}
    assert parts["tensorrt"].state != "ok"
    assert "pip install 'mattemill[gpu]'" in parts["tensorrt"].get
    assert found.plans[1].where == "nowhere"
    assert "tensorrt" in found.plans[1].why
    assert "pip install tensorrt-rtx" in text_of(found)


def test_without_the_bindings_for_graphs_it_says_what_goes_on_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    found = diagnose(_H200, _CUDA)
    part = next(part for part in found.parts if part.name == "cuda.bindings.driver")
    assert part.state != "ok"
    assert "without it they run without graphs" in part.purpose
    assert "pip install cuda-bindings" in text_of(found)
    assert found.cuda_refusal is None, "a job does without"


def test_a_library_that_does_not_start_is_broken_and_not_missing(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    (tmp_path / "tensorrt_rtx.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    part = next(part for part in diagnose(_H200, _CUDA).parts if part.name == "tensorrt_rtx")
    assert part.state == "broken"
    assert "libcudart" in part.found


def test_it_says_where_jpegs_are_decoded_and_what_is_missing_for_a_gpu_to_do_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "module_state", lambda name: ("ok", ""))
    monkeypatch.setattr(nvimgcodec_api, "nvjpeg_state", lambda: ("ok", "13.3"))
    assert diagnose(_H200, _CUDA).plans[2].why.endswith("the device chain's JPEGs on cuda:0 with gpu_decode = on")
    assert diagnose(_NO_DRIVER, _NO_CUDA).plans[2].why.endswith("nothing on a GPU: there is none")
    monkeypatch.setattr(nvimgcodec_api, "nvjpeg_state", lambda: ("missing", "not installed"))
    found = diagnose(_H200, _CUDA)
    assert found.plans[2].why.endswith("nothing on a GPU: nvJPEG is missing")
    assert "pip install 'mattemill[nvimgcodec]'" in next(part.get for part in found.parts if part.name == "nvJPEG")
