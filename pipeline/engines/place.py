"""Where a job's networks run, and in which engine. What was asked for by name is had, or it is an error that says why
not; what was left open is chosen, and told in the log and in the summary."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, cast

from mattemill.pipeline.engines.devices import CudaFound, find_cuda
from mattemill.pipeline.engines.gpus import DriverFound, Gpu, find_gpus
from mattemill.pipeline.engines.modules import module_state
from mattemill.pipeline.engines.recipe import BACKENDS, Precision
from mattemill.pipeline.engines.tensorrt_api import INSTALL
from mattemill.pipeline.errors import DeviceError

if TYPE_CHECKING:
    from mattemill.pipeline.config import JobConfig

_LOG = logging.getLogger(__name__)

EngineName = Literal["onnxruntime", "tensorrt", "tensorrt_rtx"]

GraphUse = Literal["auto", "on", "off"]
"""Of CUDA graphs, in TensorRT. auto: where they pay, as measured; on: wherever they can be made."""

PREFERRED: tuple[EngineName, ...] = ("tensorrt", "tensorrt_rtx", "onnxruntime")
"""On a GPU, where the engine is left open."""

_BESIDE = ("pycuda.driver", "onnx")  # what both kinds of TensorRT need: to run, and to build


@dataclass(frozen=True, slots=True)
class Place:
    """Where networks run. device: 'cpu' or 'cuda:N'. precision: of the arithmetic; 'fp32' is what the file has. graphs:
    whether passes become CUDA graphs; counts in TensorRT alone, and is not in the text, as no pixel depends on it.

    As text it is what outcome rows and the summary of a job hold: 'cpu', 'cuda:0 tensorrt fp16'.
    """

    device: str = "cpu"
    engine: EngineName = "onnxruntime"
    precision: Precision = "fp32"
    graphs: GraphUse = "off"

    @property
    def gpu(self) -> int:
        """The N of 'cuda:N'. Raises ValueError on the CPU."""
        return int(self.device.removeprefix("cuda:"))

    def __str__(self) -> str:
        if self.device == "cpu":
            return "cpu"
        return f"{self.device} {self.engine}" + ("" if self.engine == "onnxruntime" else f" {self.precision}")


CPU = Place()


@dataclass(frozen=True, slots=True)
class EnginesFound:
    """What there is for running networks on the first GPU; a text says what is wrong, and what to do.

    no_gpu: why there is no GPU; '' when there is one. missing: what each engine lacks; '' = nothing. doubts: why an
    engine that lacks nothing will most likely not run here; it is not chosen, only taken when it is named.
    """

    no_gpu: str
    missing: Mapping[EngineName, str]
    doubts: Mapping[EngineName, str] = field(default_factory=dict)

    def usable(self, engine: EngineName, *, named: bool) -> bool:
        """Whether it can run; one that is in doubt only when the user has named it."""
        return not self.no_gpu and not self.missing[engine] and (named or engine not in self.doubts)

    def why_not(self, engine: EngineName) -> str:
        """What stands in this engine's way besides a GPU; '' when nothing does."""
        return self.missing[engine] or self.doubts.get(engine, "")

    def refusal(self, engine: str = "auto", precision: str = "auto") -> str | None:
        """Why no network can run on a GPU, in this engine or in any; None when one can."""
        names = _candidates(engine, precision)
        if any(self.usable(name, named=engine != "auto") for name in names):
            return None
        asked = "device cuda" if engine == "auto" else f"engine {engine}"
        if engine == "auto" and precision == "fp16":
            asked = "precision fp16, which is made in TensorRT's engines,"
        reasons = [self.no_gpu] if self.no_gpu else []
        lacking = [f"{name}: {why}" for name in names if (why := self.why_not(name))]
        if lacking and len(names) > 1:
            reasons.append(f"one of these engines is needed: {' | '.join(lacking)}")
        elif lacking:
            reasons.append(self.why_not(names[0]))
        return f"{asked} was asked for and cannot be had: {'; '.join(reasons)}"


def find_engines(gpus: DriverFound | None = None, cuda: CudaFound | None = None) -> EnginesFound:
    """Look for them: imports TensorRT and pycuda where they are installed, allocates nothing on a GPU.

    gpus, cuda: what the driver shows; asked when not given.
    """
    gpus = gpus if gpus is not None else find_gpus()
    cuda = cuda if cuda is not None else find_cuda()
    missing: dict[EngineName, str] = {
        "onnxruntime": ""
        if cuda.provider
        else "this onnxruntime is the build without CUDA (no CUDAExecutionProvider): uninstall onnxruntime and install "
        "onnxruntime-gpu"
    }
    beside = [_lack(name, "pip install 'mattemill[gpu]'") for name in _BESIDE]
    for backend in BACKENDS:
        missing[backend] = ", ".join(filter(None, [_lack(backend, INSTALL[backend]), *beside]))
    doubt = rtx_doubt(gpus.gpus[0], rtx_capabilities()) if gpus.gpus else ""
    no_gpu = "" if gpus.gpus else gpus.problem or "the driver shows no GPU"
    return EnginesFound(no_gpu, missing, {"tensorrt_rtx": doubt} if doubt else {})


def rtx_capabilities() -> tuple[str, ...]:
    """The compute capabilities that the installed TensorRT-RTX has names for, '8.9', sorted; () when it has none."""
    if module_state("tensorrt_rtx")[0] != "ok":
        return ()
    members = dir(getattr(importlib.import_module("tensorrt_rtx"), "ComputeCapability", None))
    numbers = sorted(int(found[1]) for name in members if (found := re.fullmatch(r"SM_?(\d{2,3})", name)))
    return tuple(f"{number // 10}.{number % 10}" for number in numbers)


def rtx_doubt(gpu: Gpu, known: tuple[str, ...]) -> str:
    """Why TensorRT-RTX will most likely refuse this GPU; '' when it names its compute capability, or names none."""
    if not known or gpu.compute_capability in known:
        return ""
    return (
        f"TensorRT-RTX will most likely refuse {gpu.name}: it has no name for compute capability "
        f"{gpu.compute_capability} (it has {', '.join(known)}). That was not tried yet; --set engine=tensorrt_rtx tries"
    )


def place_of(config: JobConfig, found: EnginesFound | None = None) -> Place:
    """Where the networks of this job run on this machine.

    An open device becomes the GPU when one can be used, and the log says why not otherwise. found: what the machine
    has; looked up when it matters. Raises DeviceError when something was named that cannot be had.
    """
    asked = "tensorrt" if config.cuda_graphs == "on" else config.engine  # graphs are made nowhere else
    named_engine = asked != "auto"
    if config.device == "cpu" or (config.device == "auto" and config.engine == "onnxruntime" and _no_cuda(found)):
        return CPU
    needs_gpu = config.device == "cuda" or asked in BACKENDS or config.precision == "fp16"
    if found is None and not needs_gpu and not (gpus := find_gpus()).gpus:
        # Without importing TensorRT, which takes a second.
        _LOG.info("device=cpu asked=auto why=%r", gpus.problem)
        return CPU
    found = found if found is not None else find_engines()
    for engine in _candidates(asked, config.precision):
        if found.usable(engine, named=named_engine):
            if engine in found.doubts:
                _LOG.warning("engine=%s doubt=%r", engine, found.doubts[engine])
            graphs = cast("GraphUse", config.cuda_graphs)
            place = Place("cuda:0", engine, _precision(engine, config.precision), graphs)
            passed = "; ".join(f"{name}: {found.why_not(name)}" for name in PREFERRED[: PREFERRED.index(engine)])
            _LOG.info("device=%s asked=%s why_no_better=%r", place, config.device, "" if named_engine else passed)
            return place
    why = found.refusal(asked, config.precision)
    if needs_gpu:
        way_out = "--device cpu" if config.engine == "auto" and config.precision != "fp16" else "--set engine=auto"
        if config.cuda_graphs == "on":
            way_out = " ".join(["--set cuda_graphs=auto", *(["--set engine=auto"] if config.engine != "auto" else [])])
        raise DeviceError(f"{why}. Or ask for {way_out}")
    _LOG.info("device=cpu asked=auto why=%r", why)
    return CPU


def settled(config: JobConfig, place: Place) -> JobConfig:
    """The settings with what they leave open as it was chosen, so that all workers of a job do the same or say why not.

    Its fingerprint is that of what is really done.
    """
    device = "cpu" if place.device == "cpu" else "cuda"
    return replace(config, device=device, engine=place.engine, precision=place.precision)


def _candidates(engine: str, precision: str) -> tuple[EngineName, ...]:
    names = tuple(name for name in PREFERRED if engine in ("auto", name))
    # onnxruntime computes in what the network's file holds.
    return tuple(name for name in names if name != "onnxruntime") if precision == "fp16" else names


def _precision(engine: EngineName, asked: str) -> Precision:
    if engine == "onnxruntime" or asked == "fp32":
        return "fp32"
    return "fp16"


def _no_cuda(found: EnginesFound | None) -> bool:
    """Whether onnxruntime has no GPU to run on, told in the log; does not look for anything else."""
    if found is None:
        missing = find_cuda().missing
    else:
        missing = tuple(filter(None, (found.no_gpu, found.missing["onnxruntime"])))
    if missing:
        _LOG.info("device=cpu asked=auto engine=onnxruntime why=%r", "; ".join(missing))
    return bool(missing)


def _lack(module: str, get: str) -> str:
    state, text = module_state(module)
    if state == "ok":
        return ""
    return f"{module} is not installed ({get})" if state == "missing" else f"{module} does not start ({text})"
