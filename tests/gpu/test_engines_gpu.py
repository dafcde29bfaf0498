"""Engines on a real GPU: built, compared, run in batches, beside each other, out of memory. Not yet run on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mattemill.pipeline.engines.builder import ensure_engine, plan_of
from mattemill.pipeline.engines.catalogue import BUCKETS
from mattemill.pipeline.engines.engine_cache import EngineCache
from mattemill.pipeline.engines.gpus import find_gpus
from mattemill.pipeline.engines.lane import Lane
from mattemill.pipeline.engines.open_gpu import open_lane
from mattemill.pipeline.engines.parity import cases_of, check_parity, read_photographs
from mattemill.pipeline.engines.place import GraphUse
from mattemill.pipeline.engines.recipe import PRECISIONS, Backend, Precision
from mattemill.pipeline.engines.tensorrt_api import import_tensorrt
from mattemill.pipeline.engines.tensorrt_engine import TensorRtEngine
from mattemill.pipeline.models.cache import cached_file
from mattemill.pipeline.models.cards import card_of

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt_rtx"])
def backend(request: pytest.FixtureRequest) -> Backend:
    gpus = find_gpus()
    if not gpus.gpus:
        pytest.skip(f"needs a GPU: {gpus.problem}")
    for module in (request.param, "onnx", "pycuda.driver"):
        pytest.importorskip(module, reason=f"needs {module}, which is not installed", exc_type=ImportError)
    chosen: Backend = request.param
    return chosen


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> EngineCache:
    return EngineCache(tmp_path_factory.mktemp("engines"))


@pytest.fixture(scope="module")
def lane(backend: Backend) -> Iterator[Lane]:
    opened = open_lane(0)
    yield opened
    opened.close()


def _open(
    name: str,
    precision: Precision,
    backend: Backend,
    cache: EngineCache,
    lane: Lane,
    photos: Path,
    graphs: GraphUse = "off",
) -> TensorRtEngine:
    card = card_of(name)
    entry = ensure_engine(card, cached_file(card), backend, precision, photos=photos, cache=cache)
    plan = plan_of(cache, entry, find_gpus().gpus[0].name)
    return TensorRtEngine(import_tensorrt(backend), plan, lane, name=name, buckets=BUCKETS, graphs=graphs)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["u2netp", "mattenet"])
def test_a_network_is_built_compared_and_agrees_in_every_precision(
    name: str,
    precision: Precision,
    backend: Backend,
    cache: EngineCache,
    lane: Lane,
    u2netp: Path,
    sample_photos: Path,
) -> None:
    engine = _open(name, precision, backend, cache, lane, sample_photos)
    cases = cases_of(card_of(name), cached_file(card_of(name)), read_photographs(sample_photos, 3))
    assert check_parity(engine, cases, gpu=engine.device, name=name).mean_error < 0.01


def test_batches_of_every_size_give_what_single_images_give(
    backend: Backend, cache: EngineCache, lane: Lane, u2netp: Path, sample_photos: Path
) -> None:
    engine = _open("u2netp", "fp16", backend, cache, lane, sample_photos)
    cases = cases_of(card_of("u2netp"), u2netp, read_photographs(sample_photos, 3))
    images = np.concatenate([case.inputs["input.1"] for case in cases])
    single = np.concatenate([engine.run({"input.1": image[None]})["1959"] for image in images])
    for count in (2, 3, 7, 16, 37):
        pick = np.arange(count) % len(images)
        got = engine.run({"input.1": images[pick]})["1959"]
        assert float(np.abs(got - single[pick]).mean()) < 2e-3, count


def test_two_networks_share_one_arena_and_do_not_disturb_each_other(
    backend: Backend, cache: EngineCache, lane: Lane, u2netp: Path, sample_photos: Path
) -> None:
    engines = {name: _open(name, "fp16", backend, cache, lane, sample_photos) for name in ("u2netp", "mattenet")}
    photographs = read_photographs(sample_photos, 2)
    asked = {name: cases_of(card_of(name), cached_file(card_of(name)), photographs) for name in engines}
    first = {name: [engines[name].run(case.inputs) for case in asked[name]] for name in engines}
    for index in range(2):  # now in turns
        for name, engine in engines.items():
            again = engine.run(asked[name][index].inputs)
            for output, value in again.items():
                np.testing.assert_array_equal(value, first[name][index][output])


@pytest.mark.parametrize("use", ["on", "auto"])
def test_a_network_gives_the_same_with_graphs_and_without_over_batches_and_beside_another(
    use: GraphUse,
    backend: Backend,
    cache: EngineCache,
    lane: Lane,
    u2netp: Path,
    sample_photos: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if backend != "tensorrt":
        pytest.skip("graphs are for TensorRT: TensorRT-RTX exchanges kernels while it runs")
    if lane.graphs is None:
        pytest.skip(f"needs CUDA graphs: {lane.no_graphs}")
    without = _open("u2netp", "fp16", backend, cache, lane, sample_photos)
    graphs = _open("u2netp", "fp16", backend, cache, lane, sample_photos, use)
    cases = cases_of(card_of("u2netp"), u2netp, read_photographs(sample_photos, 3))
    images = np.concatenate([case.inputs["input.1"] for case in cases])
    for turn in range(16):  # 2 to make a graph, 12 on trial, 2 after it
        for count in (37, 16, 3, 1):
            pick = (turn + np.arange(count)) % len(images)
            wanted = without.run({"input.1": images[pick]})["1959"]
            got = graphs.run({"input.1": images[pick]})["1959"]
            assert float(np.abs(got - wanted).max()) < 2e-3, (turn, count)
    assert "graphs model=u2netp off" not in caplog.text
    if use == "on":
        assert graphs.graphs_held > 2
