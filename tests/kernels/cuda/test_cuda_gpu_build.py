"""Machine code for GPUs, made where there is none: no spills, few registers, and which way it is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mattemill.kernels.cuda import gpu_build, nvrtc
from mattemill.kernels.cuda.errors import KernelBuildError, NoGpuError
from mattemill.kernels.cuda.gpu_build import ARCHITECTURES, build_fatbin, gpu_images, nvcc, packaged_fatbin
from mattemill.kernels.cuda.pycuda_driver import PycudaDriver
from mattemill.kernels.cuda.sources import KernelSources, build_key, packaged_sources

needs_nvcc = pytest.mark.skipif(nvcc() is None, reason="needs nvcc (the CUDA toolkit), not a GPU")

MOST_REGISTERS = 64  # of 65,536 a multiprocessor: 1,024 threads fit at least, half of what it can hold


def need_nvrtc() -> None:
    try:
        nvrtc.nvrtc_version()
    except KernelBuildError as error:
        pytest.skip(str(error))


def small_sources(body: str = "out[threadIdx.x] = half_bits(in[threadIdx.x]);") -> KernelSources:
    text = f'#include "prelude.cuh"\nKERNEL(64) halves(const float* in, half_t* out) {{ {body} }}\n'
    return KernelSources((*packaged_sources().only().files, ("small.cu", text)))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MATTEMILL_KERNELS", str(tmp_path / "cache"))
    return tmp_path / "cache"


@needs_nvcc
def test_no_kernel_spills_and_none_takes_too_many_registers_on_any_architecture(tmp_path: Path) -> None:
    path = tmp_path / "kernels.fatbin"
    said = build_fatbin(packaged_sources(), path)
    found: dict[str, set[str]] = {}
    kernel = architecture = ""
    for line in said.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)' for 'sm_(\d+)'", line):
            kernel, architecture = match.groups()
            found.setdefault(kernel, set()).add(architecture)
        if match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            assert match.groups() == ("0", "0", "0"), (kernel, architecture, line)
        if match := re.search(r"Used (\d+) registers", line):
            assert int(match.group(1)) <= MOST_REGISTERS, (kernel, architecture, line)
    assert found.keys() == packaged_sources().signatures().keys()
    assert all(archs == {str(a) for a in ARCHITECTURES} for archs in found.values())
    assert path.stat().st_size > 100_000


@needs_nvcc
def test_nvcc_makes_what_is_not_packaged_and_makes_it_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = small_sources()
    origin, image = next(gpu_images(sources, 75))
    assert origin == "nvcc"
    assert image[:4] == b"\x7fELF"
    assert [path.suffix for path in cache.iterdir()] == [".cubin"]
    monkeypatch.setattr(gpu_build, "_run_nvcc", lambda *_: pytest.fail("built again"))
    assert next(gpu_images(sources, 75)) == ("nvcc", image)


@needs_nvcc
def test_a_source_that_nvcc_refuses_is_an_error_with_its_words() -> None:
    with pytest.raises(KernelBuildError, match=r'small\.cu.*"nonsense" is undefined') as error:
        next(gpu_images(small_sources("nonsense;"), 75))
    assert "no fatbin of these sources is packaged" in str(error.value)


def test_without_nvcc_the_run_time_compiler_is_taken(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_nvrtc()
    monkeypatch.setattr(gpu_build, "nvcc", lambda: None)
    origin, image = next(gpu_images(packaged_sources(), 90))
    assert origin == "NVRTC"
    assert image[:4] == b"\x7fELF"
    with pytest.raises(KernelBuildError, match=r"NVRTC refuses the kernels.*nonsense"):
        next(gpu_images(small_sources("nonsense;"), 90))


def test_the_packaged_fatbin_comes_first_and_an_old_driver_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = small_sources()
    path = packaged_fatbin(sources, tmp_path)
    path.write_bytes(b"fatbin")
    monkeypatch.setattr(gpu_build, "packaged_fatbin", lambda s: packaged_fatbin(s, tmp_path))
    monkeypatch.setattr(gpu_build, "nvcc", lambda: None)
    monkeypatch.setattr(gpu_build, "_nvrtc_cubin", lambda *_: _raise("NVRTC is not here"))
    images = gpu_images(sources, 90)
    assert next(images) == ("packaged fatbin", b"fatbin")
    with pytest.raises(KernelBuildError, match=r"refuses the packaged fatbin; nvcc is not here.*; NVRTC is not here"):
        next(images)


def test_a_fatbin_of_other_sources_is_not_taken(tmp_path: Path) -> None:
    packaged_fatbin(small_sources(), tmp_path).write_bytes(b"fatbin")
    assert not packaged_fatbin(small_sources("out[0] = 1;"), tmp_path).exists()


def test_a_build_is_known_by_its_source_its_compiler_its_flags_and_its_architecture() -> None:
    keys = [("a", "nvcc 13", "-O3", "sm_75"), ("b", "nvcc 13", "-O3", "sm_75"), ("a", "nvcc 12", "-O3", "sm_75")]
    keys += [("a", "nvcc 13", "-O2", "sm_75"), ("a", "nvcc 13", "-O3", "sm_80"), ("a", "nvcc 13-O3", "sm_75")]
    assert len({build_key(*parts) for parts in keys}) == len(keys)


def test_the_gpu_gets_nothing_of_the_cpu_header() -> None:
    text = packaged_sources().text()
    assert "on_cpu::" not in text
    assert "#include" not in text
    assert "on_cpu::" in packaged_sources().text(on_cpu=True)


def test_the_gpu_driver_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(NoGpuError, match=r"pip install 'mattemill\[gpu\]'"):
        PycudaDriver()


def _raise(message: str) -> Path:
    raise KernelBuildError(message)
