"""The state of an image inside a cell: which payloads it holds, what was learnt of it, how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mattemill.cluster.gate import Permit
from mattemill.pipeline.outcome import Facts, Outcome, TracedCall
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import Shard


class Payload:
    """One object with the outputs of one call, opaque to the coordinator.

    handle: what the shell needs to pass it on (a Ray reference). uses: slots of images that still need it.
    """

    __slots__ = ("handle", "n_bytes", "uses")

    def __init__(self, handle: Any, n_bytes: int) -> None:
        self.handle = handle
        self.n_bytes = n_bytes
        self.uses = 0


Slot = tuple[Payload, int]
"""Where one output lies: its payload, and its position in it."""


class OpenShard:
    """A shard whose images are under way: closes when its outcomes equal its images."""

    __slots__ = ("outcomes", "shard")

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.outcomes: dict[str, Outcome] = {}


class Image:
    """An admitted image. `round` counts its journeys from fetch on; items of an older round are stale.

    traced: when it was admitted and the calls that held it, None of the many that are not traced.
    """

    __slots__ = (
        "attempts",
        "closed",
        "cut",
        "detection",
        "facts",
        "held_bytes",
        "home",
        "lost",
        "masks",
        "missing",
        "permit",
        "photo",
        "queued",
        "ref",
        "round",
        "traced",
    )

    def __init__(self, ref: ImageRef, home: OpenShard, permit: Permit) -> None:
        self.ref = ref
        self.home = home
        self.permit = permit
        self.closed = False
        self.round = 0
        self.lost = 0
        self.queued = 0
        self.held_bytes = permit.charged
        self.facts: list[Facts] = []
        self.attempts: dict[str, int] = {}
        self.photo: Slot | None = None
        self.detection: Slot | None = None
        self.masks: list[Slot | None] = []
        self.missing = 0
        self.cut: Slot | None = None
        self.traced: tuple[float, list[TracedCall]] | None = None

    def slots(self) -> list[Slot]:
        """Every payload slot that the image holds."""
        return [slot for slot in (self.photo, self.detection, self.cut, *self.masks) if slot is not None]

    def forget_slots(self) -> None:
        """Hold none any more (the caller has released them)."""
        self.photo = self.detection = self.cut = None
        self.masks = []
        self.missing = 0


class Item:
    """One unit of work of a stage: an image, or one crop of it.

    tries: calls that held it. deaths: workers that died (or fell sick) on it when it was alone.
    """

    __slots__ = ("crop", "deaths", "image", "round", "tries")

    def __init__(self, image: Image, crop: int, tries: int) -> None:
        self.image = image
        self.crop = crop
        self.round = image.round
        self.tries = tries
        self.deaths = 0

    @property
    def stale(self) -> bool:
        """Whether the image has ended or has gone back to fetch since."""
        return self.image.closed or self.round != self.image.round


def item_slots(stage: str, item: Item) -> tuple[Any, ...]:
    """The stage's input tuple for an item (see `Stage`), with `Slot`s in the place of what lies in payloads."""
    image = item.image
    if stage == "fetch":
        return (image.ref,)
    if stage in ("detect", "cut"):
        return (image.photo,)
    if stage == "segment":
        return (image.photo, image.detection, item.crop)
    if stage == "matte":
        return (image.photo, image.detection, list(image.masks))
    if stage == "store":
        return (image.ref, image.cut)
    raise ValueError(f"stage {stage!r} is not one of fetch, detect, segment, matte, cut, store")


def join_facts(parts: Sequence[Facts], attempts: Mapping[str, int], last: Facts) -> Facts:
    """The facts of all stages as one: later ones win, mappings are joined key by key.

    The same as a chain of `Facts.merged` (a test says so), written out because it runs for every image.
    """
    width = height = encoded_bytes = None
    image_format = etag = None
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    box_scores: tuple[float, ...] = ()
    scores: dict[str, float] = {}
    seconds: dict[str, float] = {}
    tries: dict[str, int] = dict(attempts)
    worker: dict[str, str] = {}
    device: dict[str, str] = {}
    trace = None
    for facts in (*parts, last):
        if facts.width is not None:
            width = facts.width
        if facts.height is not None:
            height = facts.height
        if facts.format is not None:
            image_format = facts.format
        if facts.encoded_bytes is not None:
            encoded_bytes = facts.encoded_bytes
        if facts.etag is not None:
            etag = facts.etag
        if facts.boxes:
            boxes = facts.boxes
        if facts.box_scores:
            box_scores = facts.box_scores
        if facts.scores:
            scores.update(facts.scores)
        if facts.seconds:
            seconds.update(facts.seconds)
        if facts.attempts:
            tries.update(facts.attempts)
        if facts.worker:
            worker.update(facts.worker)
        if facts.device:
            device.update(facts.device)
        if facts.trace is not None:
            trace = facts.trace
    return Facts(
        width=width,
        height=height,
        format=image_format,
        encoded_bytes=encoded_bytes,
        etag=etag,
        boxes=boxes,
        box_scores=box_scores,
        scores=scores,
        seconds=seconds,
        attempts=tries,
        worker=worker,
        device=device,
        trace=trace,
    )
