"""What the activations of a network are on calibration photographs, and the ranges that follow from it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.engines.onnxruntime_engine import runs_as_written
from mattemill.pipeline.errors import EngineError
from mattemill.pipeline.precision.graph import Graph

Floats = npt.NDArray[np.float32]

_SAMPLES = 3000  # values kept of a tensor and photograph
_SHARES = np.linspace(0.2, 1.0, 33)  # of the whole range: what clipping ranges are tried
_BYTES_AT_ONCE = 1 << 29  # exposed outputs are all alive at the end of a pass; all that is asked of u2netp is 430 MB
_BYTES_UNKNOWN = 1 << 26  # of a tensor whose shape the file does not tell
_ERRORS_ONLY = 3


@dataclass(frozen=True, slots=True)
class Activation:
    """One tensor (n, c, h, w) over all photographs.

    low, high, mean: by channel, float32 (c,). samples: float32 (m,), drawn at random, evenly from the photographs.
    """

    low: Floats
    high: Floats
    mean: Floats
    samples: Floats

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value."""
        return float(self.low.min()), float(self.high.max())


Activations = Mapping[str, Activation]


def session(data: bytes, *, plain: bool = False) -> Any:
    """An ONNX Runtime session on the CPU, one thread. plain: no graph optimisation: Q/DQ in float32, as written;
    fp8 is so in any case.

    Raises EngineError.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        made = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return session(data, plain=True) if not plain and runs_as_written(made) else made
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise EngineError(f"a network that was changed cannot be loaded ({error})") from error


def calibrate(
    graph: Graph,
    tensors: Sequence[str],
    inputs: Sequence[Floats],
    on_done: Callable[[int, int], None] | None = None,
) -> dict[str, Activation]:
    """Run the network over inputs, float32 (1, c, h, w), and note what these tensors are.

    Raises ValueError without inputs, EngineError.
    """
    if not inputs:
        raise ValueError("no calibration input: nothing would be known of the activations")
    # By tensor, so that what is seen of one does not depend on the others that are asked for.
    rngs = {name: np.random.default_rng(zlib.crc32(name.encode())) for name in tensors}
    found: dict[str, Activation] = {}
    if graph.input in tensors:
        found[graph.input] = _joined([_seen(each, rngs[graph.input]) for each in inputs])
    chunks = _chunks([name for name in tensors if name != graph.input], graph.sizes())
    for number, chunk in enumerate(chunks):
        running = session(graph.exposing(chunk))
        parts: list[list[Activation]] = [[] for _ in chunk]
        for done, given in enumerate(inputs, 1):
            for name, part, value in zip(chunk, parts, running.run(chunk, {graph.input: given}), strict=True):
                part.append(_seen(value, rngs[name]))
            if on_done is not None:
                on_done(number * len(inputs) + done, len(chunks) * len(inputs))
        found.update((name, _joined(part)) for name, part in zip(chunk, parts, strict=True))
    return found


def clip_range(activation: Activation, steps: int) -> tuple[float, float]:
    """The range (low <= 0 <= high) whose `steps` equal steps give the least mean squared error on the samples.

    Clipping the few largest values makes all others finer; Banner et al., Post-training 4-bit quantization, NeurIPS
    2019, by search instead of a fitted distribution.
    """
    low, high = activation.range
    low, high = min(low, 0.0), max(high, 1e-6)
    best, least = (low, high), np.inf
    values = activation.samples.astype(np.float64)
    for share in _SHARES:
        step = (high - low) * share / steps
        zero = np.rint(-low * share / step)
        error = float(np.mean(np.square((np.clip(np.rint(values / step) + zero, 0, steps) - zero) * step - values)))
        if error < least:
            best, least = (low * float(share), high * float(share)), error
    return best


def _chunks(tensors: Sequence[str], sizes: Mapping[str, int]) -> list[list[str]]:
    """The tensors, in order, in as few lists as the memory allows. sizes: numbers in each, where known."""
    chunks: list[list[str]] = []
    left = 0
    for name in tensors:
        needed = 4 * sizes[name] if name in sizes else _BYTES_UNKNOWN
        if not chunks or needed > left:
            chunks.append([])
            left = _BYTES_AT_ONCE
        chunks[-1].append(name)
        left -= needed
    return chunks


def _seen(value: npt.NDArray[Any], rng: np.random.Generator) -> Activation:
    across = tuple(axis for axis in range(value.ndim) if axis != 1)
    flat = value.reshape(-1)
    chosen = flat[rng.integers(0, flat.size, _SAMPLES)]
    return Activation(value.min(axis=across), value.max(axis=across), value.mean(axis=across), chosen)


def _joined(parts: Sequence[Activation]) -> Activation:
    return Activation(
        np.min([each.low for each in parts], axis=0),
        np.max([each.high for each in parts], axis=0),
        np.mean([each.mean for each in parts], axis=0),
        np.concatenate([each.samples for each in parts]),
    )
