"""The precision gate: may a cheaper network (quantised, pruned) take the place of the one that it was made from?

It may when, over the same photographs, the mean IoU of its masks has fallen and their mean SAD has risen by no more
than the tolerance, both relative to the network that it replaces. `judge` decides and is pure; `measure` gets the
scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mattemill.kernels.paste import paste_masks
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.errors import ImageError, UsageError
from mattemill.pipeline.evaluation.datasets import Example, TruthSet, read_truth
from mattemill.pipeline.evaluation.metrics import iou, sad
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.header import check_limits, read_header
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.saliency import SaliencyNetwork
from mattemill.pipeline.photo import Alpha, Rgb
from mattemill.pipeline.stages.detect import SubjectFinder
from mattemill.pipeline.stages.each import RefusedError
from mattemill.pipeline.stages.segment import Segmenter

LEVEL: Final = 0.95
"""Of the bootstrap interval."""

_ROUNDS = 4000
_LEAST_SAD = 1e-9  # thousands: a perfect base has no SAD that a rise could be relative to


@dataclass(frozen=True, slots=True)
class PhotoScores:
    """The soft mask of one photograph against its truth.

    key: 'set/name', by which two networks' scores are paired. iou: at 0.5, 0..1. sad: in thousands, at full size.
    """

    key: str
    iou: float
    sad: float


@dataclass(frozen=True, slots=True)
class Loss:
    """A relative loss: 0.05 = 5 % worse, negative = better. low, high: interval, None with under two photographs."""

    mean: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        interval = f" ({self.low:+.1%} to {self.high:+.1%})" if self.low is not None and self.high is not None else ""
        return f"{self.mean:+.1%}{interval}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says. base_*, other_*: means over the photographs. passed: both losses are within the tolerance.

    sure: whether the upper ends of both intervals are, too; a pass that is not sure is a pass on these photographs.
    iou_loss: 1 - other / base. sad_rise: other / base - 1. why: one sentence for a person.
    """

    photographs: int
    tolerance: float
    base_iou: float
    other_iou: float
    base_sad: float
    other_sad: float
    iou_loss: Loss
    sad_rise: Loss
    passed: bool
    sure: bool
    why: str

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def judge(base: Sequence[PhotoScores], other: Sequence[PhotoScores], tolerance: float) -> Verdict:
    """Compare a network's scores with those of the network that it would replace, photograph by photograph.

    tolerance: relative, 0.05 = 5 %; 0 allows no loss at all. The intervals are those of a paired bootstrap over the
    photographs (Efron, Tibshirani 1993, percentiles): both networks' means are of the same draw.
    Raises ValueError when the photographs are not the same ones in the same order, or there is none.
    """
    if not base or [each.key for each in base] != [each.key for each in other]:
        raise ValueError("the gate compares the same photographs in the same order, at least one")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance {tolerance} is not in 0..1")
    iou_loss = _loss([each.iou for each in base], [each.iou for each in other], sign=-1.0)
    sad_rise = _loss([each.sad for each in base], [each.sad for each in other], sign=1.0)
    passed = iou_loss.mean <= tolerance and sad_rise.mean <= tolerance
    sure = all(each.high is not None and each.high <= tolerance for each in (iou_loss, sad_rise))
    base_iou, other_iou = _mean(each.iou for each in base), _mean(each.iou for each in other)
    base_sad, other_sad = _mean(each.sad for each in base), _mean(each.sad for each in other)
    told = (
        f"over {len(base)} photographs IoU goes from {base_iou:.3f} to {other_iou:.3f} (loss {iou_loss}) and "
        f"SAD from {base_sad:.2f} to {other_sad:.2f} (rise {sad_rise}); allowed are {tolerance:.3g}"
    )
    if passed:
        why = f"passed: {told}" + ("" if sure else "; an interval reaches beyond that: more photographs would tell")
    else:
        broken = [
            name for name, loss in (("IoU", iou_loss), ("SAD", sad_rise)) if not loss.mean <= tolerance
        ]  # `not <=`: a loss that is not a number breaks it
        why = f"refused for its {' and '.join(broken)}: {told}"
    return Verdict(
        len(base), tolerance, base_iou, other_iou, base_sad, other_sad, iou_loss, sad_rise, passed, sure, why
    )


def examples_of(sets: Sequence[TruthSet]) -> tuple[Example, ...]:
    """The photographs of the sets that a network is judged on: those with alpha/ or mask/.

    Masks of a main instance need not be of what stands out, so such sets are left out. Raises UsageError when nothing
    remains.
    """
    found = tuple(
        example for each in sets if not each.apart for example in each.examples if example.kind in ("alpha", "mask")
    )
    if not found:
        names = ", ".join(each.name for each in sets)
        raise UsageError(f"{names}: no photograph with a truth in alpha/ or mask/ to judge a network on")
    return found


def measure(
    card: ModelCard,
    path: Path,
    examples: Sequence[Example],
    *,
    threads: int = 1,
    on_done: Callable[[int, int], None] | None = None,
) -> tuple[PhotoScores, ...]:
    """Run a saliency network over photographs as a job does (finding and segmenting, on the CPU) and score its masks.

    card: how its input and output are meant; its hash is not looked at. path: the ONNX file to run. on_done: called
    with (photographs done, of how many). The masks are those before the edge is refined; a photograph without a subject
    has an empty one. Returns the scores in the order of `examples`.
    Raises UsageError when a photograph or its truth cannot be read, EngineError.
    """
    mask = mask_maker(SaliencyNetwork(card, OnnxRuntimeEngine(path, threads=threads, name=card.name)))
    found = []
    for done, example in enumerate(examples, 1):
        found.append(_scores(mask, example))
        if on_done is not None:
            on_done(done, len(examples))
    return tuple(found)


def mask_maker(network: SaliencyNetwork) -> Callable[[Rgb], Alpha]:
    """From a photograph to its soft mask, float32 (H, W) in 0..1, by the default settings of a job.

    The network finds and segments: one that is to replace the default does both. Raises EngineError.
    """
    config = JobConfig()
    find = SubjectFinder(
        network, None, subjects=config.subjects, threshold=config.subject_threshold, main_share=config.main_share
    )
    segment = Segmenter(network, margin=config.crop_margin, localiser=network.card.name, main_share=config.main_share)

    def mask(image: Rgb) -> Alpha:
        shape = (image.shape[0], image.shape[1])
        try:
            found = find(image)
        except RefusedError:  # no subject
            return np.zeros(shape, np.float32)
        masks = [segment(lambda: image, shape, found.detection, i)[0] for i in range(len(found.detection.boxes))]
        return paste_masks([(each.mask, each.window) for each in masks], shape)

    return mask


def read_rgb(path: Path) -> Rgb:
    """A photograph as uint8 (H, W, 3). Raises UsageError that names it when it cannot be used."""
    config = JobConfig()
    try:
        data = path.read_bytes()
        header = read_header(data)
        check_limits(header, len(data), config.max_pixels, config.max_file_bytes)
        return decode(data, header)
    except (ImageError, OSError) as error:
        raise UsageError(f"{path}: cannot be used ({error})") from error


def _scores(mask: Callable[[Rgb], Alpha], example: Example) -> PhotoScores:
    image = read_rgb(example.image)
    truth = read_truth(example, (image.shape[0], image.shape[1]))
    found = mask(image)
    return PhotoScores(example.key, iou(found, truth.alpha, truth.counted), sad(found, truth.alpha, truth.counted))


def _loss(base: Sequence[float], other: Sequence[float], *, sign: float) -> Loss:
    a, b = np.asarray(base, np.float64), np.asarray(other, np.float64)
    mean = _relative(a.mean(), b.mean(), sign)
    if len(a) < 2:
        return Loss(float(mean), None, None)
    drawn = np.random.default_rng(0).integers(0, len(a), (_ROUNDS, len(a)))
    low, high = np.quantile(_relative(a[drawn].mean(axis=1), b[drawn].mean(axis=1), sign), _TAILS)
    return Loss(float(mean), float(low), float(high))


_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def _relative(base: Any, other: Any, sign: float) -> npt.NDArray[np.float64]:
    return np.asarray(sign * (other - base) / np.maximum(base, _LEAST_SAD), np.float64)


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))
