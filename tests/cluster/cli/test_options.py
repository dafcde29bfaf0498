"""Every setting can be given on the command line or in a file, and the command line wins."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import pytest

from mattemill.cluster.cli import options
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import ConfigError, UsageError

OTHER = {
    "output": "composite",
    "format": "webp",
    "subjects": "all",
    "background": "#102030",
    "detector": "yolox",
    "detector_model": "x.onnx",
    "model_file": "y.onnx",
    "model": "isnet",
    "refine": "none",
    "device": "cpu",
    "engine": "onnxruntime",
    "precision": "fp32",
    "placement": "fused",
    "device_chain": "on",
    "gpu_decode": "on",
    "cuda_graphs": "auto",
    "endpoint_url": "http://127.0.0.1:1",
    "region": "eu-north-1",
    "s3_client": "obstore",
    "ray_address": "auto",
    "crop_margin": 0.2,
    "main_share": 0.6,
    "second_network": "u2net",
    "subject_threshold": 0.4,
    "matting_step": 1,
    "confidence_threshold": 0.2,
    "shadow": "drop",
    "match_colour": 0.5,
    "canvas": "800x600",
    "margin": "7%",
}
NEEDS = {"background": ["output=composite"], "detector": ["detector_model=x.onnx"]}
NEEDS |= {"gpu_decode": ["device_chain=on"]}
NEEDS |= {"shadow": ["output=cutout"], "match_colour": ["output=composite", "background=x.jpg"]}
NEEDS |= {"margin": ["canvas=9x9"], "upscale": ["canvas=9x9"]}


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for add in (options.add_cutting, options.add_running, options.add_store, options.add_config):
        add(parser)
    return parser.parse_args(arguments)


def other_value(field: dataclasses.Field[object]) -> object:
    """A value that the field may have and that is not its default."""
    if field.name in OTHER:
        return OTHER[field.name]
    if isinstance(field.default, bool):
        return not field.default
    assert isinstance(field.default, int | float)
    return field.default + 1


def written(value: object) -> str:
    """As TOML has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("field", dataclasses.fields(JobConfig), ids=lambda field: field.name)
def test_every_setting_can_be_given_with_set(field: dataclasses.Field[object]) -> None:
    value = other_value(field)
    needed = [part for need in NEEDS.get(field.name, []) for part in ("--set", need)]
    config = options.config_of(parsed("--set", f"{field.name}={written(value)}", *needed))
    assert getattr(config, field.name) == value != field.default


@pytest.mark.parametrize("name", options.FLAG_FIELDS)
def test_every_flag_sets_its_field(name: str) -> None:
    field = next(f for f in dataclasses.fields(JobConfig) if f.name == name)
    value = other_value(field)
    needed = [part for need in NEEDS.get(name, []) for part in ("--set", need)]
    values = [] if isinstance(value, bool) else [str(value)]
    config = options.config_of(parsed(f"--{name.replace('_', '-')}", *values, *needed))
    assert getattr(config, name) == value


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text('output = "cutout"\nformat = "webp"\nshard_size = 7\n')
    config = options.config_of(parsed("--config", str(file), "--format", "png", "--set", "shard_size=9"))
    assert (config.output, config.format, config.shard_size) == ("cutout", "png", 9)


def test_a_flag_and_set_for_the_same_field_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="format is set twice"):
        options.config_of(parsed("--format", "png", "--set", "format=webp"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("shard_size", "NAME=VALUE"),
        ("shard=9", "unknown setting 'shard'"),
        ("shard_size=many", "'many' is not of type"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(text: str, names: str) -> None:
    with pytest.raises(UsageError, match=names):
        options.parse_setting(text)


def test_a_value_of_the_wrong_kind_is_named() -> None:
    with pytest.raises(ConfigError, match="shard_size = 'x' must be of type int"):
        options.config_of(parsed("--set", 'shard_size="x"'))


def test_a_recipe_lies_under_the_file_and_the_command_line(tmp_path: Path) -> None:
    recipe, file = tmp_path / "soft.toml", tmp_path / "job.toml"
    recipe.write_text('refine = "none"\ncrop_margin = 0.3\nsubject_threshold = 0.3\nmodel = "isnet"\n')
    file.write_text("crop_margin = 0.2\nsubject_threshold = 0.2\n")
    config = options.config_of(
        parsed("--recipe", str(recipe), "--config", str(file), "--set", "subject_threshold=0.1", "--model", "u2net")
    )
    got = (config.refine, config.crop_margin, config.subject_threshold, config.model)
    assert got == ("none", 0.2, 0.1, "u2net")


def test_a_recipe_is_part_of_the_fingerprint() -> None:
    plain, same = options.config_of(parsed()), options.config_of(parsed("--recipe", "default"))
    fast = options.config_of(parsed("--recipe", "fast"))
    assert plain.fingerprint({}) == same.fingerprint({})
    assert fast.fingerprint({}) != plain.fingerprint({})


def test_a_job_has_one_recipe() -> None:
    with pytest.raises(UsageError, match=r"--recipe is given 2 times \(fast, best\)"):
        options.config_of(parsed("--recipe", "fast", "--recipe", "best"))
