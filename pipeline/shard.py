"""A shard: the unit of lease, of commit and of resume."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mattemill.pipeline.photo import ImageRef


@dataclass(frozen=True, slots=True)
class Shard:
    """Some image references with an id that follows from them alone.

    generation: 0 for the first try of these images; a retry of failures or of changed images is one above
    the newest rows that it replaces, so that the newest row of a key can always be told.
    """

    id: str
    refs: tuple[ImageRef, ...]
    generation: int = 0


def make_shard(refs: Iterable[ImageRef], generation: int = 0) -> Shard:
    """A shard whose id is a hash of its keys, their ETags and the generation: equal work, equal id."""
    kept = tuple(refs)
    digest = hashlib.sha256(f"{generation}".encode())
    for ref in kept:
        digest.update(f"\0{ref.key}\0{ref.etag or ''}".encode("utf-8", "surrogateescape"))
    return Shard(id=f"g{generation:03d}-{digest.hexdigest()[:24]}", refs=kept, generation=generation)


def cut_into_shards(refs: Iterable[tuple[ImageRef, int]], size: int) -> Iterator[Shard]:
    """Cut a stream of (reference, generation) into shards of `size`, one generation each, in stream order."""
    open_by_generation: dict[int, list[ImageRef]] = {}
    for ref, generation in refs:
        waiting = open_by_generation.setdefault(generation, [])
        waiting.append(ref)
        if len(waiting) >= size:
            yield make_shard(waiting, generation)
            del open_by_generation[generation]
    for generation, waiting in sorted(open_by_generation.items()):
        yield make_shard(waiting, generation)
