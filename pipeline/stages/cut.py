"""The cut stage: detect, segment and matte in one call, the photograph decoded once (placement 'fused')."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.place import place_of
from mattemill.pipeline.hints import Hint
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.models.load import load_localiser, load_segmenter
from mattemill.pipeline.outcome import Facts
from mattemill.pipeline.photo import Photo
from mattemill.pipeline.stages.asks import Asking
from mattemill.pipeline.stages.detect import detection_facts, make_finder
from mattemill.pipeline.stages.each import RefusedError, Steps
from mattemill.pipeline.stages.hinted import HintFollower
from mattemill.pipeline.stages.matte import MatteMaker
from mattemill.pipeline.stages.refine import Refiner
from mattemill.pipeline.stages.segment import make_segmenter
from mattemill.pipeline.stages.stage import Done, StageResult
from mattemill.pipeline.stages.together import Room, run_together


class CutStage:
    """(Photo,) -> Cut, pixel for pixel what the three stages give one after the other; see `Stage`.

    (Photo, Hint) -> Cut for one photograph with a person's hint; jobs have none.

    A failure names the step in which it happened, and every step's time is among the facts.
    """

    name = "cut"

    def __init__(
        self, config: JobConfig, *, refine: Refiner | None = None, new_steps: Callable[[], Steps] = Steps
    ) -> None:
        """refine: instead of the config's own. new_steps: makes the clocks of an image. Evaluation brings both."""
        cv2.setNumThreads(1)
        place = place_of(config)
        self.device = str(place)
        localiser = load_localiser(config, place)
        network = load_segmenter(config, place, localiser)
        self._room = Room.for_networks(localiser, network)
        self._find = make_finder(config, localiser, place)
        self._segment = make_segmenter(config, network, place)
        self._make_matte = MatteMaker(config, refine, place)
        self._matte_device = self.device if config.refines_by_network and refine is None else "cpu"
        self._follow = HintFollower(localiser, network, margin=config.crop_margin)
        self._new_steps = new_steps

    def __call__(self, items: Sequence[tuple[Any, ...]]) -> list[StageResult]:
        return run_together(self.name, self.device, items, self._one, self._room, self._new_steps)

    def _one(self, steps: Steps, photo: Photo, hint: Hint | None = None) -> Asking[Done]:
        if hint is not None:
            return self._hinted(steps, photo, hint)
        with steps.step("detect", self.device):
            image = decode(photo.data, photo.header)
            found = yield from self._find.asking(image)
            facts = detection_facts(found)
        masks = []
        with steps.step("segment", self.device):
            for index in range(len(found.detection.boxes)):
                shape = image.shape[:2]
                mask, scores = yield from self._segment.asking(lambda: image, shape, found.detection, index)
                masks.append(mask)
                facts = facts.merged(Facts(scores=scores))
        with steps.step("matte", self._matte_device):
            try:
                cut, scores = self._make_matte(image, found.detection, masks)
            except RefusedError as refused:
                refused.facts = facts.merged(refused.facts)
                raise
        return Done(cut, facts.merged(Facts(scores=scores)))

    def _hinted(self, steps: Steps, photo: Photo, hint: Hint) -> Done:
        with steps.step("hint", self.device):
            image = decode(photo.data, photo.header)
            soft, box, scores = self._follow(image, hint)
        with steps.step("matte", self._matte_device):
            cut = self._make_matte.hinted(image, soft, hint)
        return Done(cut, Facts(boxes=(box,) if box is not None else (), scores={**scores, **cut.scores}))
