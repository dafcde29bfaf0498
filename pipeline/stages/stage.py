"""The contract between a stage and whoever runs it: a plain loop, a Ray actor, a test.

A stage takes a batch and returns one result per item, in order. An error about one image is that image's
`Failed`; an exception out of a stage means that the batch as a whole went wrong (the caller bisects it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from mattemill.pipeline.outcome import Facts, Failure


@dataclass(frozen=True, slots=True)
class Done:
    """An item went through: what goes on to the next stage (large), and what is known now (small).

    output: may hold pixels or encoded bytes as arrays; it travels by object reference only.
    facts: small; it travels to the coordinator with each reply.
    fan_out: how many items of the next stage this makes (crops of a photograph); at least 1.
    held_bytes: decoded size of the image, known after fetch; 0 when it has not changed.
    """

    output: Any
    facts: Facts = field(default_factory=Facts)
    fan_out: int = 1
    held_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """An item ends here, as this failure."""

    failure: Failure


StageResult = Done | Failed


@runtime_checkable
class Stage(Protocol):
    """One step of the way; built once per worker (models loaded), called many times.

    Inputs by stage, one tuple an item:
      fetch   (ImageRef,)                                   -> Photo
      detect  (Photo,)                                      -> Detection      (fan_out = crops)
      segment (Photo, Detection, int crop index)            -> CropMask
      matte   (Photo, Detection, list[CropMask])            -> Cut
      cut     (Photo,)                                      -> Cut            (fused: detect+segment+matte)
      store   (ImageRef, Cut)                               -> Stored
    """

    name: str
    device: str

    def __call__(self, items: Sequence[tuple[Any, ...]]) -> list[StageResult]: ...
