"""The CPU driver itself: barriers, shuffles, shared memory, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mattemill.kernels.cuda.cpu_build import compiler
from mattemill.kernels.cuda.cpu_driver import CpuDriver, ThreadOrder
from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.errors import KernelBuildError, KernelLaunchError
from mattemill.kernels.cuda.sources import KernelSources, packaged_sources

needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs g++ to compile the kernels for the CPU")
ORDERS: list[ThreadOrder] = ["forward", "reverse", "random"]

SOURCE = """
#include "prelude.cuh"
KERNEL(1024) reversed(const int* in, int* out) {
  __shared__ int kept[1024];
  kept[threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = kept[blockDim.x - 1 - threadIdx.x];
}
KERNEL(256) warp_sums(const int* in, int* sums, int* down, unsigned* votes) {
  int at = threadIdx.x, value = in[at];
  down[at] = __shfl_down_sync(ALL_LANES, value, 3);
  votes[at] = __ballot_sync(ALL_LANES, value & 1);
  for (int by = 16; by > 0; by >>= 1) value += __shfl_xor_sync(ALL_LANES, value, by);
  sums[at] = value;
}
KERNEL(256) half_wait(int* out) {
  if (threadIdx.x < 16) __syncthreads();
  else __syncwarp();
  out[threadIdx.x] = 1;
}
KERNEL(256) early_return(int* out, int n) {
  if (threadIdx.x >= n) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}
KERNEL(256) unwritten(int* out) {
  __shared__ int a[4];
  DYNAMIC_SHARED(int, b);
  out[0] = a[1];
  out[1] = b[1];
}
KERNEL(64) halves(const float* in, half_t* out, int n) {
  if (threadIdx.x < n) out[threadIdx.x] = half_bits(in[threadIdx.x]);
}
KERNEL(64) numbers(double* out, long long big, float x, double y, unsigned u, int i) {
  out[0] = (double)big; out[1] = x; out[2] = y; out[3] = u; out[4] = i;
}
"""


def small(order: ThreadOrder = "forward") -> Device:
    headers = packaged_sources().only().files
    return Device(CpuDriver(order, seed=3), KernelSources((*headers, ("small.cu", SOURCE))))


@needs_compiler
@pytest.mark.parametrize("order", ORDERS)
def test_a_barrier_makes_shared_memory_whole(order: ThreadOrder) -> None:
    device = small(order)
    values = np.arange(3 * 1024, dtype=np.int32)
    out = device.empty(values.shape, np.int32)
    device.launch("reversed", (3, 1, 1), (1024, 1, 1), device.upload(values), out)
    assert np.array_equal(device.download(out), values.reshape(3, 1024)[:, ::-1].ravel())


@needs_compiler
@pytest.mark.parametrize("order", ORDERS)
def test_shuffles_and_votes_stay_in_their_warp(order: ThreadOrder) -> None:
    device = small(order)
    values = np.random.default_rng(0).integers(0, 1000, 70).astype(np.int32)  # the last warp has 6 lanes
    whole = values[:64]
    sums, down = device.zeros((70,), np.int32), device.zeros((70,), np.int32)
    votes = device.zeros((70,), np.uint32)
    device.launch("warp_sums", (1, 1, 1), (64, 1, 1), device.upload(values), sums, down, votes)
    warps = whole.reshape(2, 32)
    assert np.array_equal(device.download(sums)[:64].reshape(2, 32), np.repeat(warps.sum(1)[:, None], 32, axis=1))
    shifted = np.concatenate([warps[:, 3:], warps[:, -3:]], axis=1)
    assert np.array_equal(device.download(down)[:64].reshape(2, 32), shifted)
    bits = ((warps & 1) << np.arange(32, dtype=np.int64)).sum(axis=1)
    assert np.array_equal(device.download(votes)[:64].reshape(2, 32)[:, 0], bits)


@needs_compiler
def test_barriers_that_cannot_be_met_are_an_error_and_not_a_hang() -> None:
    device = small()
    with pytest.raises(KernelLaunchError, match="16 threads wait at __syncthreads and 16 at a barrier of their warp"):
        device.launch("half_wait", (1, 1, 1), (32, 1, 1), device.empty((32,), np.int32))
    # And the library still works.
    test_a_barrier_makes_shared_memory_whole("forward")


@needs_compiler
@pytest.mark.parametrize("order", ORDERS)
def test_threads_that_have_returned_are_not_waited_for(order: ThreadOrder) -> None:
    device = small(order)
    out = device.zeros((64,), np.int32)
    device.launch("early_return", (1, 1, 1), (64, 1, 1), out, 40)
    assert np.array_equal(device.download(out), np.arange(64) < 40)


@needs_compiler
def test_memory_that_nobody_wrote_holds_rubbish() -> None:
    device = small()
    out = device.empty((2,), np.int32)
    assert (device.download(out).view(np.uint8) == 0xA5).all()
    for value in (1, 2):  # not what the last launch left there either
        device.launch(
            "reversed", (1, 1, 1), (4, 1, 1), device.upload(np.full(4, value, np.int32)), device.empty((4,), np.int32)
        )
        device.launch("unwritten", (1, 1, 1), (1, 1, 1), out, shared=16)
        assert (device.download(out).view(np.uint8) == 0xA5).all()


@needs_compiler
def test_halves_are_rounded_as_numpy_rounds() -> None:
    device = small()
    values = np.array([0, -0.0, 1, 1 / 3, 65504, 65520, 1e-8, 6e-8, -2.1, 2049, 2051, np.inf], np.float32)
    out = device.empty(values.shape, np.float16)
    device.launch("halves", (1, 1, 1), (64, 1, 1), device.upload(values), out, len(values))
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    assert np.array_equal(device.download(out).view(np.uint16), expected.view(np.uint16))


@needs_compiler
def test_numbers_travel_as_the_types_of_the_kernels_parameters() -> None:
    device = small()
    out = device.empty((5,), np.float64)
    device.launch("numbers", (1, 1, 1), (1, 1, 1), out, -(2**40), 0.5, 1e-300, 2**32 - 1, -7)
    assert device.download(out).tolist() == [-(2.0**40), 0.5, 1e-300, 2.0**32 - 1, -7.0]


@needs_compiler
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 1, 0.5, 0.5, 1, 1), "out cannot be int"),
        ((None, 0.5, 0.5, 0.5, 1, 1), "big is a whole number"),
        ((None, 1, 0.5, 0.5, -1, 1), "u = -1 does not fit"),
        ((None, 1, 0.5, 0.5, 1, 2**31), "i = 2147483648 does not fit"),
        ((None, 1, None, 0.5, 1, 1), "x cannot be NoneType"),
    ],
)
def test_arguments_that_are_not_the_kernels_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    device = small()
    with pytest.raises(KernelLaunchError, match=message):
        device.launch("numbers", (1, 1, 1), (1, 1, 1), *arguments)


@needs_compiler
def test_too_few_arguments_too_many_threads_and_unknown_kernels_are_refused() -> None:
    device = small()
    with pytest.raises(KernelLaunchError, match="takes 6 arguments, got 1"):
        device.launch("numbers", (1, 1, 1), (1, 1, 1), None)
    with pytest.raises(KernelLaunchError, match="over its 64 threads"):
        device.launch("halves", (1, 1, 1), (65, 1, 1), None, None, 1)
    with pytest.raises(KernelLaunchError, match="no kernel nonsense"):
        device.launch("nonsense", (1, 1, 1), (1, 1, 1))
    with pytest.raises(KernelLaunchError, match="more than 48 KiB"):
        device.launch("unwritten", (1, 1, 1), (1, 1, 1), None, shared=48 * 1024 + 1)


@needs_compiler
def test_a_source_that_does_not_compile_is_an_error_that_shows_the_compilers_words() -> None:
    headers = packaged_sources().only().files
    with pytest.raises(KernelBuildError, match=r"broken\.cu:2"):
        Device(CpuDriver(), KernelSources((*headers, ("broken.cu", '#include "prelude.cuh"\nKERNEL(1) x() { nope; }'))))


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(KernelBuildError, match="install g"):
        Device(CpuDriver())


@needs_compiler
def test_a_view_comes_back_without_what_lies_between_its_rows() -> None:
    device = small()
    host = np.arange(6 * 7 * 3, dtype=np.uint8).reshape(6, 7, 3)
    view = device.upload(host).window(2, 1, 6, 5)
    assert np.array_equal(device.download(view), host[1:5, 2:6])
    assert not view.contiguous
    with pytest.raises(ValueError, match="empty or leaves the image"):
        view.window(0, 0, 5, 1)
