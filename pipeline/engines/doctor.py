"""What this machine has for running networks, what would run where, and what is missing. Looks; changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata

from mattemill.pipeline.engines.devices import CudaFound, find_cuda
from mattemill.pipeline.engines.gpus import DriverFound, find_gpus
from mattemill.pipeline.engines.modules import State, module_state
from mattemill.pipeline.engines.place import PREFERRED, EnginesFound, find_engines
from mattemill.pipeline.engines.tensorrt_api import INSTALL
from mattemill.pipeline.images import nvimgcodec_api


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
    (
        "cuda.bindings.driver",
        ("cuda-bindings",),
        "CUDA graphs of TensorRT's passes; without it they run without graphs",
        "pip install cuda-bindings",
    ),
    ("onnx", ("onnx",), "rewrites networks before they are compiled", "pip install 'mattemill[gpu]'"),
    ("simplejpeg", ("simplejpeg",), "decodes JPEG", "pip install simplejpeg"),
    ("isal", ("isal",), "compresses PNG", "pip install isal"),
    (
        nvimgcodec_api.MODULE,
        ("nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12"),
        "decodes JPEGs on the GPU for gpu_decode = on",
        nvimgcodec_api.INSTALL,
    ),
)
_ENGINES = "mattemill engines build"
_NVJPEG = "nvJPEG"


def diagnose(gpus: DriverFound | None = None, cuda: CudaFound | None = None) -> Diagnosis:
    """Look at everything. gpus, cuda: what the driver shows; asked when not given."""
    found = gpus if gpus is not None else find_gpus()
    cuda = cuda if cuda is not None else find_cuda()
    engines = find_engines(found, cuda)
    modules = [_module(*entry) for entry in _MODULES]
    parts = [_driver(found), *(_doubted(part, engines) for part in modules), _nvjpeg(), _provider(cuda)]
    return Diagnosis(found, tuple(parts), _plans(found, engines, parts), engines.refusal())


def _doubted(part: Part, engines: EnginesFound) -> Part:
    """With what speaks against it on this GPU although it is installed."""
    doubts = [doubt for name, doubt in engines.doubts.items() if name == part.name and part.state == "ok"]
    return replace(part, found="; ".join([part.found, *doubts]))


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
    state, why = module_state(name)
    if state != "ok":
        return Part(name, state, why, purpose, get)
    for distribution in distributions:
        try:
            return Part(name, "ok", metadata.version(distribution), purpose)
        except metadata.PackageNotFoundError:
            continue
    return Part(name, "ok", "installed", purpose)


def _nvjpeg() -> Part:
    state, found = nvimgcodec_api.nvjpeg_state()
    get = "" if state == "ok" else nvimgcodec_api.INSTALL
    return Part(_NVJPEG, state, found, "the library with which nvImageCodec decodes JPEGs", get)


def _provider(cuda: CudaFound) -> Part:
    purpose = "runs networks on NVIDIA GPUs without compiling them"
    if cuda.provider:
        return Part("onnxruntime's CUDA provider", "ok", "built in", purpose)
    get = "pip uninstall onnxruntime; pip install onnxruntime-gpu"
    return Part("onnxruntime's CUDA provider", "missing", "this onnxruntime is built without it", purpose, get)


def _plans(gpus: DriverFound, found: EnginesFound, parts: list[Part]) -> tuple[Plan, ...]:
    state = {part.name: part.state for part in parts}
    networks = _networks(found)
    lacks = [name for name in ("pycuda.driver", "onnx") if state[name] != "ok"]
    builds = [name for name in ("tensorrt", "tensorrt_rtx") if state[name] == "ok"]
    if gpus.gpus and builds and not lacks:
        why = "; ".join([f"{builds[0]}, compared on the GPU", *(d for n, d in found.doubts.items() if n == builds[0])])
        engines = Plan(_ENGINES, "cuda:0", why)
    elif "tensorrt_rtx" in builds and state["onnx"] == "ok":
        why = "; ".join([gpus.problem or "", *(f"{name} is {state[name]}" for name in lacks)]).strip("; ")
        engines = Plan(_ENGINES, "built here, run nowhere", why)
    else:
        wants = lacks if builds else [*lacks, "tensorrt"]
        why = "; ".join([*([gpus.problem] if gpus.problem else []), *(f"{name} is {state[name]}" for name in wants)])
        engines = Plan(_ENGINES, "nowhere", why)
    return (
        networks,
        engines,
        Plan("decoding and encoding", "cpu", f"simplejpeg, Pillow, isal; {_gpu_decode(gpus, state)}"),
    )


def _gpu_decode(gpus: DriverFound, state: Mapping[str, State]) -> str:
    """Where the device chain's JPEGs would be decoded."""
    lacks = [f"{name} is {state[name]}" for name in (nvimgcodec_api.MODULE, _NVJPEG) if state[name] != "ok"]
    if gpus.gpus and not lacks:
        return "the device chain's JPEGs on cuda:0 with gpu_decode = on"
    return f"nothing on a GPU: {'; '.join([*(['there is none'] if not gpus.gpus else []), *lacks])}"


def _networks(found: EnginesFound) -> Plan:
    work = "networks of a job (--device auto)"
    engine = next((name for name in PREFERRED if found.usable(name, named=False)), None)
    if engine is None:
        return Plan(work, "cpu", (found.refusal() or "").partition(" cannot be had: ")[2])
    passed = [f"{name}: {found.why_not(name)}" for name in PREFERRED[: PREFERRED.index(engine)]]
    return Plan(work, "cuda:0", "; ".join([f"in {engine}", *passed]))
