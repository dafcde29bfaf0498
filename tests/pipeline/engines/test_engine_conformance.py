"""One contract for every engine backend: ONNX Runtime on CPU and on CUDA, TensorRT, TensorRT-RTX.

Where a backend's hardware or library is missing its tests skip, and say what was missing; nothing is skipped silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mattemill.pipeline.engines.builder import ensure_engine, plan_of
from mattemill.pipeline.engines.catalogue import BUCKETS
from mattemill.pipeline.engines.devices import find_cuda
from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.engines.engine_cache import EngineCache
from mattemill.pipeline.engines.gpus import find_gpus
from mattemill.pipeline.engines.lane import Lane
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.engines.open_gpu import open_lane
from mattemill.pipeline.engines.parity import TOLERANCE, Case, cases_of, check_parity, read_photographs
from mattemill.pipeline.engines.recipe import Backend, Precision
from mattemill.pipeline.engines.tensorrt_api import import_tensorrt
from mattemill.pipeline.engines.tensorrt_engine import TensorRtEngine
from mattemill.pipeline.errors import EngineError
from mattemill.pipeline.models.cards import card_of

Open = Callable[[Path, Path, Path], Engine]

_CARD = card_of("u2netp")
_SHAPE = (1, 3, 320, 320)
to_close: list[Lane] = []


def _on_cpu(network: Path, cache: Path, photos: Path) -> Engine:
    return OnnxRuntimeEngine(network, "cpu", outputs=_CARD.output.names, name="u2netp")


def _on_cuda(network: Path, cache: Path, photos: Path) -> Engine:
    cuda = find_cuda()
    if cuda.missing:
        pytest.skip(f"onnxruntime on CUDA: {'; '.join(cuda.missing)}")
    return OnnxRuntimeEngine(network, "cuda:0", outputs=_CARD.output.names, name="u2netp")


def _compiled(backend: Backend, precision: Precision) -> Open:
    def opened(network: Path, cache: Path, photos: Path) -> Engine:
        gpus = find_gpus()
        if not gpus.gpus:
            pytest.skip(f"{backend}: {gpus.problem}")
        for module in (backend, "onnx", "pycuda.driver"):
            pytest.importorskip(module, reason=f"{backend}: {module} is not installed", exc_type=ImportError)
        engines = EngineCache(cache)
        entry = ensure_engine(_CARD, network, backend, precision, photos=photos, cache=engines)
        plan = plan_of(engines, entry, gpus.gpus[0].name)
        lane = open_lane(0)
        to_close.append(lane)
        return TensorRtEngine(import_tensorrt(backend), plan, lane, name="u2netp", buckets=BUCKETS)

    return opened


_BACKENDS = [
    pytest.param(_on_cpu, id="onnxruntime-cpu"),
    pytest.param(_on_cuda, id="onnxruntime-cuda", marks=pytest.mark.gpu),
    pytest.param(_compiled("tensorrt", "fp32"), id="tensorrt-fp32", marks=pytest.mark.gpu),
    pytest.param(_compiled("tensorrt", "fp16"), id="tensorrt-fp16", marks=pytest.mark.gpu),
    pytest.param(_compiled("tensorrt_rtx", "fp32"), id="tensorrt_rtx-fp32", marks=pytest.mark.gpu),
    pytest.param(_compiled("tensorrt_rtx", "fp16"), id="tensorrt_rtx-fp16", marks=pytest.mark.gpu),
]


@pytest.fixture(scope="module")
def cases(u2netp: Path, sample_photos: Path) -> list[Case]:
    return cases_of(_CARD, u2netp, read_photographs(sample_photos, 2))


@pytest.fixture(scope="module", params=_BACKENDS)
def engine(
    request: pytest.FixtureRequest, u2netp: Path, sample_photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    yield request.param(u2netp, tmp_path_factory.mktemp("engines"), sample_photos)
    while to_close:
        to_close.pop().close()


def test_it_says_where_it_runs_and_how_many_images_it_takes(engine: Engine) -> None:
    assert engine.device == "cpu" or engine.device.startswith("cuda:")
    assert engine.batch_limit >= 1


def test_it_gives_what_onnx_runtime_gives_for_photographs_alone_and_in_a_batch(
    engine: Engine, cases: list[Case]
) -> None:
    parity = check_parity(engine, cases, gpu=engine.device, name="u2netp")
    assert parity.mean_error < TOLERANCE
    assert parity.inputs == len(cases)


def test_it_gives_the_outputs_of_the_card_in_float32(engine: Engine, cases: list[Case]) -> None:
    outputs = engine.run(cases[0].inputs)
    assert list(outputs) == ["1959"]
    assert outputs["1959"].dtype == np.float32
    assert outputs["1959"].shape == (1, 1, 320, 320)


def test_the_same_input_gives_the_same_output(engine: Engine, cases: list[Case]) -> None:
    first, second = engine.run(cases[0].inputs), engine.run(cases[0].inputs)
    assert first["1959"].tobytes() == second["1959"].tobytes()


def test_an_earlier_result_is_not_changed_by_a_later_run(engine: Engine, cases: list[Case]) -> None:
    first = engine.run(cases[0].inputs)["1959"]
    kept = first.copy()
    engine.run(cases[1].inputs)
    np.testing.assert_array_equal(first, kept)


def test_an_input_that_is_not_contiguous_is_taken_as_what_it_shows(engine: Engine, cases: list[Case]) -> None:
    turned = cases[0].inputs["input.1"][:, :, ::-1]
    expected = engine.run({"input.1": np.ascontiguousarray(turned)})["1959"]
    np.testing.assert_array_equal(engine.run({"input.1": turned})["1959"], expected)


def test_an_input_of_another_name_or_shape_is_an_error_with_the_models_name(engine: Engine) -> None:
    with pytest.raises(EngineError, match="model u2netp"):
        engine.run({"image": np.zeros(_SHAPE, np.float32)})
    with pytest.raises(EngineError, match="model u2netp"):
        engine.run({"input.1": np.zeros((1, 3, 8, 8), np.float32)})


def test_an_input_that_is_not_a_number_is_an_error_with_the_models_name_and_the_next_is_not(
    engine: Engine, cases: list[Case]
) -> None:
    with pytest.raises(EngineError, match="model u2netp"):
        engine.run({"input.1": np.full(_SHAPE, np.nan, np.float32)})
    assert np.isfinite(engine.run(cases[0].inputs)["1959"]).all()
