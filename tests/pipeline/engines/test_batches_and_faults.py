"""Cutting images into batches, caps that shrink, and what CUDA's errors mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattemill.pipeline.engines.batches import Batch, BatchCaps, cut
from mattemill.pipeline.engines.gpu_faults import gpu_fault

_BUCKETS = (1, 2, 4, 8, 16)


@given(st.integers(0, 100), st.integers(0, 100), st.sampled_from(_BUCKETS))
def test_every_image_is_in_one_batch_in_order_and_no_batch_is_over_the_limit(start: int, more: int, limit: int) -> None:
    batches = cut(start, start + more, _BUCKETS, limit)
    assert [i for b in batches for i in range(b.start, b.start + b.count)] == list(range(start, start + more))
    assert all(1 <= b.count <= b.bucket <= limit for b in batches)
    assert sum(b.bucket - b.count for b in batches) <= 4


def test_seven_images_run_as_eight_and_five_as_four_and_one() -> None:
    assert cut(0, 7, _BUCKETS, 16) == [Batch(0, 7, 8)]
    assert cut(0, 5, _BUCKETS, 16) == [Batch(0, 4, 4), Batch(4, 1, 1)]


def test_fewer_images_than_the_smallest_bucket_are_filled_up() -> None:
    assert cut(0, 1, (4, 8), 8) == [Batch(0, 1, 4)]


def test_a_limit_below_every_bucket_is_an_error() -> None:
    with pytest.raises(ValueError, match="no bucket"):
        cut(0, 1, (4, 8), 2)


def test_a_cap_is_halved_for_its_shape_and_no_other() -> None:
    caps = BatchCaps()
    assert caps.of((3, 320, 320), 16) == 16
    assert caps.halve((3, 320, 320), 16)
    assert caps.of((3, 320, 320), 16) == 8
    assert caps.of((3, 1024, 1024), 16) == 16
    assert not caps.halve((3, 1024, 1024), 1)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("cuMemAlloc failed: out of memory", "memory"),
        ("Error Code 2: OutOfMemory (Requested size was 1078243764 bytes.)", "memory"),
        ("CUDA_ERROR_OUT_OF_MEMORY", "memory"),
        ("DeviceMemoryError: no pinned memory for (4,) of float32", "memory"),
        ("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 838860800", "memory"),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED", "memory"),
        ("cuEventSynchronize failed: an illegal memory access was encountered", "lost"),
        ("Error Code 1: Cuda Runtime (misaligned address)", "lost"),
        ("cuCtxSynchronize failed: unspecified launch failure", "lost"),
        ("uncorrectable ECC error encountered", "lost"),
        ("CUDA_ERROR_LAUNCH_TIMEOUT", "lost"),
        ("cudaErrorIllegalAddress", "lost"),
        ("IExecutionContext::setInputShape: Error Code 3: API Usage Error", "other"),
        ("", "other"),
    ],
)
def test_errors_are_told_apart_by_what_cuda_and_tensorrt_say(text: str, fault: str) -> None:
    assert gpu_fault([text]) == fault


def test_the_worst_of_several_messages_counts() -> None:
    assert gpu_fault(["out of memory", "an illegal memory access was encountered"]) == "lost"
