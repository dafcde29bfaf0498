"""Runs a stage's work on the images of a call side by side, so that a network looks at many of them in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.errors import DeviceLostError, ImageError
from mattemill.pipeline.models.saliency import SaliencyMap
from mattemill.pipeline.photo import Photo
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.asks import Ask, Asking, BatchNetwork, Network
from mattemill.pipeline.stages.each import Steps, failed
from mattemill.pipeline.stages.stage import Done, StageResult

Tensor = npt.NDArray[np.float32]

_MOST_PIXELS = 1 << 26
"""Of photographs that are decoded at once, unless it is one: 200 MB of colours. 16 of 4 MP, 5 of 12 MP."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many images of a call are worked on at once: decoded, and waiting for looks.

    images: at least 1; 1 = one after the other, with the memory of one. pixels: of all of them, unless it is one.
    """

    images: int
    pixels: int = _MOST_PIXELS

    @staticmethod
    def for_networks(*networks: object) -> Room:
        """As many images as the largest of their batches; networks that take one image at a time count as 1."""
        limits = [network.batch_limit for network in networks if isinstance(network, BatchNetwork)]
        return Room(max(limits, default=1))


@dataclass(frozen=True, slots=True)
class _Blamed:
    """In place of a network's answer: it fails on this image and answers others."""

    message: str


@dataclass(eq=False, slots=True)
class _Task:
    """One image on its way. ask: what it waits for. tensor: of that, for a network that takes batches."""

    index: int
    steps: Steps
    work: Asking[Done]
    pixels: int
    ask: Ask | None = None
    tensor: Tensor | None = None


def run_together(
    name: str,
    device: str,
    items: Sequence[tuple[Any, ...]],
    work: Callable[..., Asking[Done]],
    room: Room,
    new_steps: Callable[[], Steps] = Steps,
) -> list[StageResult]:
    """`work(steps, *item)` for every item; results in the items' order, whatever order they end in.

    As `each.run_each`, but looks that several images wait for at the same network are one run of it, of at most its
    batch limit. A run that raises is bisected down to the image that causes it. That image ends as an internal_error
    if the network then answers for another image and fails for this one once more; where it has answered nobody, the
    engine is taken to be at fault and its exception goes on to the caller. DeviceLostError goes on at once.

    An image's seconds are those that were spent on it: a run's are shared out evenly, waiting for others is left out.
    """
    return _Together(name, device, room, len(items)).run(items, work, new_steps)


@dataclass
class _Together:
    name: str
    device: str
    room: Room
    count: int
    results: dict[int, StageResult] = field(default_factory=dict)
    waiting: list[_Task] = field(default_factory=list)
    good: dict[int, Tensor] = field(default_factory=dict)
    """By id of a network: what it has answered last, to see whether it still does."""

    def run(
        self, items: Sequence[tuple[Any, ...]], work: Callable[..., Asking[Done]], new_steps: Callable[[], Steps]
    ) -> list[StageResult]:
        for index, item in enumerate(items):
            pixels = _pixels(item)
            while self.waiting and not self._fits(pixels):
                self._answer(self._most_wanted())
            steps = new_steps()
            task = _Task(index, steps, _timed(steps, self.name, self.device, work(steps, *item)), pixels)
            self._go_on(task, None)
        while self.waiting:
            self._answer(self._most_wanted())
        return [self.results[index] for index in range(self.count)]

    def _fits(self, pixels: int) -> bool:
        held = sum(task.pixels for task in self.waiting)
        return len(self.waiting) < self.room.images and held + pixels <= self.room.pixels

    def _most_wanted(self) -> Network:
        """The network for which most images wait; the one that was asked first among equals."""
        asked = [task.ask.network for task in self.waiting if task.ask is not None]
        return max(asked, key=lambda network: sum(other is network for other in asked))

    def _answer(self, network: Network) -> None:
        limit = network.batch_limit if isinstance(network, BatchNetwork) else 1
        tasks = [task for task in self.waiting if task.ask is not None and task.ask.network is network][:limit]
        self.waiting = [task for task in self.waiting if task not in tasks]
        clocks = tasks[0].steps.clocks()
        if isinstance(network, BatchNetwork):
            tensors = [task.tensor for task in tasks if task.tensor is not None]
            answers = self._looks(network, tensors)
        else:
            answers = [network(task.ask.pixels) for task in tasks if task.ask is not None]
        seconds, cpu_seconds = (now - then for now, then in zip(tasks[0].steps.clocks(), clocks, strict=True))
        for task, answer in zip(tasks, answers, strict=True):
            task.ask = task.tensor = None
            task.steps.come_back(seconds / len(tasks), cpu_seconds / len(tasks))
            self._go_on(task, answer)

    def _go_on(self, task: _Task, answer: SaliencyMap | _Blamed | None) -> None:
        """Until the next ask or the end."""
        try:
            if isinstance(answer, _Blamed):
                # Not kept in a local: with its traceback it would be in a cycle that holds the photograph's pixels.
                task.ask = task.work.throw(ImageError(Reason.INTERNAL_ERROR, answer.message))
            else:
                task.ask = task.work.send(answer) if answer is not None else next(task.work)
            if isinstance(task.ask.network, BatchNetwork):
                task.tensor = task.ask.network.tensor(task.ask.pixels)
        except StopIteration as ended:
            done: Done = ended.value
            self.results[task.index] = replace(done, facts=done.facts.merged(task.steps.facts()))
        except ImageError as error:
            self.results[task.index] = failed(error, task.steps, self.name)
        else:
            task.steps.leave()
            self.waiting.append(task)

    def _looks(self, network: BatchNetwork, tensors: Sequence[Tensor]) -> list[SaliencyMap | _Blamed]:
        found = self._bisected(network, tensors)
        failing = [at for at, answer in enumerate(found) if answer is None]
        if failing:
            # What it answered before, it must answer now: else it is the network that fails, and this raises.
            self._kept(network, [self.good.get(id(network), tensors[failing[0]])])
        return [
            answer if answer is not None else self._once_more(network, tensor)
            for answer, tensor in zip(found, tensors, strict=True)
        ]

    def _bisected(self, network: BatchNetwork, tensors: Sequence[Tensor]) -> Sequence[SaliencyMap | None]:
        """None for each image on which the network fails alone."""
        try:
            return self._kept(network, tensors)
        except DeviceLostError:
            raise
        except Exception:
            if len(tensors) == 1:
                return [None]
        middle = (len(tensors) + 1) // 2
        return [*self._bisected(network, tensors[:middle]), *self._bisected(network, tensors[middle:])]

    def _once_more(self, network: BatchNetwork, tensor: Tensor) -> SaliencyMap | _Blamed:
        try:
            return self._kept(network, [tensor])[0]
        except DeviceLostError:
            raise
        except Exception as error:
            return _Blamed(str(error) or type(error).__name__)

    def _kept(self, network: BatchNetwork, tensors: Sequence[Tensor]) -> list[SaliencyMap]:
        """The network's answers; the first tensor is kept as one that it answers for."""
        answers = network.look(tensors)
        self.good[id(network)] = tensors[0]
        return answers


def _timed(steps: Steps, name: str, device: str, work: Asking[Done]) -> Asking[Done]:
    with steps.step(name, device):
        return (yield from work)


def _pixels(item: Sequence[Any]) -> int:
    """Of the photograph that an item begins with."""
    if not item or not isinstance(item[0], Photo):
        return 0
    width, height = item[0].header.shown_size
    return width * height
