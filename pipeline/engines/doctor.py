"""What this machine has for running networks, what would run where, and what is missing. Looks; changes nothing."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from mattemill.pipeline.engines.devices import CudaFound, find_cuda
from mattemill.pipeline.engines.gpus import DriverFound, find_gpus
from mattemill.pipeline.engines.tensorrt_api import INSTALL

State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is looked for. found: version or description, or why not. get: how to get it; '' when it is there.

    purpose: what it is for.
    """

    name: str
    state: State
    found: str
    purpose: str
    get: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where one kind of work would run, and why there."""

    work: str
    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """parts: all that is looked for. plans: what would run where. cuda_refusal: of `--device cuda`, or None."""

    gpus: DriverFound
    parts: tuple[Part, ...]
    plans: tuple[Plan, ...]
    cuda_refusal: str | None


_MODULES = (
    # name, distributions that have it, purpose, how to get it
    ("onnxruntime", ("onnxruntime-gpu", "onnxruntime"), "runs networks", "pip install onnxruntime"),
    ("tensorrt", ("tensorrt",), "compiles and runs networks on NVIDIA GPUs", INSTALL["tensorrt"]),
    ("tensorrt_lean", ("tensorrt-lean",), "runs engines that were built elsewhere; mattemill does not use it", ""),
    ("tensorrt_rtx", ("tensorrt-rtx",), "compiles for RTX GPUs, also without one", INSTALL["tensorrt_rtx"]),
    ("pycuda.driver", ("pycuda",), "memory, streams and kernels on NVIDIA GPUs", "pip install 'mattemill[gpu]'"),
    ("onnx", ("onnx",), "rewrites networks before they are compiled", "pip install 'mattemill[gpu]'"),
    ("simplejpeg", ("simplejpeg",), "decodes JPEG", "pip install simplejpeg"),
    ("isal", ("isal",), "compresses PNG", "pip install isal"),
    (
        "nvidia.nvimgcodec",
        ("nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12"),
        "decodes photographs on the GPU; mattemill does not use it yet",
        "",
    ),
)
_ENGINES = "TensorRT engines (mattemill engines build; jobs do not use them yet)"


def diagnose(gpus: DriverFound | None = None, cuda: CudaFound | None = None) -> Diagnosis:
    """Look at everything. gpus, cuda: what the driver shows; asked when not given."""
    found = gpus if gpus is not None else find_gpus()
    cuda = cuda if cuda is not None else find_cuda()
    parts = [_driver(found), *(_module(*entry) for entry in _MODULES), _provider(cuda)]
    refusal = None
    if cuda.missing:
        refusal = f"device cuda was asked for and cannot be had: {'; '.join(cuda.missing)}"
    return Diagnosis(found, tuple(parts), _plans(found, cuda, parts), refusal)


def _driver(found: DriverFound) -> Part:
    if not found.gpus:
        state: State = "missing" if found.cuda_version is None else "broken"
        return Part(
            "NVIDIA GPU", state, found.problem or "none", "all GPU work", "a GPU and its driver: see nvidia-smi"
        )
    names = ", ".join(
        f"{gpu.name} ({gpu.compute_capability}, {gpu.memory_bytes / 2**30:.0f} GiB)" for gpu in found.gpus
    )
    return Part("NVIDIA GPU", "ok", f"{names}; driver for CUDA {found.cuda_version}", "all GPU work")


def _module(name: str, distributions: tuple[str, ...], purpose: str, get: str) -> Part:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Its own absence, and not that of something it needs.
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            return Part(name, "missing", "not installed", purpose, get)
        return Part(name, "broken", str(error), purpose, get)
    except Exception as error:  # a GPU library that finds no driver raises whatever it likes
        return Part(name, "broken", " ".join(str(error).split()) or type(error).__name__, purpose, get)
    for distribution in distributions:
        try:
            return Part(name, "ok", metadata.version(distribution), purpose)
        except metadata.PackageNotFoundError:
            continue
    return Part(name, "ok", "installed", purpose)


def _provider(cuda: CudaFound) -> Part:
    purpose = "runs networks on NVIDIA GPUs without compiling them"
    if cuda.provider:
        return Part("onnxruntime's CUDA provider", "ok", "built in", purpose)
    get = "pip uninstall onnxruntime; pip install onnxruntime-gpu"
    return Part("onnxruntime's CUDA provider", "missing", "this onnxruntime is built without it", purpose, get)


def _plans(gpus: DriverFound, cuda: CudaFound, parts: list[Part]) -> tuple[Plan, ...]:
    state = {part.name: part.state for part in parts}
    if cuda.missing:
        networks = Plan("networks of a job (--device auto)", "cpu", "; ".join(cuda.missing))
    else:
        networks = Plan("networks of a job (--device auto)", "cuda:0", "onnxruntime with its CUDA provider")
    lacks = [name for name in ("pycuda.driver", "onnx") if state[name] != "ok"]
    builds = [name for name in ("tensorrt", "tensorrt_rtx") if state[name] == "ok"]
    if gpus.gpus and builds and not lacks:
        engines = Plan(_ENGINES, "cuda:0", f"{builds[0]}, compared on the GPU")
    elif "tensorrt_rtx" in builds and state["onnx"] == "ok":
        why = "; ".join([gpus.problem or "", *(f"{name} is {state[name]}" for name in lacks)]).strip("; ")
        engines = Plan(_ENGINES, "built here, run nowhere", why)
    else:
        wants = lacks if builds else [*lacks, "tensorrt"]
        why = "; ".join([*([gpus.problem] if gpus.problem else []), *(f"{name} is {state[name]}" for name in wants)])
        engines = Plan(_ENGINES, "nowhere", why)
    codecs = Plan("decoding and encoding", "cpu", "simplejpeg, Pillow, isal")
    return (networks, engines, codecs)
