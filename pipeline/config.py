"""The settings of a job: frozen, checked when made, every field with its unit and the reason for its default.

A normal run sets none of them. `PIXEL_FIELDS` are those that can change a pixel of an output; they, the
models' hashes and `MATTE_VERSION` make the job's fingerprint. Limits and thresholds that only decide whether an
image fails are not among them: after changing one, `--retry-failed REASON` does the images that it concerns.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mattemill.pipeline.errors import ConfigError
from mattemill.pipeline.finishing_settings import check_finishing

MATTE_VERSION = 5
"""Raise it when code changes the pixels of a matte: every image becomes due again."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "output": ("matte", "cutout", "composite"),
    "format": ("png", "webp"),
    "subjects": ("main", "all"),
    "device": ("auto", "cpu", "cuda"),
    "engine": ("auto", "onnxruntime", "tensorrt", "tensorrt_rtx"),
    "precision": ("auto", "fp32", "fp16"),
    "placement": ("auto", "split", "fused"),
    "device_chain": ("off", "on"),
    "gpu_decode": ("off", "on"),
    "cuda_graphs": ("auto", "on", "off"),
    "detector": ("saliency", "yolox", "nanodet", "rtdetr"),
    "refine": ("network", "vitmatte", "guided", "none"),
    "shadow": ("none", "keep", "drop"),
    "second_network": ("none", "u2net"),
    "s3_client": ("boto3", "obstore"),
}

PIXEL_FIELDS = (
    "output",
    "format",
    "subjects",
    "background",
    "detector",
    "model",
    "crop_margin",
    "main_share",
    "second_network",
    "second_doubt",
    "refine",
    "matting_step",
    "subject_threshold",
    "precision",
    "device_chain",
    "gpu_decode",
    "despeckle",
    "fill_holes",
    "feather",
    "shadow",
    "match_colour",
    "canvas",
    "margin",
    "upscale",
)


@dataclass(frozen=True, slots=True)
class JobConfig:
    """Every option of a job. Read the field comments for units and for why a default is what it is."""

    # What comes out.
    output: str = "matte"  # 'matte': 8-bit alpha, the smallest file and what editors take as a mask
    format: str = "png"  # png: lossless everywhere; webp (lossless) is smaller and 10 times slower to write
    subjects: str = "main"  # 'main': catalogues show one article; 'all' keeps every subject found
    background: str | None = None  # composite only: '#rrggbb' or the path of an image; None = white

    # How it is cut.
    detector: str = "saliency"  # COCO boxes hurt on goods that are in no COCO class
    detector_model: str | None = None  # path of the ONNX file of a COCO detector; saliency needs none
    model: str = "u2netp"  # 4.6 MB, Apache-2.0: the one network that may be fetched without a second thought
    crop_margin: float = 0.10  # of the box's longer side, on each side; less cuts hair off
    model_file: str | None = None  # path of an ONNX file that does what `model` does; None = the file of its card
    main_share: float = 0.4  # 0..1 of the main part: less, further off = another thing; .4 to 1 within .004 IoU
    second_network: str = "none"  # u2net, where the first leaves doubt, adds .03 IoU; 165 MB that few want unasked
    second_doubt: float = 0.15  # of the first network's looks, from which the second is asked: 4 photographs in 10
    matting_step: int = 2  # of refine = 'network', which sees 1/step of the side; 1: 7 % less SAD, twice its time
    refine: str = "network"  # our own: a third less SAD than the mask, in 0.15 s a megapixel
    subject_threshold: float = 0.5  # raw saliency 0..1 below which nothing counts as a subject
    confidence_threshold: float = 0.35  # 0..1; of those below it 9 in 10 were bad (IoU < .85): 44 % of the bad ones

    # How it is finished; the defaults change nothing: which of it is wanted is the shop's choice.
    despeckle: bool = False  # takes off islands under 1 % of the largest that lie apart; a set of small parts has such
    fill_holes: bool = False  # fills gaps that look like the subject around them; glass and lace can look so, too
    feather: float = 0.0  # pixels of the photograph to either side of the edge; 0 = as sharp as the matte
    shadow: str = "none"  # 'keep': the photograph's own contact shadow on light ground; 'drop': a soft one is drawn
    match_colour: float = 0.0  # 0..1 towards the colours of a background picture; 0 = articles keep their true colour
    canvas: str | None = None  # 'WIDTHxHEIGHT' in pixels, the subject in its middle; None = the photograph's own frame
    margin: str | None = None  # canvas only: '5%' of its shorter side, or pixels, left free all around; None = 5 %
    upscale: bool = False  # canvas only: small subjects may grow beyond their own pixels; soft, so not unasked

    # Limits on input, checked on the header.
    max_pixels: int = 100_000_000  # pixels; 300 MB as RGB: above the largest camera backs in use
    max_file_bytes: int = 256 * 2**20  # bytes of one encoded file

    # Where and how it runs.
    device: str = "auto"  # 'auto' takes a GPU when one is usable; a named device is had or is an error
    engine: str = "auto"  # on a GPU TensorRT where it is there, else onnxruntime; a named one is had or is an error
    precision: str = "auto"  # 'auto': fp16 in TensorRT (u2netp's IoU to fp32 is .998); onnxruntime does what a file has
    placement: str = "auto"  # 'split': a pool per stage; 'fused': one actor holds the three network stages
    device_chain: str = "off"  # 'on': from decoded photograph to PNG rows on the GPU; not run on one, so not unasked
    gpu_decode: str = "off"  # 'on': the device chain's JPEGs by nvImageCodec; not run on a GPU, so not unasked
    cuda_graphs: str = "off"  # 'auto': in TensorRT, where a trial says that they pay; not run on a GPU, so not unasked
    workers: int = 0  # network workers in all; 0 = from the cores (or GPUs) and a calibration
    cpus: int = 0  # cores to use; 0 = those this process may run on
    memory_bytes: int = 0  # bytes of the object store; 0 = 30 % of the memory, at most 8 GiB
    in_flight_bytes: int = 0  # decoded bytes admitted at once (the byte gate); 0 = follows memory_bytes
    shard_size: int = 256  # images; what a killed job repeats at most, per shard in flight
    fetch_batch: int = 64  # images an object and a call, at most: 1.4 times the rate of 32 when networks cost nothing
    fetch_threads: int = 16  # concurrent GETs: hides 20-50 ms of S3 latency at hundreds of images a second
    batch_age: float = 0.2  # seconds after which a batch that is not full is sent
    call_timeout: float = 120.0  # seconds one image alone may take in one stage before its worker is killed
    stall_timeout: float = 600.0  # seconds without any outcome before the job gives up and says where it hangs
    drain_timeout: float = 90.0  # seconds for work in flight after SIGTERM; spot notices give 120
    lease_seconds: float = 20.0  # of silence after which a node's shards go to others: 40 heartbeats

    # What is kept.
    previews: bool = True  # of failures, a JPEG of 256 px: a person sees at a glance what went wrong; off for privacy

    # Object stores.
    endpoint_url: str | None = None  # of an S3-compatible store; None = AWS, or AWS_ENDPOINT_URL
    region: str | None = None  # None = as boto3 finds it
    s3_client: str = "boto3"  # obstore: 7 times the GETs a second, other credential sources
    ray_address: str | None = None  # None = a local Ray of this job's own
    nodes: int = 0  # that an autoscaled cluster is asked for; 0 = takes those that are there, and asks for the first

    # Seen from outside.
    metrics: bool = True  # to Ray's metrics, for Prometheus: 1 ms every 2 s (benchmarks/metrics.py)
    price_per_hour: float = 0.0  # of all machines of the job, any currency: what `cost` counts; 0 = not told
    trace_share: float = 0.0  # 0..1 of the images whose way goes to OpenTelemetry; 0: few have a collector

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f"{name} = {value!r}: must be one of {', '.join(choices)}")
        for name, low, high in (
            ("crop_margin", 0.0, 1.0),
            ("main_share", 0.0, 1.0),
            ("second_doubt", 0.0, 10.0),
            ("matting_step", 1, 2),
            ("subject_threshold", 0.0, 1.0),
            ("confidence_threshold", 0.0, 1.0),
            ("max_pixels", 1, 2**31),
            ("max_file_bytes", 1, 2**40),
            ("workers", 0, 10_000),
            ("nodes", 0, 10_000),
            ("cpus", 0, 10_000),
            ("memory_bytes", 0, 2**50),
            ("in_flight_bytes", 0, 2**50),
            ("shard_size", 1, 100_000),
            ("fetch_batch", 1, 1024),
            ("fetch_threads", 1, 256),
            ("batch_age", 0.0, 60.0),
            ("call_timeout", 0.1, 86_400.0),
            ("stall_timeout", 1.0, 86_400.0),
            ("drain_timeout", 0.0, 86_400.0),
            ("lease_seconds", 1.0, 3600.0),
            ("price_per_hour", 0.0, 1e9),
            ("trace_share", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} = {value}: must lie in {low}..{high}")
        check_finishing(self)
        if self.engine in ("tensorrt", "tensorrt_rtx") and self.device == "cpu":
            raise ConfigError(f"engine = {self.engine!r} runs on GPUs and device = 'cpu' is asked for: leave one out")
        if self.precision == "fp16" and (self.engine == "onnxruntime" or self.device == "cpu"):
            what = "engine = 'onnxruntime'" if self.engine == "onnxruntime" else "device = 'cpu'"
            raise ConfigError(f"precision = 'fp16' is made in TensorRT's engines, and {what} is asked for")
        if self.gpu_decode == "on" and self.device_chain == "off":
            raise ConfigError("gpu_decode = 'on' decodes for the device chain: set device_chain = 'on', too")
        if self.cuda_graphs == "on" and (self.engine in ("onnxruntime", "tensorrt_rtx") or self.device == "cpu"):
            what = "device = 'cpu'" if self.device == "cpu" else f"engine = {self.engine!r}"
            raise ConfigError(f"cuda_graphs = 'on' is for engine = 'tensorrt' on a GPU, and {what} is asked for")
        if self.background is not None and self.output != "composite":
            raise ConfigError(f"background = {self.background!r}: only --output composite has a background")
        if (
            self.background is not None
            and self.background.startswith("#")
            and not re.fullmatch(r"#[0-9a-fA-F]{6}", self.background)
        ):
            raise ConfigError(f"background = {self.background!r}: a colour is written '#rrggbb'")
        if self.detector != "saliency" and not self.detector_model:
            raise ConfigError(
                f"detector = {self.detector!r} needs detector_model, the path of its ONNX file "
                "(`mattemill models list` names where to get it)"
            )

    @property
    def refines_by_network(self) -> bool:
        """Whether `refine` names a network; the others are arithmetic on the CPU."""
        return self.refine in ("network", "vitmatte")

    @property
    def background_picture(self) -> Path | None:
        """The file of the background, '~' expanded; None when it is a colour."""
        if self.background is None or self.background.startswith("#"):
            return None
        return Path(os.path.expanduser(self.background))  # not Path.expanduser: it raises when there is no home

    def fingerprint(self, model_hashes: Mapping[str, str]) -> str:
        """16 hex digits that change with anything that can change a pixel of an output.

        model_hashes: sha256 by role ('detect', 'segment', ...), for every network that takes part.
        A precision that is left open counts as fp32: where there may be a GPU, settle it first (`engines.place`).
        """
        pixels: dict[str, Any] = {name: getattr(self, name) for name in PIXEL_FIELDS}
        if self.precision != "fp16":
            del pixels["precision"]  # as it was before there was a choice: what is done stays done
        if self.device_chain == "off":
            del pixels["device_chain"]  # as above; its kernels differ from the host's by a grey level here and there
        if self.gpu_decode == "off":
            del pixels["gpu_decode"]  # as above; nvJPEG rounds otherwise than libjpeg
        picture = self.background_picture
        if picture is not None:
            try:
                pixels["background"] = hashlib.sha256(picture.read_bytes()).hexdigest()
            except (OSError, ValueError) as error:
                raise ConfigError(f"background {self.background}: cannot be used ({error})") from error
        text = json.dumps({"v": MATTE_VERSION, "config": pixels, "models": dict(sorted(model_hashes.items()))})
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_config(path: Path | None, overrides: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> JobConfig:
    """Settings from a TOML file with the overrides (from the command line; None = not given) over them.

    base: settings under both, those of a recipe.
    Raises ConfigError naming the file and the field when a name is unknown or a type is wrong.
    """
    values: dict[str, Any] = dict(base or {})
    if path is not None:
        try:
            values |= tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as TOML ({error})") from error
    values.update({name: value for name, value in overrides.items() if value is not None})
    known = {f.name: f for f in dataclasses.fields(JobConfig)}
    where = str(path) if path is not None else "settings"
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"{where}: unknown setting {name!r}; known are {', '.join(sorted(known))}")
        default = known[name].default
        expected: type = str if default is None else type(default)
        if expected is float and isinstance(value, int) and not isinstance(value, bool):
            values[name] = float(value)
        elif not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise ConfigError(f"{where}: {name} = {value!r} must be of type {expected.__name__}")
    return JobConfig(**values)
