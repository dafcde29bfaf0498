"""Looks that many images wait for are one run of their network; an image that breaks it ends alone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.engines.open_engine import _batched
from mattemill.pipeline.errors import DeviceLostError, EngineError
from mattemill.pipeline.models import load
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.models.saliency import SaliencyMap
from mattemill.pipeline.outcome import Facts
from mattemill.pipeline.photo import Header, ImageRef, Photo, Rgb
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages import detect, segment
from mattemill.pipeline.stages.asks import Ask, Asking
from mattemill.pipeline.stages.build import build_stage
from mattemill.pipeline.stages.each import RefusedError, Steps
from mattemill.pipeline.stages.stage import Done, Failed, StageResult
from mattemill.pipeline.stages.together import Room, run_together

Tensor = npt.NDArray[np.float32]


class CountingNetwork:
    """A batch network that says of an image what its first pixel is, and breaks on planted ones.

    runs: the images of each run, by that pixel. breaks_on: these pixels break a run. dead_after: runs after which
    every other one breaks. error: what it then raises.
    """

    def __init__(
        self,
        batch_limit: int = 4,
        breaks_on: Sequence[int] = (),
        dead_after: int = 1000,
        error: Exception | None = None,
    ) -> None:
        self.batch_limit = batch_limit
        self.runs: list[list[int]] = []
        self._breaks_on = set(breaks_on)
        self._dead_after = dead_after
        self._error = error or EngineError("model counting: output is not finite")

    def __call__(self, image: Rgb) -> SaliencyMap:
        return self.look([self.tensor(image)])[0]

    def tensor(self, image: Rgb) -> Tensor:
        return image[:1, :1, 0].astype(np.float32)

    def look(self, tensors: Sequence[Tensor]) -> list[SaliencyMap]:
        pixels = [int(tensor[0, 0]) for tensor in tensors]
        assert 0 < len(pixels) <= self.batch_limit
        self.runs.append(pixels)
        if self._breaks_on & set(pixels) or len(self.runs) > self._dead_after:
            raise self._error
        return [SaliencyMap(np.full((2, 2), pixel, np.uint8), pixel / 255, 0.0) for pixel in pixels]


def _image(number: int) -> Rgb:
    return np.full((2, 2, 3), number, np.uint8)


def _looks(network: CountingNetwork, times: int = 1) -> Callable[..., Asking[Done]]:
    """Work that looks at its image so many times; its output is what the network said."""

    def work(steps: Steps, number: int) -> Asking[Done]:
        said = []
        with steps.step("inner", "cpu"):
            for _ in range(times):
                found = yield Ask(network, _image(number))
                said.append(int(found.mask[0, 0]))
        return Done(said, Facts(scores={"peak": found.peak}))

    return work


def _run(network: CountingNetwork, numbers: Sequence[int], times: int = 1) -> list[StageResult]:
    items = [(number,) for number in numbers]
    return run_together("stage", "cpu", items, _looks(network, times), Room.for_networks(network))


def _outputs(results: Sequence[StageResult]) -> list[Any]:
    return [result.output if isinstance(result, Done) else result.failure.reason for result in results]


def test_ten_images_are_three_runs_of_a_network_that_takes_four() -> None:
    network = CountingNetwork(4)
    results = _run(network, range(10))
    assert [len(run) for run in network.runs] == [4, 4, 2]
    assert _outputs(results) == [[number] for number in range(10)]


def test_second_looks_are_runs_of_many_images_as_well() -> None:
    network = CountingNetwork(8)
    results = _run(network, range(8), times=2)
    assert network.runs == [list(range(8))] * 2
    assert _outputs(results) == [[number, number] for number in range(8)]


def test_a_network_of_one_image_is_asked_for_one_image_after_the_other() -> None:
    network = CountingNetwork(1)
    _run(network, range(3), times=2)
    assert network.runs == [[0], [0], [1], [1], [2], [2]], "the second image begins when the first has ended"


def test_looks_of_two_networks_are_runs_of_their_own_and_each_image_gets_its_own() -> None:
    one, other = CountingNetwork(4), CountingNetwork(2)

    def work(steps: Steps, number: int) -> Asking[Done]:
        first = yield Ask(one, _image(number))
        if number % 2:
            second = yield Ask(other, _image(number + 100))
            return Done((int(first.mask[0, 0]), int(second.mask[0, 0])))
        return Done((int(first.mask[0, 0]),))

    results = run_together("stage", "cpu", [(n,) for n in range(8)], work, Room.for_networks(one, other))
    assert _outputs(results) == [(n, n + 100) if n % 2 else (n,) for n in range(8)]
    assert max(len(run) for run in one.runs) == 4
    assert max(len(run) for run in other.runs) == 2
    assert sum(len(run) for run in one.runs) == 8
    assert sum(len(run) for run in other.runs) == 4


def test_a_network_without_batches_is_asked_alone() -> None:
    asked: list[int] = []

    def alone(image: Rgb) -> SaliencyMap:
        asked.append(int(image[0, 0, 0]))
        return SaliencyMap(image[..., 0], 1.0, 0.0)

    def work(steps: Steps, number: int) -> Asking[Done]:
        found = yield Ask(alone, _image(number))
        return Done(int(found.mask[0, 0]))

    assert _outputs(run_together("stage", "cpu", [(5,), (6,)], work, Room(4))) == [5, 6]
    assert asked == [5, 6]


@pytest.mark.parametrize("bad", range(9))
def test_the_image_that_breaks_a_run_fails_alone_with_what_the_network_said(bad: int) -> None:
    network = CountingNetwork(8, breaks_on=[bad])
    results = _run(network, range(9))
    failures = {at: result.failure for at, result in enumerate(results) if isinstance(result, Failed)}
    assert list(failures) == [bad]
    assert failures[bad].reason is Reason.INTERNAL_ERROR
    assert failures[bad].message == "model counting: output is not finite"
    assert failures[bad].stage == "inner"
    assert [at for at, result in enumerate(results) if isinstance(result, Done) and result.output == [at]] == [
        at for at in range(9) if at != bad
    ]
    assert len(network.runs) <= 2 + 2 * 3 + 2, "bisected: two runs a halving, one to see that others are answered"


def test_two_images_that_break_runs_fail_and_no_other() -> None:
    network = CountingNetwork(16, breaks_on=[0, 15])
    assert [at for at, result in enumerate(_run(network, range(16))) if isinstance(result, Failed)] == [0, 15]


def test_an_image_that_fails_once_and_not_again_is_cut() -> None:
    class Hiccups(CountingNetwork):
        def look(self, tensors: Sequence[Tensor]) -> list[SaliencyMap]:
            if len(self.runs) in (1, 3):
                self._breaks_on = {2}
            else:
                self._breaks_on = set()
            return super().look(tensors)

    network = Hiccups(2)
    assert _outputs(_run(network, range(4))) == [[0], [1], [2], [3]]


def test_a_network_that_answers_nobody_is_the_callers_matter_and_no_image_is_blamed() -> None:
    with pytest.raises(EngineError, match="not finite"):
        _run(CountingNetwork(4, breaks_on=range(8)), range(8))
    with pytest.raises(EngineError, match="not finite"):
        _run(CountingNetwork(1, breaks_on=[0]), [0, 1])


def test_a_network_that_dies_on_the_way_is_the_callers_matter_and_no_image_is_blamed() -> None:
    with pytest.raises(EngineError, match="not finite"):
        _run(CountingNetwork(4, dead_after=1), range(8))


def test_a_lost_gpu_is_not_asked_again() -> None:
    network = CountingNetwork(4, dead_after=1, error=DeviceLostError("cuda:0 is gone"))
    with pytest.raises(DeviceLostError):
        _run(network, range(8))
    assert len(network.runs) == 2


def test_an_error_about_an_image_between_its_looks_is_its_own() -> None:
    network = CountingNetwork(4)

    def work(steps: Steps, number: int) -> Asking[Done]:
        yield Ask(network, _image(number))
        if number == 1:
            raise RefusedError(Reason.NO_SUBJECT, "nothing there", _image(number), facts=Facts(scores={"x": 1.0}))
        return Done(number)

    results = run_together("stage", "cpu", [(0,), (1,), (2,)], work, Room(4))
    assert _outputs(results) == [0, Reason.NO_SUBJECT, 2]
    assert isinstance(results[1], Failed)
    assert results[1].failure.preview
    assert results[1].failure.facts.scores == {"x": 1.0}


def test_an_images_seconds_are_its_own_work_and_its_share_of_the_runs() -> None:
    now = [0.0]

    class Slow(CountingNetwork):
        def look(self, tensors: Sequence[Tensor]) -> list[SaliencyMap]:
            now[0] += 8.0
            return super().look(tensors)

    network = Slow(4)

    def work(steps: Steps, number: int) -> Asking[Done]:
        now[0] += 1.0
        with steps.step("looking", "cpu"):
            yield Ask(network, _image(number))
        now[0] += number
        return Done(number)

    def clocks() -> Steps:
        return Steps(lambda: now[0])

    results = run_together("stage", "cpu", [(n,) for n in range(4)], work, Room(4), clocks)
    seconds = [result.facts.seconds for result in results if isinstance(result, Done)]
    assert [one["looking"] for one in seconds] == [2.0] * 4
    assert [one["stage"] for one in seconds] == [3.0, 4.0, 5.0, 6.0]
    assert sum(one["stage"] for one in seconds) == now[0]


def test_photographs_are_not_all_decoded_at_once_when_they_are_large() -> None:
    network = CountingNetwork(8)
    open_now: list[int] = []
    most = [0]

    def work(steps: Steps, photo: Photo) -> Asking[Done]:
        open_now.append(1)
        most[0] = max(most[0], len(open_now))
        yield Ask(network, _image(1))
        open_now.pop()
        return Done(None)

    photo = Photo(ImageRef("p", ""), Header("jpeg", 100, 100, "RGB", 8), np.zeros(1, np.uint8))
    run_together("stage", "cpu", [(photo,)] * 8, work, Room(8, pixels=29_999))
    assert most[0] == 2
    run_together("stage", "cpu", [(photo,)] * 8, work, Room(8, pixels=1))
    assert [len(run) for run in network.runs] == [2, 2, 2, 2] + [1] * 8, "one image is always let in"


class _Pixels(np.ndarray):  # type: ignore[type-arg]
    """An array that can be watched."""


def test_images_that_end_let_go_of_their_pixels_without_the_garbage_collector() -> None:
    network = CountingNetwork(4, breaks_on=[3])
    watched: list[weakref.ref[_Pixels]] = []

    def work(steps: Steps, number: int) -> Asking[Done]:
        image = _image(number).view(_Pixels)
        watched.append(weakref.ref(image))
        yield Ask(network, image)
        if number == 1:
            raise RefusedError(Reason.NO_SUBJECT, "nothing there", image)
        return Done(number)

    gc.disable()
    try:
        results = run_together("stage", "cpu", [(n,) for n in range(5)], work, Room(4))
        assert [ref() for ref in watched] == [None] * 5
    finally:
        gc.enable()
    assert [isinstance(result, Failed) for result in results] == [False, True, False, True, False]


def test_the_stages_give_the_same_bytes_in_batches_as_one_by_one(
    u2netp: Path, photos: dict[str, Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx", reason="u2netp's batch of one is taken out with the onnx package")
    runs: list[int] = []

    class Watched(OnnxRuntimeEngine):
        def run(self, inputs: Any) -> Any:
            runs.append(len(next(iter(inputs.values()))))
            return super().run(inputs)

    def in_batches(card: ModelCard, path: Path, *_: Any) -> OnnxRuntimeEngine:
        model, _ = _batched(card, path)
        return Watched(path, outputs=card.output.names, model=model, buckets=(1, 2, 4))

    chosen = [photos[name] for name in ("coffee", "gravel", "flower-rotated")]
    config = JobConfig(refine="none", confidence_threshold=0.0, device="cpu")
    one_by_one = build_stage("cut", config)([(photo,) for photo in chosen])
    monkeypatch.setattr(load, "open_engine", in_batches)
    together = build_stage("cut", config)([(photo,) for photo in chosen])
    assert runs == [3, 2], "the frames, then the crops of those with a subject"
    for result, other in zip(together, one_by_one, strict=True):
        assert type(result) is type(other)
        if isinstance(result, Done) and isinstance(other, Done):
            assert result.output.pixels.tobytes() == other.output.pixels.tobytes()
            assert result.facts.scores == other.facts.scores
            assert result.facts.boxes == other.facts.boxes
        elif isinstance(result, Failed) and isinstance(other, Failed):
            assert (result.failure.reason, result.failure.stage) == (other.failure.reason, other.failure.stage)
            assert result.failure.preview == other.failure.preview


class _Discs(CountingNetwork):
    """Sees a disc in every image."""

    card = card_of("u2netp")

    def look(self, tensors: Sequence[Tensor]) -> list[SaliencyMap]:
        super().look(tensors)
        y, x = np.mgrid[-1:1:64j, -1:1:64j]
        disc = np.where(np.hypot(x, y) < 0.5, 255, 0).astype(np.uint8)
        return [SaliencyMap(disc, 1.0, 0.0)] * len(tensors)


def test_the_stages_of_a_split_job_ask_for_many_images_at_once(
    photos: dict[str, Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = _Discs(4)
    monkeypatch.setattr(detect, "load_localiser", lambda *_: network)
    monkeypatch.setattr(segment, "load_segmenter", lambda *_: network)
    config = JobConfig(device="cpu")
    chosen = [photos[name] for name in ("coffee", "gravel", "temple-cut-off", "flower-rotated")]
    found = detect.DetectStage(config)([(photo,) for photo in chosen])
    assert [isinstance(result, Done) for result in found] == [True, True, False, True]
    detections = [(p, f.output, 0) for p, f in zip(chosen, found, strict=True) if isinstance(f, Done)]
    masks = segment.SegmentStage(config)(detections)
    assert all(isinstance(mask, Done) for mask in masks)
    assert [len(run) for run in network.runs] == [3, 3], "a file that ends early takes no place in a run"


def test_the_card_of_u2netp_has_a_batch_that_can_be_freed(u2netp: Path) -> None:
    pytest.importorskip("onnx", reason="needs the onnx package")
    model, buckets = _batched(card_of("u2netp"), u2netp)
    engine = OnnxRuntimeEngine(u2netp, model=model, buckets=buckets)
    assert engine.batch_limit == 16
    assert engine.input_shapes["input.1"][1:] == (3, 320, 320)
    assert not isinstance(engine.input_shapes["input.1"][0], int)
