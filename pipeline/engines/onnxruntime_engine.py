"""A network in ONNX Runtime, on the CPU or on a CUDA GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.engines.batches import BatchCaps, cut
from mattemill.pipeline.engines.devices import CUDA_PROVIDER
from mattemill.pipeline.engines.gpu_faults import gpu_fault
from mattemill.pipeline.errors import DeviceError, DeviceLostError, EngineError

Arrays = dict[str, npt.NDArray[np.float32]]

PRECISION_KEY: Final = "mattemill.precision"
"""In the metadata of a file with Q/DQ: 'int8' or 'fp8'."""

_ERRORS_ONLY = 3  # warnings about initialisers in graph inputs run to hundreds of lines a session
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxRuntimeEngine:
    """One loaded ONNX file; see `Engine`.

    Measured for u2netp on one core: all graph optimisations are worth a fifth of the time, the memory arena
    another fifth; batches gain nothing on a CPU (benchmarks/cpu_batches.py).

    path: the ONNX file. model: the network itself, where it was changed after reading it from there. device: 'cpu' or
    'cuda:N' as a `Place` has it. threads: of one forward pass; workers are made one a core, so more would only fight.
    buckets: batch sizes to run with, () = as many images at once as a call brings; a batch between two is cut or filled
    up, as the first run of a size is slow, and memory that does not do halves it for images of that shape. outputs:
    names to read; None = all. name: for messages.
    Raises EngineError when the file cannot be loaded, DeviceError when the session is not where it was asked to be.
    """

    def __init__(
        self,
        path: Path,
        device: str = "cpu",
        threads: int = 1,
        *,
        outputs: Sequence[str] | None = None,
        name: str | None = None,
        model: bytes | None = None,
        buckets: Sequence[int] = (),
    ) -> None:
        import onnxruntime

        self.device = device
        self.batch_limit = max(buckets, default=1)
        self._buckets = tuple(buckets)
        self._caps = BatchCaps()
        self._name = name or path.stem
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _ERRORS_ONLY
        # A thread that spins while it waits takes the core that another worker was given.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(model or str(path), options, providers=_providers(device))
            if runs_as_written(self._session):
                options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
                self._session = onnxruntime.InferenceSession(model or str(path), options, providers=_providers(device))
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise EngineError(f"model {self._name}: {path} cannot be loaded on {device} ({error})") from error
        running_on = self._session.get_providers()
        if device.startswith("cuda") and CUDA_PROVIDER not in running_on:
            raise DeviceError(
                f"model {self._name}: asked for {device}, but onnxruntime could not start its CUDA provider and would "
                f"run on {', '.join(running_on)}. Usually CUDA or cuDNN is missing or of another version than this "
                "onnxruntime-gpu needs; see its messages above, or ask for --device cpu"
            )
        self._dtypes = {node.name: _DTYPES.get(node.type) for node in self._session.get_inputs()}
        known = [node.name for node in self._session.get_outputs()]
        self._outputs = list(outputs) if outputs is not None else known
        missing = [output for output in self._outputs if output not in known]
        if missing:
            raise EngineError(
                f"model {self._name}: {path} has no output {', '.join(missing)}; it has {', '.join(known)}. "
                "It is not the network that the card describes"
            )

    @property
    def input_shapes(self) -> dict[str, tuple[int | str | None, ...]]:
        """Shapes by input name as the file declares them; a free dimension is a name or None."""
        return {node.name: tuple(node.shape) for node in self._session.get_inputs()}

    def run(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Arrays:
        """One forward pass: float32 in, float32 out, whatever the file computes in.

        Raises EngineError naming the model when it fails or an output is not finite, DeviceLostError when the GPU is
        gone.
        """
        feeds: dict[str, npt.NDArray[Any]] = {}
        for name, array in inputs.items():
            dtype = self._dtypes.get(name)
            if dtype is None:
                raise EngineError(f"model {self._name}: no float input {name!r}; it has {', '.join(self._dtypes)}")
            feeds[name] = np.ascontiguousarray(array, dtype=dtype)
        outputs = self._in_buckets(feeds) if self._buckets else self._pass(feeds)
        for name, output in outputs.items():
            if not np.isfinite(output).all():
                raise EngineError(f"model {self._name}: output {name} is not finite on {self.device}")
        return outputs

    def _in_buckets(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        counts = {len(feed) for feed in feeds.values()}
        if len(counts) != 1 or 0 in counts:
            raise EngineError(f"model {self._name}: inputs of {[feed.shape for feed in feeds.values()]} are no batch")
        (count,) = counts
        image = tuple(side for feed in feeds.values() for side in feed.shape[1:])
        parts: list[Arrays] = []
        done = 0
        while done < count:
            limit = self._caps.of(image, self._buckets[-1])
            batch = cut(done, count, self._buckets, limit)[0]
            rows = {name: _filled(feed[done : done + batch.count], batch.bucket) for name, feed in feeds.items()}
            try:
                outputs = self._pass(rows)
            except DeviceLostError:
                raise
            except EngineError as error:
                smaller = batch.bucket > self._buckets[0]
                if gpu_fault([str(error)]) != "memory" or not smaller or not self._caps.halve(image, batch.bucket):
                    raise
                continue
            parts.append({name: output[: batch.count] for name, output in outputs.items()})
            done += batch.count
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts[1:] else parts[0]

    def _pass(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        try:
            results = self._session.run(self._outputs, dict(feeds))
        except Exception as error:  # onnxruntime's own exceptions have no common base
            said = f"model {self._name}: forward pass failed on {self.device} ({error})"
            if self.device != "cpu" and gpu_fault([str(error)]) == "lost":
                raise DeviceLostError(f"{said}; the process must be replaced") from error
            raise EngineError(said) from error
        return {name: np.asarray(result, dtype=np.float32) for name, result in zip(self._outputs, results, strict=True)}


def runs_as_written(session: Any) -> bool:
    """Whether this session's file must be loaded without graph optimisations.

    Those of ONNX Runtime 1.32 change what a network with Q/DQ in fp8 computes: one layer of u2netp, in fp8 alone, is
    off by .02 as written and by 5 optimised, where its values are 0.5 on average. Integers are not affected.
    """
    return bool(session.get_modelmeta().custom_metadata_map.get(PRECISION_KEY) == "fp8")


def _filled(rows: npt.NDArray[Any], bucket: int) -> npt.NDArray[Any]:
    """As many rows as the bucket has, those that are missing like the last."""
    missing = bucket - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows


def _providers(device: str) -> list[Any]:
    if device.startswith("cuda"):
        _, _, index = device.partition(":")
        return [(CUDA_PROVIDER, {"device_id": int(index or 0)}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
