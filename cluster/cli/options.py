"""Options that several commands share, and how they become a `JobConfig`.

Every field of the config can be set by `--config job.toml` and by `--set name=value`; those that people use have a
flag of their own. What wins, from the top: a flag or `--set` (both for the same field is an error), the file of
`--config`, the recipe, the defaults.
"""

from __future__ import annotations

import argparse
import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from mattemill.pipeline.config import JobConfig, load_config
from mattemill.pipeline.errors import ConfigError, UsageError
from mattemill.pipeline.recipes import find_recipe

FLAG_FIELDS = (
    "output",
    "format",
    "subjects",
    "background",
    "detector",
    "detector_model",
    "model_file",
    "model",
    "refine",
    "despeckle",
    "fill_holes",
    "feather",
    "shadow",
    "match_colour",
    "canvas",
    "margin",
    "upscale",
    "device",
    "placement",
    "workers",
    "cpus",
    "endpoint_url",
    "region",
    "s3_client",
    "ray_address",
)
"""The config's fields that have a flag."""


def add_common(parser: argparse.ArgumentParser, *, json_help: str) -> None:
    """What every command takes."""
    group = parser.add_argument_group("general")
    group.add_argument("--json", action="store_true", help=json_help)
    group.add_argument("-v", "--verbose", action="count", default=0, help="log more (-vv: all) to stderr")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")


def add_config(parser: argparse.ArgumentParser) -> None:
    """`--recipe`, `--config` and `--set`."""
    group = parser.add_argument_group("settings")
    group.add_argument(
        "--recipe",
        action="append",
        metavar="NAME|FILE",
        help="how photographs are cut: fast, best, or a TOML file of settings; all others win over it",
    )
    group.add_argument("--config", type=Path, metavar="FILE", help="settings of the job as TOML; flags win over it")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="any other setting, e.g. --set shard_size=512 (see pipeline/config.py for all)",
    )


def add_store(parser: argparse.ArgumentParser) -> None:
    """How an object store is reached."""
    group = parser.add_argument_group("object store")
    group.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible store (else AWS_ENDPOINT_URL, AWS)")
    group.add_argument("--region", help="as boto3 finds it when not given")
    group.add_argument("--s3-client", choices=("boto3", "obstore"), help="boto3 (default), or the faster obstore")


def add_cutting(parser: argparse.ArgumentParser) -> None:
    """What comes out, how it is cut, and on which device."""
    out = parser.add_argument_group("what comes out")
    out.add_argument(
        "--output",
        choices=("matte", "cutout", "composite"),
        help="8-bit alpha (default), RGBA with clean edge colours, or on a background",
    )
    out.add_argument("--format", choices=("png", "webp"), help="png (default) or lossless webp")
    out.add_argument("--background", metavar="'#rrggbb'|FILE", help="of a composite; white when not given")
    out.add_argument("--subjects", choices=("main", "all"), help="the main subject (default) or all that are found")
    how = parser.add_argument_group("how it is cut")
    how.add_argument("--model", metavar="NAME", help="network by its card, see `mattemill models list` (u2netp)")
    detectors = ("saliency", "yolox", "nanodet", "rtdetr")
    how.add_argument(
        "--model-file", metavar="FILE", help="ONNX file in its place: from `quantize`, `prune` or your own"
    )
    how.add_argument("--detector", choices=detectors, help="what finds the boxes (saliency)")
    how.add_argument("--detector-model", metavar="FILE", help="ONNX file of a COCO detector")
    refiners = ("network", "vitmatte", "guided", "none")
    how.add_argument("--refine", choices=refiners, help="refinement of the edge band (network, our own)")
    how.add_argument("--device", choices=("auto", "cpu", "cuda"), help="a named device is had or is an error (auto)")
    _add_finishing(parser)


def _add_finishing(parser: argparse.ArgumentParser) -> None:
    """What is done to a matte once it is found."""
    group = parser.add_argument_group("finishing")
    yes_or_no = argparse.BooleanOptionalAction
    group.add_argument(
        "--despeckle", action=yes_or_no, default=None, help="take off small islands away from the subject"
    )
    group.add_argument(
        "--fill-holes", action=yes_or_no, default=None, help="fill false holes; rings and mesh keep theirs"
    )
    group.add_argument("--feather", type=float, metavar="PX", help="soften the edge by PX pixels to either side (0)")
    group.add_argument(
        "--shadow",
        choices=("none", "keep", "drop"),
        help="of a cutout or composite: none (default), keep the photograph's own on its light ground, or drop a soft "
        "one under the subject",
    )
    group.add_argument(
        "--match-colour", type=float, metavar="0..1", help="bring the subject's colours near the background picture's"
    )
    group.add_argument(
        "--canvas", metavar="WxH", help="scale the subject to fit a canvas, e.g. 2000x2000, and centre it"
    )
    group.add_argument("--margin", metavar="N%|PX", help="left free around it: of the shorter side, or pixels (5%%)")
    group.add_argument("--upscale", action=yes_or_no, default=None, help="let small subjects grow to fill the canvas")


def add_running(parser: argparse.ArgumentParser) -> None:
    """Where and with how many workers a job runs."""
    group = parser.add_argument_group("where it runs")
    group.add_argument("--workers", type=int, metavar="N", help="network workers in all; 0 = from a calibration")
    group.add_argument("--cpus", type=int, metavar="N", help="cores to use; 0 = those this process may run on")
    group.add_argument("--placement", choices=("auto", "split", "fused"), help="a pool a stage, or one actor for all")
    group.add_argument("--ray-address", metavar="ADDRESS", help="of a running Ray; a local one when not given")


def config_of(args: argparse.Namespace) -> JobConfig:
    """The settings that these arguments ask for. Raises ConfigError, UsageError."""
    given = {name: getattr(args, name) for name in FLAG_FIELDS if getattr(args, name, None) is not None}
    for text in getattr(args, "settings", ()):
        name, value = parse_setting(text)
        if name in given:
            raise UsageError(f"{name} is set twice on the command line: use the flag or --set, not both")
        given[name] = value
    recipes = getattr(args, "recipe", None) or ()
    if len(recipes) > 1:
        raise UsageError(f"--recipe is given {len(recipes)} times ({', '.join(recipes)}): a job has one")
    base = find_recipe(recipes[0]).settings if recipes else {}
    return load_config(getattr(args, "config", None), given, base)


def parse_setting(text: str) -> tuple[str, Any]:
    """(name, value) of 'name=value'; the value is read as its field's type wants it. Raises UsageError."""
    name, equals, raw = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals:
        raise UsageError(f"--set {text}: write NAME=VALUE")
    known = {f.name: f for f in dataclasses.fields(JobConfig)}
    if name not in known:
        raise ConfigError(f"--set {text}: unknown setting {name!r}; known are {', '.join(sorted(known))}")
    default = known[name].default
    if default is None or isinstance(default, str):
        return name, raw
    try:
        return name, tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        raise ConfigError(f"--set {text}: {raw!r} is not of type {type(default).__name__}") from None
