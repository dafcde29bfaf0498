"""A network in ONNX Runtime, on the CPU or on a CUDA GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.engines.devices import CUDA_PROVIDER
from mattemill.pipeline.errors import DeviceError, EngineError

_ERRORS_ONLY = 3  # warnings about initialisers in graph inputs run to hundreds of lines a session
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxRuntimeEngine:
    """One loaded ONNX file; see `Engine`.

    Measured for u2netp on one core: all graph optimisations are worth a fifth of the time, the memory arena
    another fifth; batches gain nothing on a CPU.

    path: the ONNX file. device: 'cpu' or 'cuda:N' as a `Place` has it. threads: of one forward pass; workers
    are made one a core, so more would only fight. outputs: names to read; None = all. name: for messages.
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
    ) -> None:
        import onnxruntime

        self.device = device
        self.batch_limit = 1
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
            self._session = onnxruntime.InferenceSession(str(path), options, providers=_providers(device))
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

    def run(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
        """One forward pass: float32 in, float32 out, whatever the file computes in.

        Raises EngineError naming the model when it fails or an output is not finite.
        """
        feed: dict[str, npt.NDArray[Any]] = {}
        for name, array in inputs.items():
            dtype = self._dtypes.get(name)
            if dtype is None:
                raise EngineError(f"model {self._name}: no float input {name!r}; it has {', '.join(self._dtypes)}")
            feed[name] = np.ascontiguousarray(array, dtype=dtype)
        try:
            results = self._session.run(self._outputs, feed)
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise EngineError(f"model {self._name}: forward pass failed on {self.device} ({error})") from error
        outputs = {
            name: np.asarray(result, dtype=np.float32) for name, result in zip(self._outputs, results, strict=True)
        }
        for name, output in outputs.items():
            if not np.isfinite(output).all():
                raise EngineError(f"model {self._name}: output {name} is not finite on {self.device}")
        return outputs


def _providers(device: str) -> list[Any]:
    if device.startswith("cuda"):
        _, _, index = device.partition(":")
        return [(CUDA_PROVIDER, {"device_id": int(index or 0)}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
