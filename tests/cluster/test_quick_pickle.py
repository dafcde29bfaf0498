"""Messages come out of a pickle as they went in, quickly or not."""

from __future__ import annotations

import pickle
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from ray import cloudpickle

from mattemill.cluster.quick_pickle import MESSAGES, pack, unpack
from mattemill.pipeline.outcome import Facts, Failure
from mattemill.pipeline.photo import Header, ImageRef, Photo
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.messages import CropMask, Cut, Detection, DeviceCut, Stored

REF = ImageRef("a b.jpg", "file:///in/a b.jpg", "e", 12)
HEADER = Header("jpeg", 3, 2, "RGB", 8, 6, True, 2)
FACTS = Facts(width=0, height=2, boxes=((0.0, 1.0, 2.0, 3.0),), scores={"s": 0.0}, attempts={"fetch": 2}, etag="")
ARRAY = np.arange(12, dtype=np.uint8).reshape(3, 4)
EXAMPLES = [
    REF,
    HEADER,
    Photo(REF, HEADER, ARRAY.ravel()),
    Detection(((0.0, 0.0, 1.0, 1.0),), (0.5,), ARRAY),
    CropMask((0, 0, 3, 4), ARRAY),
    Cut(ARRAY, {"s": 0.5}),
    DeviceCut(np.zeros((4, 7), np.uint8), (4, 6), {"confidence": 0.5}),
    Stored("a.png", 3),
    Failure(Reason.NO_SUBJECT, "detect", "nothing", b"jpeg", FACTS),
    FACTS,
    Facts(),
]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return bool(a == b)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_a_message_comes_out_as_it_went_in(message: Any, pickler: Any) -> None:
    assert same(message, pickle.loads(pickler.dumps(message, protocol=5)))


def test_every_quick_message_has_an_example() -> None:
    assert {type(example) for example in EXAMPLES} == {*MESSAGES, Facts}


def test_arrays_of_a_message_are_not_copied_into_its_pickle() -> None:
    buffers: list[Any] = []
    small = pickle.dumps(Photo(REF, HEADER, np.zeros(10**6, np.uint8)), protocol=5, buffer_callback=buffers.append)
    assert len(small) < 1000
    assert len(buffers) == 1


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_what_is_packed_comes_out_of_read_only_buffers_as_it_went_in(message: Any) -> None:
    """Ray hands buffers on read-only, for they lie in shared memory."""
    pickled, *buffers = pack([message, message])
    out = unpack([pickled, *(memoryview(bytes(buffer)).toreadonly() for buffer in buffers)])
    assert all(same(message, one) for one in out)
    assert (len(buffers) > 0) == any(isinstance(getattr(message, f.name), np.ndarray) for f in fields(message))
