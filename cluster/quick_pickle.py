"""Makes the small messages quick to pickle: what a call carries besides its arrays is half of what it costs.

A frozen dataclass with slots is pickled by Python code that lists its fields again for every object (3 to 4 us each
way, measured); with a getter in C and its constructor it takes a third. Ray's own pickler calls back into Python for
every object besides; so what it is given is pickled already, and the arrays lie beside it as buffers, which cross
processes without a copy. Import it in every process that sends.
"""

from __future__ import annotations

import copyreg
import pickle
from dataclasses import fields
from operator import attrgetter
from typing import Any

from mattemill.pipeline.outcome import Facts, Failure
from mattemill.pipeline.photo import Header, ImageRef, Photo
from mattemill.pipeline.stages.messages import CropMask, Cut, Detection, DeviceCut, Stored

MESSAGES: tuple[type, ...] = (ImageRef, Header, Photo, Detection, CropMask, Cut, DeviceCut, Stored, Failure)


def _register(message: type) -> None:
    get = attrgetter(*(f.name for f in fields(message)))

    def reduce(value: Any) -> tuple[type, Any]:
        return message, get(value)

    copyreg.pickle(message, reduce)


def _reduce_facts(facts: Facts) -> tuple[Any, tuple[dict[str, Any]]]:
    """Only the fields that are set: a stage fills a few of them."""
    return _make_facts, ({name: value for name in _FACTS if (value := getattr(facts, name)) not in _UNSET},)


def _make_facts(values: dict[str, Any]) -> Facts:
    return Facts(**values)


_FACTS = tuple(f.name for f in fields(Facts))
_UNSET: tuple[Any, ...] = (None, (), {})

Packed = list[Any]
"""A pickle and the buffers of its arrays."""


def pack(value: Any) -> Packed:
    """The pickle of a value, without its arrays, and their buffers. The arrays must not change afterwards."""
    buffers: list[pickle.PickleBuffer] = []
    return [pickle.dumps(value, protocol=5, buffer_callback=buffers.append), *buffers]


def unpack(packed: Packed) -> Any:
    """What was packed; arrays are views of the buffers, read-only where those are."""
    return pickle.loads(packed[0], buffers=packed[1:])


for _message in MESSAGES:
    _register(_message)
copyreg.pickle(Facts, _reduce_facts)
