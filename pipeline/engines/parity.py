"""Whether an engine computes what its network does: compared on real photographs with ONNX Runtime on the CPU.

The inputs are those that the real code makes of photographs, pre-processing and tiling included: an engine that only
notes what it is asked sits where the network would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mattemill.kernels.trimap import trimap
from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.engines.query_parity import query_errors
from mattemill.pipeline.engines.sidecar import Parity
from mattemill.pipeline.errors import EngineError, ImageError, UsageError
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.matting.network_refiner import MattingNetworkRefiner
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.photo import Alpha, Rgb

TOLERANCE = 0.01
"""Mean error that an engine may have, in units of an output's root mean square where that is over 1; see also
`query_errors`."""

_MOST_CASES = 12
_LONG_SIDE = 1024  # px; of what a photograph is reduced to before the matting network's tiles are cut
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

Tensors = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Case:
    """Inputs of one forward pass and what ONNX Runtime made of them; float32, batch of one.

    queries: names of the outputs that are logits and boxes of queries in no order; () when the order counts.
    """

    inputs: Tensors
    outputs: Tensors
    queries: tuple[str, ...] = ()


class _Noting:
    """An engine that keeps what goes through the one inside it."""

    def __init__(self, inner: Engine, queries: tuple[str, ...]) -> None:
        self._inner, self._queries = inner, queries
        self.device, self.batch_limit = inner.device, inner.batch_limit
        self.cases: list[Case] = []

    def run(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Tensors:
        outputs = self._inner.run(inputs)
        if len(self.cases) < _MOST_CASES:
            given = {name: np.array(value, np.float32) for name, value in inputs.items()}
            self.cases.append(Case(given, outputs, self._queries))
        return outputs


def cases_of(card: ModelCard, path: Path, photographs: Iterable[Rgb]) -> list[Case]:
    """What the network in the file at `path` is asked for these photographs, uint8 (H, W, 3), and what it answers.

    Up to 12 passes. Raises EngineError when the network fails, or when no photograph asks it anything.
    """
    from mattemill.pipeline.matting.vitmatte import VitMatteRefiner
    from mattemill.pipeline.models.nanodet import NanodetDetector
    from mattemill.pipeline.models.rtdetr import RtdetrDetector
    from mattemill.pipeline.models.saliency import SaliencyNetwork
    from mattemill.pipeline.models.yolox import YoloxDetector

    # The queries of an RT-DETR are its picture's best places, and two that are nearly as good change places easily.
    queries = card.output.names if card.family == "rtdetr" else ()
    noting = _Noting(OnnxRuntimeEngine(path, outputs=card.output.names, name=card.name), queries)
    for photograph in photographs:
        if len(noting.cases) >= _MOST_CASES:
            break
        match card.family:
            case "yolox":
                YoloxDetector(card, noting)(photograph)
            case "nanodet":
                NanodetDetector(card, noting)(photograph)
            case "rtdetr":
                RtdetrDetector(card, noting)(photograph)
            case "mattenet":
                _matte(photograph, *(MattingNetworkRefiner(noting, step) for step in (1, 2)))
            case "vitmatte":
                _matte(photograph, VitMatteRefiner(card, noting))
            case _:
                SaliencyNetwork(card, noting)(photograph)
    if not noting.cases:
        raise EngineError(f"model {card.name}: no photograph to compare the engine on")
    return noting.cases


def _matte(photograph: Rgb, *refiners: Callable[[Rgb, Alpha, npt.NDArray[np.uint8]], Alpha]) -> None:
    """Each over a mask of the localiser, at a size at which tiles of many shapes come up."""
    import cv2

    from mattemill.pipeline.models.load import LOCALISER, load_saliency

    scale = min(1.0, _LONG_SIDE / max(photograph.shape[:2]))
    size = (round(photograph.shape[1] * scale), round(photograph.shape[0] * scale))
    small = np.asarray(cv2.resize(photograph, size, interpolation=cv2.INTER_AREA), np.uint8)
    mask = load_saliency(LOCALISER)(small).mask
    soft = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR), np.float32) / np.float32(255)
    for refine in refiners:
        refine(small, soft, trimap(soft, max(1, round(0.006 * max(size)))))


def check_parity(engine: Engine, cases: Sequence[Case], *, gpu: str, name: str) -> Parity:
    """Run the cases one by one and, those of one shape, as one batch as large as the engine takes.

    Raises EngineError naming the model when the mean error of an output is not under TOLERANCE.
    """
    if not cases:
        raise ValueError("no cases: nothing would be compared")
    mean = worst = 0.0
    for case in cases:
        mean, worst = _worse(mean, worst, _errors(engine.run(case.inputs), case))
    for alike in _by_shape(cases):
        chosen = [alike[i % len(alike)] for i in range(max(engine.batch_limit, 1))]
        names = list(chosen[0].inputs)
        together = engine.run({n: np.concatenate([case.inputs[n] for case in chosen]) for n in names})
        for index, case in enumerate(chosen):
            rows = len(next(iter(case.outputs.values())))
            got = {n: value[index * rows : (index + 1) * rows] for n, value in together.items()}
            mean, worst = _worse(mean, worst, _errors(got, case))
    if not mean < TOLERANCE:
        raise EngineError(
            f"model {name}: the engine's output differs from ONNX Runtime's by {mean:.3g} on average over the worst of "
            f"{len(cases)} inputs, {worst:.3g} at most; allowed are {TOLERANCE:g}. It is not used; try fp32"
        )
    return Parity(mean, worst, TOLERANCE, len(cases), gpu)


def _worse(mean: float, worst: float, errors: tuple[float, float]) -> tuple[float, float]:
    return max(mean, errors[0]), max(worst, errors[1])


def _errors(got: Tensors, case: Case) -> tuple[float, float]:
    """(largest mean error of an output, largest error)."""
    for name, right in case.outputs.items():
        if name not in got or got[name].shape != right.shape:
            shape = got[name].shape if name in got else "none"
            raise EngineError(f"output {name}: the engine gives {shape}, ONNX Runtime {right.shape}")
        if not np.isfinite(got[name]).all():
            return math.inf, math.inf
    if case.queries:
        logits, boxes = case.queries
        return query_errors((got[logits][0], got[boxes][0]), (case.outputs[logits][0], case.outputs[boxes][0]))
    mean = worst = 0.0
    for name, right in case.outputs.items():
        difference = np.abs(got[name].astype(np.float64) - right)
        scale = max(1.0, float(np.sqrt(np.mean(np.square(right, dtype=np.float64)))))
        mean = max(mean, float(difference.mean()) / scale)
        worst = max(worst, float(difference.max()) / scale)
    return mean, worst


def _by_shape(cases: Sequence[Case]) -> list[list[Case]]:
    groups: dict[tuple[tuple[int, ...], ...], list[Case]] = {}
    for case in cases:
        groups.setdefault(tuple(value.shape for value in case.inputs.values()), []).append(case)
    return list(groups.values())


def read_photographs(folder: Path, most: int = 6) -> list[Rgb]:
    """Up to so many photographs below a folder, uint8 (H, W, 3); files that are damaged are left out.

    Raises UsageError when there is none.
    """
    found: list[Rgb] = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if len(found) < most and path.is_file() and path.suffix.lower() in _SUFFIXES:
            data = path.read_bytes()
            try:
                found.append(decode(data, read_header(data)))
            except ImageError:
                continue
    if not found:
        raise UsageError(
            f"{folder}: no photographs ({', '.join(_SUFFIXES)}) to compare an engine with ONNX Runtime on; name a "
            "folder of your own with --photos"
        )
    return found
