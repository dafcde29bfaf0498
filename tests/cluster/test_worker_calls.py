"""What a worker makes of a call, without Ray around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated_cell import refs
from standin_stages import build_stage

from mattemill.cluster.actions import Passed, Reply
from mattemill.cluster.cell import wire
from mattemill.cluster.gate import Gate
from mattemill.cluster.images import Image, Item, OpenShard, Payload, join_facts
from mattemill.cluster.quick_pickle import pack, unpack
from mattemill.cluster.workers import StageWorker, module_folder, payload_bytes
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.outcome import Facts, Failure
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.shard import make_shard
from mattemill.pipeline.stages.messages import CropMask, Cut


def worker(stage: str, sink: str | None = None, config: JobConfig | None = None) -> StageWorker:
    made = StageWorker()
    made.start("standin_stages", None, stage, config or JobConfig(), sink, {})
    return made


def called(made: StageWorker, items: list[Any], *payloads: list[Any]) -> tuple[Reply, list[Any] | None]:
    """A call as the cell makes it: everything packed."""
    reply, outputs = made.call(pack(items), *(pack(payload) for payload in payloads))
    return unpack(reply), None if outputs is None else unpack(outputs)


def image(i: int = 0) -> Image:
    permit = Gate(10**9, largest=10**9).try_admit(1)
    assert permit is not None
    return Image(refs(i + 1)[i], OpenShard(make_shard(refs(i + 1))), permit)


def test_a_payload_is_sent_once_however_many_items_lie_in_it() -> None:
    photos, detections, masks = Payload("photos", 1), Payload("detections", 1), Payload("masks", 1)
    items = []
    for i in range(3):
        one = image(i)
        one.photo, one.detection, one.masks = (photos, i), (detections, i), [(masks, 2 * i), (masks, 2 * i + 1)]
        items.append(Item(one, 0, 0))
    wired, handles = wire("matte", items)
    assert handles == ["photos", "detections", "masks"]
    assert wired[1] == ((0, 1), (1, 1), [(2, 2), (2, 3)])
    assert wire("segment", items)[0][2] == ((0, 2), (1, 2), 0)
    assert wire("fetch", items) == ([(item.image.ref,) for item in items], [])


def test_a_call_returns_small_replies_and_large_outputs_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x" * 1000)
    ref = ImageRef("a.jpg", f"file://{path}")
    reply, photos = called(worker("fetch"), [(ref,)])
    (passed,) = reply.results
    assert isinstance(passed, Passed)
    assert (passed.facts.width, passed.held_bytes, passed.output) == (1000, 1_500_000, None)
    assert photos is not None
    assert reply.output_bytes == 1000
    reply, cuts = called(worker("cut"), [((0, 0),)], photos)
    assert cuts is not None
    assert reply.output_bytes == 5000
    reply, nothing = called(worker("store", str(tmp_path / "out")), [(ref, (0, 0))], cuts)
    (stored,) = reply.results
    assert isinstance(stored, Passed)
    assert stored.output.output_key == "a.jpg.png"
    assert nothing is None
    assert reply.output_bytes == 0


def test_a_failed_item_keeps_the_places_of_the_others(tmp_path: Path) -> None:
    items: list[Any] = []
    for name in ("a.jpg", "fail-fetch-.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
        items.append((ImageRef(name, f"file://{tmp_path / name}"),))
    reply, outputs = called(worker("fetch"), items)
    assert [isinstance(result, Failure) for result in reply.results] == [False, True, False]
    assert outputs is not None
    assert outputs[1] is None
    assert outputs[2].ref.key == "b.jpg"


@pytest.mark.parametrize("previews", [True, False])
def test_without_previews_no_pixel_of_a_failed_photograph_leaves_the_worker(previews: bool) -> None:
    nobody = ImageRef("fail-fetch-.jpg", "file:///fail-fetch-.jpg")
    reply, _ = called(worker("fetch", config=JobConfig(previews=previews)), [(nobody,)])
    [failed] = reply.results
    assert isinstance(failed, Failure)
    assert (failed.preview is not None) == previews


def test_a_stage_that_loses_an_item_is_an_error_and_not_a_shift() -> None:
    made = worker("cut")

    class Forgetful:
        name, device = "cut", "cpu"

        def __call__(self, items: Any) -> list[Any]:
            return []

    made._stage = Forgetful()
    with pytest.raises(RuntimeError, match="returned 0 results for 1 items"):
        called(made, [((0, 0),)], [None])


def test_arrays_cross_as_buffers_and_not_within_the_pickle() -> None:
    pixels = np.arange(200_000, dtype=np.uint8).reshape(400, 500)
    data, buffer = pack([Cut(pixels, {"score": 0.5}), None])
    assert len(data) < 1000
    cut, nothing = unpack([data, buffer])
    assert nothing is None
    assert np.shares_memory(cut.pixels, pixels)
    turned = unpack(pack(pixels[:, ::-1]))  # not contiguous: goes as a copy
    assert np.array_equal(turned, pixels[:, ::-1])


def test_bytes_of_a_payload_are_those_of_its_arrays() -> None:
    cut = Cut(np.zeros((10, 20), np.uint8), {"score": 0.5})
    assert payload_bytes([cut, CropMask((0, 0, 1, 1), np.zeros((3, 3), np.uint8)), None, b"ab"]) == 211


def test_the_folder_of_a_module_is_where_workers_must_look() -> None:
    assert module_folder("standin_stages") == str(Path(__file__).parent)
    assert Path(module_folder("numpy") or "") == Path(np.__file__).parents[1]
    assert build_stage("cut", JobConfig(), None).name == "cut"


def test_joined_facts_are_those_of_merging_one_after_the_other() -> None:
    parts = [
        Facts(width=1, seconds={"fetch": 1.0}, worker={"fetch": "a"}, etag="x"),
        Facts(boxes=((0.0, 0.0, 1.0, 1.0),), seconds={"fetch": 0.5, "detect": 2.0}, scores={"s": 0.1}),
        Facts(width=2, height=3, scores={"t": 0.2}),
    ]
    merged = Facts()
    for part in parts:
        merged = merged.merged(part)
    assert join_facts(parts[:2], {}, parts[2]) == merged
    assert join_facts(parts, {"fetch": 2}, Facts()).attempts == {"fetch": 2}
