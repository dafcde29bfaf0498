"""Cuts a photograph by a recipe and measures the result: scores, outcome, times, memory."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from mattemill.kernels.compose import alpha_bytes
from mattemill.kernels.trimap import FOREGROUND, UNKNOWN
from mattemill.pipeline.errors import ImageError, UsageError
from mattemill.pipeline.evaluation.contest import Contestant
from mattemill.pipeline.evaluation.datasets import Example, Truth, read_trimap, read_truth
from mattemill.pipeline.evaluation.metrics import Scores, matte_scores
from mattemill.pipeline.evaluation.panels import Panels, draw_panels
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.header import check_limits, read_header
from mattemill.pipeline.photo import Alpha, ImageRef, Photo, Rgb
from mattemill.pipeline.stages.cut import CutStage
from mattemill.pipeline.stages.each import Steps
from mattemill.pipeline.stages.messages import Cut
from mattemill.pipeline.stages.refine import Refiner, Trimap, automatic_trimap
from mattemill.pipeline.stages.stage import Done

CUT: Final = "cut"
"""Name of the stage that is the whole of a cut; 'detect', 'segment' and 'matte' are its steps, 'refine' is in matte."""

REFINE: Final = "refine"
MATTE: Final = "matte"


@dataclass(frozen=True, slots=True)
class Row:
    """One photograph by one recipe.

    outcome: 'matte', or the reason of the failure, which counts as an empty matte. refused: the recipe's own threshold
    would have made it `low_confidence`. scores, band: of the matte, whole and in the unknown band. mask: of the soft
    mask before refinement, an empty one when there was none. figures: the pipeline's own (confidence among them).
    cpu_ms, wall_ms: by stage. peak_mb: of the process while it cut this photograph; None where it cannot be told.
    band_pixels: of the band that is scored. unknown_pixels: of the trimap, supplied or automatic, that was refined.
    """

    recipe: str
    set: str
    name: str
    width: int
    height: int
    outcome: str
    refused: bool
    scores: Scores
    band: Scores
    mask: Scores
    soft_truth: bool
    supplied_trimap: bool
    band_pixels: int
    unknown_pixels: int
    figures: dict[str, float]
    cpu_ms: dict[str, float]
    wall_ms: dict[str, float]
    peak_mb: float | None
    panels: Panels | None = None


@dataclass(slots=True)
class _Watched:
    """A refiner that takes the time, keeps the soft mask, and hands on a trimap from outside."""

    refine: Refiner
    bands: Trimap | None = None
    soft: Alpha | None = None
    wall: float = 0.0
    cpu: float = 0.0

    def __call__(self, image: Rgb, soft: Alpha, bands: Trimap | None = None) -> Alpha:
        self.soft = soft
        wall, cpu = time.perf_counter(), time.thread_time()
        matte = self.refine(image, soft, bands if self.bands is None else self.bands)
        self.wall, self.cpu = time.perf_counter() - wall, time.thread_time() - cpu
        return matte


@dataclass(slots=True)
class _Clocks:
    """Makes the clocks of each image and keeps those of the last."""

    last: Steps = field(default_factory=Steps)

    def __call__(self) -> Steps:
        self.last = Steps(cpu_clock=time.thread_time)
        return self.last


class Runner:
    """One recipe, its networks loaded.

    Raises ModelError, DeviceError, EngineError, ConfigError; UsageError when closed-form matting is not installed.
    """

    def __init__(self, contestant: Contestant) -> None:
        self._contestant = contestant
        self._watched = _Watched(contestant.refiner())
        self._clocks = _Clocks()
        self._stage = CutStage(contestant.config, refine=self._watched, new_steps=self._clocks)

    def __call__(self, example: Example, *, panels: bool = False) -> Row:
        """Cut one photograph and compare it with its truth.

        Raises UsageError when the photograph or its truth cannot be read, EngineError.
        """
        try:
            return self._one(example, panels)
        except (ImageError, OSError) as error:
            raise UsageError(f"{example.image}: cannot be used ({error})") from error

    def _one(self, example: Example, panels: bool) -> Row:
        data, config = example.image.read_bytes(), self._contestant.config
        header = read_header(data)
        check_limits(header, len(data), config.max_pixels, config.max_file_bytes)
        width, height = header.shown_size
        truth = read_truth(example, (height, width))
        bands = self._supplied(example, (height, width))
        self._watched.bands, self._watched.soft = bands, None
        photo = Photo(ImageRef(example.key, ""), header, np.frombuffer(data, np.uint8))

        reset_peak()
        alpha, outcome, figures, cpu_ms, wall_ms = self._cut(photo, bands)
        peak = peak_mb()

        found = alpha if alpha is not None else np.zeros((height, width), np.float32)
        whole, band = matte_scores(found, truth.alpha, truth.counted, band=truth.band, soft_truth=truth.soft)
        soft = self._watched.soft
        return Row(
            recipe=self._contestant.name,
            set=example.set,
            name=example.name,
            width=width,
            height=height,
            outcome=outcome,
            refused=figures.get("confidence", 1.0) < self._contestant.threshold,
            scores=whole,
            band=band,
            mask=_mask_scores(soft, truth),
            soft_truth=truth.soft,
            supplied_trimap=bands is not None,
            band_pixels=int(np.count_nonzero(truth.band)),
            unknown_pixels=_unknown_pixels(bands, soft),
            figures=figures,
            cpu_ms=cpu_ms,
            wall_ms=wall_ms,
            peak_mb=peak,
            panels=draw_panels(decode(photo.data, header), truth, found) if panels else None,
        )

    def _cut(
        self, photo: Photo, bands: Trimap | None
    ) -> tuple[Alpha | None, str, dict[str, float], dict[str, float], dict[str, float]]:
        """(alpha or None, outcome, figures, CPU ms by stage, wall ms by stage)."""
        result = self._stage([(photo,)])[0]
        facts = result.facts if isinstance(result, Done) else result.failure.facts
        wall_ms = {name: 1000 * seconds for name, seconds in facts.seconds.items()}
        cpu_ms = {name: 1000 * seconds for name, seconds in self._clocks.last.cpu_seconds.items()}
        if self._watched.soft is not None:
            wall_ms[REFINE], cpu_ms[REFINE] = 1000 * self._watched.wall, 1000 * self._watched.cpu
        if isinstance(result, Done):
            cut: Cut = result.output
            found = cut.pixels.astype(np.float32) / np.float32(255.0)
            return found, MATTE, dict(facts.scores), cpu_ms, wall_ms
        alpha: Alpha | None = None
        if bands is not None:
            # The trimap says where the subject is, whether or not the pipeline found one.
            prior = np.where(bands == UNKNOWN, 0.5, bands == FOREGROUND).astype(np.float32)
            alpha = self._watched.refine(decode(photo.data, photo.header), prior, bands)
        return alpha, str(result.failure.reason), dict(facts.scores), cpu_ms, wall_ms

    def _supplied(self, example: Example, shape: tuple[int, int]) -> Trimap | None:
        path: Path | None = None
        if self._contestant.trimap == "supplied":
            path = example.trimap
        elif self._contestant.trimap == "supplied2":
            path = example.trimap2
        return read_trimap(path, shape) if path is not None else None


def _mask_scores(soft: Alpha | None, truth: Truth) -> Scores:
    """Of the soft mask, as 8 bits would hold it, like the matte that it is compared with."""
    given = alpha_bytes(soft) if soft is not None else np.zeros(truth.alpha.shape, np.uint8)
    return matte_scores(given, truth.alpha, truth.counted, soft_truth=truth.soft)[0]


def _unknown_pixels(bands: Trimap | None, soft: Alpha | None) -> int:
    if bands is None:
        bands = automatic_trimap(soft) if soft is not None else None
    return int(np.count_nonzero(bands == UNKNOWN)) if bands is not None else 0


def reset_peak() -> None:
    """Begin to measure this process's peak memory anew where the system can (Linux); else it counts from its start."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_mb() -> float | None:
    """Peak resident memory of this process since `reset_peak`, in MB; None where the system does not tell."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        return None
    return None
