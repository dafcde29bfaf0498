"""What a job tells about itself: while it runs, when it is done, and before it starts.

Plain frozen data, made by the job, shown by `progress_view` or written as JSON; nothing here measures or prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mattemill.pipeline.events.stats import EventStats


@dataclass(frozen=True, slots=True)
class StageState:
    """One stage at one moment.

    queued: items that wait for a worker. running: items that workers hold now. workers: live workers.
    done: items finished since the start. images_per_second: recent rate of finished items.
    """

    name: str
    queued: int
    running: int
    workers: int
    done: int
    images_per_second: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Fields by name, ready for `json.dumps`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Progress:
    """A job at one moment.

    done: images with an outcome in this run, failures included; failed: those of them that failed.
    total: images that this run has to do, None while the source is still being listed.
    images_per_second: recent rate of outcomes. seconds: since the start of the run.
    seconds_left: estimate, None while there is no rate or no total.
    already_done: images that an earlier run had finished. draining: stopping after the work in flight.
    note: what the job is doing when no image moves yet ('starting Ray', 'calibrating'), else ''.
    events: of `serve`: its queue, latency and backlog; None for a job that lists its source.
    """

    done: int
    failed: int
    total: int | None
    images_per_second: float
    seconds: float
    seconds_left: float | None
    stages: tuple[StageState, ...] = ()
    already_done: int = 0
    draining: bool = False
    note: str = ""
    events: EventStats | None = None

    def to_json(self) -> dict[str, Any]:
        """Fields by name, numbers rounded to what means something; `events` only where there is a queue."""
        queue = {} if self.events is None else {"events": self.events.to_json()}
        return {
            "done": self.done,
            "failed": self.failed,
            "total": self.total,
            "already_done": self.already_done,
            "images_per_second": round(self.images_per_second, 3),
            "seconds": round(self.seconds, 2),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 1),
            "draining": self.draining,
            "note": self.note,
            "stages": [stage.to_json() for stage in self.stages],
            **queue,
        }


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A run that has ended.

    source, sink: as given, made absolute. fingerprint: of this job.
    images: outcomes written by this run = cut + the sum of `failed`. failed: images by reason.
    skipped: listed objects that are no images, by kind of name ('folder', '.txt', ...).
    already_done: images that an earlier run of the same fingerprint had finished.
    drained: stopped on request before the end; `remaining` images are still due (None = not counted).
    seconds: of the whole run, listing and start included. images_per_second: images / seconds.
    first_matte_seconds: from the start of the run to the first output written, None when there was none.
    setup_seconds: by phase before the first image ('ray', 'models', 'workers', 'calibration', ...).
    devices: stage -> where its networks ran ('cpu', 'cuda:0 tensorrt fp16').
    placement: 'split' or 'fused'. workers: stage -> how many.
    retries: calls that were made again. worker_deaths: workers that were replaced.
    spilled_bytes: what Ray's object stores wrote to disk (0 is right; -1 unknown). peak_bytes: most bytes in flight.
    """

    source: str
    sink: str
    fingerprint: str
    images: int
    cut: int
    failed: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    already_done: int = 0
    shards: int = 0
    drained: bool = False
    remaining: int | None = 0
    seconds: float = 0.0
    images_per_second: float = 0.0
    first_matte_seconds: float | None = None
    setup_seconds: Mapping[str, float] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    placement: str = "split"
    workers: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    worker_deaths: int = 0
    spilled_bytes: int = 0
    peak_bytes: int = 0

    @property
    def failures(self) -> int:
        """Failed images of all reasons."""
        return sum(self.failed.values())

    @property
    def finished(self) -> bool:
        """Whether every image of the source has its outcome."""
        return not self.drained

    def to_json(self) -> dict[str, Any]:
        """Fields by name, with `finished` added."""
        return {**_plain(asdict(self)), "finished": self.finished}


@dataclass(frozen=True, slots=True)
class ModelNeed:
    """A network that a job needs: its role ('detect', 'segment'), its name, and whether its file is here."""

    role: str
    name: str
    fetched: bool


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a run would do, from a listing alone.

    fingerprint: None when a model is not fetched yet and its hash is therefore not confirmed.
    listed, listed_bytes: images of the source and their encoded bytes as listed (0 for unknown sizes).
    due: images that a run would do; of these `changed` had an outcome for an older version of the photograph, and
    `overwritten` one whose output a job of other settings has since written over.
    already_done: images with an outcome that stands; `failed_before` of them are failures (not retried unless asked).
    skipped: listed objects that are no images, by kind. shards: how many the due images make.
    examples: (key, output key) of the first due images.
    device: where networks would run ('cpu', 'cuda:0 tensorrt fp16'). placement: 'split' or 'fused' or 'auto'.
    """

    source: str
    sink: str
    fingerprint: str | None
    listed: int
    listed_bytes: int
    due: int
    due_bytes: int = 0
    changed: int = 0
    overwritten: int = 0
    already_done: int = 0
    failed_before: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    shards: int = 0
    shard_size: int = 0
    examples: tuple[tuple[str, str], ...] = ()
    models: tuple[ModelNeed, ...] = ()
    device: str = "cpu"
    placement: str = "auto"

    def to_json(self) -> dict[str, Any]:
        """Fields by name; `examples` as objects with `key` and `output`."""
        plain = _plain(asdict(self))
        plain["examples"] = [{"key": key, "output": output} for key, output in self.examples]
        return plain


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Floats rounded to milliseconds, so that summaries read well; everything else as it is."""
    rounded: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, float):
            rounded[name] = round(value, 3)
        elif isinstance(value, Mapping):
            rounded[name] = {k: round(v, 3) if isinstance(v, float) else v for k, v in value.items()}
        else:
            rounded[name] = value
    return rounded
