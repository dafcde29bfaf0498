"""Stages by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import ConfigError, DeviceError, ModelError, UsageError
from mattemill.pipeline.stages.build import STAGE_NAMES, build_stage
from mattemill.pipeline.stages.stage import Stage


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_every_stage_can_be_built_by_its_name(name: str, u2netp: Path, tmp_path: Path) -> None:
    stage = build_stage(name, JobConfig(), str(tmp_path / "sink"))
    assert isinstance(stage, Stage)
    assert stage.name == name
    assert stage.device == "cpu"


def test_a_name_that_is_no_stage_is_an_error() -> None:
    with pytest.raises(UsageError, match="'publish' is not known; known are fetch"):
        build_stage("publish", JobConfig())


def test_a_store_without_a_sink_is_an_error() -> None:
    with pytest.raises(UsageError, match="needs a sink"):
        build_stage("store", JobConfig())


def test_a_detector_named_as_the_cutting_model_is_an_error(u2netp: Path) -> None:
    with pytest.raises(ConfigError, match="makes no mask"):
        build_stage("segment", JobConfig(model="yolox_nano"))


def test_a_stage_whose_network_is_not_fetched_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATTEMILL_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match="mattemill models fetch u2netp"):
        build_stage("detect", JobConfig())


def test_a_stage_asked_onto_a_missing_gpu_is_an_error(u2netp: Path) -> None:
    from mattemill.pipeline.engines.devices import find_cuda

    if not find_cuda().missing:
        pytest.skip("this machine has CUDA")
    for name in ("detect", "segment", "cut"):
        with pytest.raises(DeviceError, match="device cuda was asked for"):
            build_stage(name, JobConfig(device="cuda"))
