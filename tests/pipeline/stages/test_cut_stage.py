"""The fused stage gives, byte for byte, what the three stages give one after the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.models.cache import is_fetched
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.outcome import Facts
from mattemill.pipeline.photo import Photo
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.stage import Done, Failed, Stage, StageResult


def _one_after_the_other(load_stage: Callable[..., Stage], config: JobConfig, photo: Photo) -> StageResult:
    """Through detect, segment for each box, and matte, as the coordinator does it; facts merged."""
    detected = load_stage("detect", config)([(photo,)])[0]
    if isinstance(detected, Failed):
        return detected
    facts: Facts = detected.facts
    masks = []
    for index in range(detected.fan_out):
        masked = load_stage("segment", config)([(photo, detected.output, index)])[0]
        assert isinstance(masked, Done)
        masks.append(masked.output)
        facts = facts.merged(masked.facts)
    result = load_stage("matte", config)([(photo, detected.output, masks)])[0]
    return Done(result.output, facts.merged(result.facts)) if isinstance(result, Done) else result


@pytest.mark.parametrize(
    "config",
    [
        JobConfig(confidence_threshold=0.0),
        JobConfig(output="cutout", subjects="all", confidence_threshold=0.0),
        JobConfig(output="composite", background="#336699", refine="none"),
    ],
    ids=["matte", "cutout of all", "composite unrefined"],
)
def test_fused_and_split_give_the_same_bytes(
    config: JobConfig, load_stage: Callable[..., Stage], photos: dict[str, Photo]
) -> None:
    for name in ("coffee", "flower-rotated", "rocket-cmyk"):
        fused = load_stage("cut", config)([(photos[name],)])[0]
        split = _one_after_the_other(load_stage, config, photos[name])
        assert type(fused) is type(split), name
        if isinstance(fused, Done) and isinstance(split, Done):
            assert fused.output.pixels.shape == split.output.pixels.shape, name
            assert fused.output.pixels.tobytes() == split.output.pixels.tobytes(), name
            assert fused.facts.boxes == split.facts.boxes
            assert fused.facts.scores == split.facts.scores


def test_fused_and_split_give_the_same_bytes_with_a_second_network(
    load_stage: Callable[..., Stage], photos: dict[str, Photo]
) -> None:
    if not is_fetched(card_of("u2net")):
        pytest.skip("needs u2net: mattemill models fetch u2net")
    config = JobConfig(second_network="u2net", second_doubt=0.0, confidence_threshold=0.0, refine="none")
    fused = load_stage("cut", config)([(photos["rocket-cmyk"],)])[0]
    split = _one_after_the_other(load_stage, config, photos["rocket-cmyk"])
    assert isinstance(fused, Done)
    assert isinstance(split, Done)
    assert fused.facts.scores["second_network"] == 1
    assert fused.output.pixels.tobytes() == split.output.pixels.tobytes()
    assert fused.facts.scores == split.facts.scores


def test_the_matte_has_the_size_of_the_photograph_as_shown(
    load_stage: Callable[..., Stage], photos: dict[str, Photo]
) -> None:
    for name in ("flower-rotated", "cameraman-grey"):
        result = load_stage("cut")([(photos[name],)])[0]
        assert isinstance(result, Done)
        width, height = photos[name].header.shown_size
        assert result.output.pixels.shape == (height, width)


def test_a_fused_failure_names_the_step_and_keeps_what_was_learnt(
    load_stage: Callable[..., Stage], photos: dict[str, Photo]
) -> None:
    stage = load_stage("cut", JobConfig(confidence_threshold=1.0))
    results = stage([(photos[name],) for name in ("coffee", "gravel", "temple-cut-off")])
    failures = [result.failure for result in results if isinstance(result, Failed)]
    assert [failure.reason for failure in failures] == [Reason.LOW_CONFIDENCE, Reason.NO_SUBJECT, Reason.TRUNCATED]
    assert [failure.stage for failure in failures] == ["matte", "detect", "detect"]
    assert [failure.preview is not None for failure in failures] == [True, True, False]
    assert failures[0].facts.boxes, "the boxes of detection are not lost with the matte"
    assert {"saliency_peak", "confidence"} <= set(failures[0].facts.scores)
    assert {"detect", "segment", "matte", "cut"} == set(failures[0].facts.seconds)


def test_the_steps_say_how_long_they_took_and_where_they_ran(
    load_stage: Callable[..., Stage], photos: dict[str, Photo]
) -> None:
    result = load_stage("cut")([(photos["coffee"],)])[0]
    assert isinstance(result, Done)
    seconds = result.facts.seconds
    assert seconds["cut"] >= seconds["detect"] + seconds["segment"] + seconds["matte"]
    assert set(result.facts.device.values()) == {"cpu"}
