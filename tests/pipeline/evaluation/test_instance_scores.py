"""Average precision against COCO annotations, on cases worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.evaluation.instances import InstanceRow, Thing, instance_scores

mask_tools: Any = pytest.importorskip("pycocotools.mask")


def thing(box: tuple[int, int, int, int], score: float) -> Thing:
    mask = np.zeros((40, 60), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return Thing(tuple(map(float, box)), score, mask_tools.encode(np.asfortranarray(mask)))  # type: ignore[arg-type]


def annotation(number: int, image: int, box: tuple[int, int, int, int], category: int = 4) -> dict[str, Any]:
    x0, y0, x1, y1 = box
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "iscrowd": 0,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
    }


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Photograph a with two things of different classes, b with one, c that is not evaluated."""
    content = {
        "images": [{"id": i, "file_name": f"{name}.jpg", "height": 40, "width": 60} for i, name in enumerate("abc", 1)],
        "categories": [{"id": 4, "name": "cup"}, {"id": 7, "name": "shoe"}],
        "annotations": [
            annotation(1, 1, (0, 0, 20, 20)),
            annotation(2, 1, (30, 10, 50, 30), 7),
            annotation(3, 2, (5, 5, 25, 35), 7),
            annotation(4, 3, (5, 5, 25, 35)),
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return path


def test_everything_found_is_an_average_precision_of_one_whatever_the_class(annotations: Path) -> None:
    rows = [
        InstanceRow("r", "s", "a", (thing((0, 0, 20, 20), 0.9), thing((30, 10, 50, 30), 0.8))),
        InstanceRow("r", "s", "b", (thing((5, 5, 25, 35), 0.7),)),
    ]
    found = instance_scores(annotations, rows)
    assert (found.photographs, found.things, found.found) == (2, 3, 3)
    assert [found.box_ap, found.box_ap50, found.mask_ap, found.mask_ap50] == pytest.approx([1.0] * 4)


def test_half_a_box_counts_at_the_thresholds_that_it_reaches(annotations: Path) -> None:
    # IoU 22/30 = .73: a hit at .50 .. .70, five of ten thresholds; the only thing of photograph b.
    rows = [InstanceRow("r", "s", "b", (thing((5, 5, 25, 27), 0.9),))]
    found = instance_scores(annotations, rows)
    assert found.box_ap50 == pytest.approx(1.0)
    assert found.box_ap == pytest.approx(0.5)
    assert found.mask_ap == pytest.approx(0.5)


def test_a_wrong_one_that_is_surer_costs_precision(annotations: Path) -> None:
    rows = [InstanceRow("r", "s", "b", (thing((40, 0, 60, 10), 0.9), thing((5, 5, 25, 35), 0.5)))]
    assert instance_scores(annotations, rows).box_ap == pytest.approx(0.5)


def test_nothing_found_is_zero(annotations: Path) -> None:
    found = instance_scores(annotations, [InstanceRow("r", "s", "a", ())])
    assert (found.things, found.found, found.box_ap, found.mask_ap) == (2, 0, 0.0, 0.0)


def test_a_photograph_that_the_file_does_not_know_is_named(annotations: Path) -> None:
    with pytest.raises(UsageError, match=r"has no image with the file name z\.\*"):
        instance_scores(annotations, [InstanceRow("r", "s", "z", ())])


def test_a_file_that_is_no_coco_is_named(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    for content in ("{", '{"images": []}', '{"images": 1, "annotations": [], "categories": []}'):
        path.write_text(content)
        with pytest.raises(UsageError, match=r"instances\.json: is not COCO's JSON"):
            instance_scores(path, [])
