"""How an image ends: `Matte` or `Failure`, exactly one, exactly once; and the facts gathered on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from mattemill.pipeline.reasons import Reason


@dataclass(frozen=True, slots=True)
class TracedCall:
    """One call of a stage that held a traced image.

    began, ended: Unix seconds by its cell's clock; of a call that did not come back, from when it was the first in its
    worker's queue to when it was given up. items: images (or crops) in the call. attempt: 1 = the first. crop: which
    one, segment only. fault: '' when it came back, else how it went wrong ('died', 'timed_out', ...); 'requeued': it
    waited, since it was sent, behind one that did.
    """

    stage: str
    began: float
    ended: float
    worker: str = ""
    device: str = ""
    items: int = 1
    attempt: int = 1
    crop: int | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """The way of one image through its stages: for OpenTelemetry, not stored.

    admitted, ended: Unix seconds. calls: in the order in which they ended.
    """

    admitted: float
    ended: float
    calls: tuple[TracedCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What the stages have learnt of an image so far; every field optional, later facts win.

    width, height: pixels as shown. format: as in the header. encoded_bytes: of the source file.
    etag: of the bytes that were really read. boxes: ((x0, y0, x1, y1), ...) in pixels as shown.
    box_scores: 0..1, one a box. scores: named quality figures (0..1 unless the name says otherwise).
    seconds: wall time by stage name. attempts: calls by stage that held this image.
    worker: stage -> 'node:pid' that did it. device: stage -> where it ran ('cpu', 'cuda:0 tensorrt fp16').
    trace: only of the few images that are traced.
    """

    width: int | None = None
    height: int | None = None
    format: str | None = None
    encoded_bytes: int | None = None
    etag: str | None = None
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    box_scores: tuple[float, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)
    worker: Mapping[str, str] = field(default_factory=dict)
    device: Mapping[str, str] = field(default_factory=dict)
    trace: Trace | None = None

    def merged(self, later: Facts) -> Facts:
        """These facts with the later ones over them; mappings are joined key by key."""
        changes: dict[str, object] = {}
        for f in fields(self):
            old, new = getattr(self, f.name), getattr(later, f.name)
            if isinstance(new, Mapping):
                if new:
                    changes[f.name] = {**old, **new}
            elif new is not None and new != ():
                changes[f.name] = new
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Matte:
    """The image was cut: where its output lies.

    output_key: key in the sink's bucket or path below the sink's folder. output_bytes: encoded size.
    output_width, output_height: its pixels: the photograph's as shown, or the canvas'; None when nobody said it.
    """

    output_key: str
    output_bytes: int
    facts: Facts = field(default_factory=Facts)
    output_width: int | None = None
    output_height: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The image could not be cut well: why, where, and a small picture of it.

    stage: 'fetch', 'detect', 'segment', 'matte' or 'store'. message: one sentence for a person.
    preview: a JPEG of at most about 10 kB, or None when no pixel could be had.
    """

    reason: Reason
    stage: str
    message: str
    preview: bytes | None = None
    facts: Facts = field(default_factory=Facts)


Outcome = Matte | Failure
