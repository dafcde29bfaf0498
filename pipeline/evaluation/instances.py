"""Boxes and masks of single things against COCO annotations: average precision with pycocotools.

pycocotools and not faster-coco-eval: it is the definition that others are checked against, needs numpy alone, has
wheels for all our Pythons and no moving parts (BSD licence, 0.5 MB); the faster one saves seconds on data sets of
thousands of photographs, and here the networks take a thousand times as long. Things are matched without regard to
their class: the pipeline names none.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mattemill.pipeline.errors import ImageError, UsageError
from mattemill.pipeline.evaluation.contest import Contestant
from mattemill.pipeline.evaluation.datasets import Example, TruthSet
from mattemill.pipeline.evaluation.needs import needed
from mattemill.pipeline.images.header import check_limits, read_header
from mattemill.pipeline.photo import ImageRef, Photo
from mattemill.pipeline.stages.detect import DetectStage
from mattemill.pipeline.stages.matte import MatteStage
from mattemill.pipeline.stages.messages import Box, Detection
from mattemill.pipeline.stages.segment import SegmentStage
from mattemill.pipeline.stages.stage import Done, Stage

_INSIDE = 128  # of 255: from here on a pixel belongs to the thing


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing that was found.

    box: (x0, y0, x1, y1) in pixels. score: 0..1. mask: run lengths as pycocotools packs them: {'size', 'counts'}.
    """

    box: Box
    score: float
    mask: dict[str, Any]


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """All things that one recipe found in one photograph."""

    recipe: str
    set: str
    name: str
    things: tuple[Thing, ...]


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """Average precision over IoU .5 to .95 and at .5, average recall with 100 things a photograph; all 0..1.

    photographs, things, found: how many there are, of annotations without crowds and of results.
    """

    photographs: int
    things: int
    found: int
    box_ap: float
    box_ap50: float
    box_ar: float
    mask_ap: float
    mask_ap50: float
    mask_ar: float


def check_instances(sets: Sequence[TruthSet]) -> None:
    """Raise UsageError when a set has instances and pycocotools is not there to score them."""
    first = next((each for each in sets if each.instances is not None), None)
    if first is not None:
        needed("pycocotools", f"box AP and mask AP of {first.name}/instances.json (or leave it out with --sets)")


class InstanceRunner:
    """One recipe with `subjects = "all"`, its networks loaded; every thing gets a matte of its own.

    The three stages one after the other, as their contract has it: only so is the mask of one box to be had.
    """

    def __init__(self, contestant: Contestant) -> None:
        config = replace(contestant.config, subjects="all")
        self._contestant = contestant
        self._config = config
        self._detect: Stage = DetectStage(config)
        self._segment: Stage = SegmentStage(config)
        self._matte: Stage = MatteStage(config)
        self._pack: Any = importlib.import_module("pycocotools.mask").encode

    def __call__(self, example: Example) -> InstanceRow:
        """Everything that is found; nothing where the pipeline fails. Raises UsageError for an unreadable file."""
        try:
            data = example.image.read_bytes()
            header = read_header(data)
            check_limits(header, len(data), self._config.max_pixels, self._config.max_file_bytes)
        except (OSError, ImageError) as error:
            raise UsageError(f"{example.image}: cannot be used ({error})") from error
        photo = Photo(ImageRef(example.key, ""), header, np.frombuffer(data, np.uint8))
        found = self._detect([(photo,)])[0]
        things = []
        if isinstance(found, Done):
            detection: Detection = found.output
            for index, (box, score) in enumerate(zip(detection.boxes, detection.scores, strict=True)):
                mask = self._segment([(photo, detection, index)])[0]
                if not isinstance(mask, Done):
                    continue
                alone = Detection((box,), (score,), detection.saliency)
                cut = self._matte([(photo, alone, [mask.output])])[0]
                if isinstance(cut, Done):
                    inside = np.asfortranarray(cut.output.pixels >= _INSIDE, np.uint8)
                    things.append(Thing(box, float(score), self._pack(inside)))
        return InstanceRow(self._contestant.name, example.set, example.name, tuple(things))


def instance_scores(annotations: Path, rows: Sequence[InstanceRow]) -> InstanceScores:
    """Average precision over the photographs of the rows, class-agnostic.

    annotations: COCO's JSON; a photograph is found by its file's name without suffix. Raises UsageError when the file
    is no such thing, or does not know a photograph.
    """
    truth = _read(annotations)
    ids = {Path(image["file_name"]).stem: image["id"] for image in truth["images"]}
    for row in rows:
        if row.name not in ids:
            raise UsageError(f"{annotations}: has no image with the file name {row.name}.*")
    wanted = {ids[row.name] for row in rows}
    truth["images"] = [image for image in truth["images"] if image["id"] in wanted]
    # One class for all: with useCats = 0 alone pycocotools still drops what is of a class that the file does not list.
    truth["annotations"] = [{**each, "category_id": 1} for each in truth["annotations"] if each["image_id"] in wanted]
    truth["categories"] = [{"id": 1, "name": "thing"}]
    boxes, masks = [], []
    for row in rows:
        for thing in row.things:
            x0, y0, x1, y1 = (float(value) for value in thing.box)
            common = {"image_id": ids[row.name], "category_id": 1, "score": thing.score}
            boxes.append({**common, "bbox": [x0, y0, x1 - x0, y1 - y0]})
            masks.append({**common, "segmentation": dict(thing.mask)})
    things = sum(not each.get("iscrowd", 0) for each in truth["annotations"])
    box, mask = _average_precision(truth, boxes, "bbox"), _average_precision(truth, masks, "segm")
    return InstanceScores(len(rows), things, len(boxes), *box, *mask)


def _average_precision(truth: dict[str, Any], found: list[dict[str, Any]], kind: str) -> tuple[float, float, float]:
    """(AP over .5:.95, AP at .5, AR with 100 a photograph)."""
    if not found or not truth["annotations"]:
        return 0.0, 0.0, 0.0
    api: Any = importlib.import_module("pycocotools.coco")
    evaluation: Any = importlib.import_module("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):  # it reports on stdout at every step
        right = api.COCO()
        right.dataset = json.loads(json.dumps(truth))  # it writes into what it is given
        right.createIndex()
        judge = evaluation.COCOeval(right, right.loadRes(found), kind)
        judge.params.useCats = 0
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    # -1 where nothing could be measured
    return tuple(max(0.0, float(judge.stats[at])) for at in (0, 1, 8))  # type: ignore[return-value]


def _read(annotations: Path) -> dict[str, Any]:
    try:
        truth = json.loads(annotations.read_text(encoding="utf-8"))
        complete = all(isinstance(truth[name], list) for name in ("images", "annotations", "categories"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{annotations}: is not COCO's JSON ({error!r})") from error
    if not complete:
        raise UsageError(f"{annotations}: is not COCO's JSON (images, annotations and categories are lists)")
    return {**truth}
