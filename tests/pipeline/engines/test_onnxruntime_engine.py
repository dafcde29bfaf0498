"""The engine around ONNX Runtime, with the real default network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.errors import DeviceLostError, EngineError
from mattemill.pipeline.models.cache import model_path

_SHAPE = (1, 3, 320, 320)


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_a_forward_pass_gives_the_outputs_asked_for_and_the_same_each_time(u2netp: Path) -> None:
    engine: Engine = OnnxRuntimeEngine(u2netp, outputs=["1959"])
    image = np.random.default_rng(0).standard_normal(_SHAPE).astype(np.float32)
    first, second = engine.run({"input.1": image}), engine.run({"input.1": image})
    assert list(first) == ["1959"]
    assert first["1959"].shape == (1, 1, 320, 320)
    assert first["1959"].dtype == np.float32
    assert first["1959"].tobytes() == second["1959"].tobytes()


def test_one_thread_means_no_pool_of_threads(u2netp: Path) -> None:
    before = _threads()
    engine = OnnxRuntimeEngine(u2netp)
    engine.run({"input.1": np.zeros(_SHAPE, np.float32)})
    assert _threads() == before


def test_an_output_that_is_not_finite_is_an_error_with_the_models_name(u2netp: Path) -> None:
    engine = OnnxRuntimeEngine(u2netp, name="u2netp")
    with pytest.raises(EngineError, match=r"model u2netp: output \d+ is not finite on cpu"):
        engine.run({"input.1": np.full(_SHAPE, np.nan, np.float32)})


def test_an_input_of_the_wrong_shape_is_an_error_with_the_models_name(u2netp: Path) -> None:
    engine = OnnxRuntimeEngine(u2netp, name="u2netp")
    with pytest.raises(EngineError, match="model u2netp: forward pass failed on cpu"):
        engine.run({"input.1": np.zeros((1, 3, 8, 8), np.float32)})
    with pytest.raises(EngineError, match=r"no float input 'image'; it has input\.1"):
        engine.run({"image": np.zeros(_SHAPE, np.float32)})


def test_an_output_that_the_file_lacks_is_an_error_when_it_is_loaded(u2netp: Path) -> None:
    with pytest.raises(EngineError, match=r"has no output alpha; it has 1959"):
        OnnxRuntimeEngine(u2netp, outputs=["alpha"])


def test_a_file_that_is_no_network_is_an_error_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "text.onnx"
    file.write_text("not a network")
    with pytest.raises(EngineError, match=r"text\.onnx cannot be loaded on cpu"):
        OnnxRuntimeEngine(file)


class _Session:
    """A session around another: notes how many images each run has, and has memory for so many."""

    def __init__(self, inner: Any, most: int, error: str) -> None:
        self._inner, self._most, self._error = inner, most, error
        self.counts: list[int] = []

    def run(self, outputs: Sequence[str], feed: dict[str, Any]) -> Any:
        self.counts.append(len(feed["given"]))
        if self.counts[-1] > self._most:
            raise RuntimeError(self._error)
        return self._inner.run(outputs, feed)


def _in_buckets(most: int = 100, error: str = "Failed to allocate memory for requested buffer of size 9") -> Any:
    engine = OnnxRuntimeEngine(model_path("mattenet"), buckets=(1, 2, 4))
    engine._session = _Session(engine._session, most, error)  # type: ignore[assignment]
    return engine


_TILES = np.random.default_rng(3).random((7, 7, 32, 32), np.float32)


def test_a_batch_is_run_in_the_sizes_that_there_are_and_each_image_gets_what_it_gets_alone() -> None:
    engine = _in_buckets()
    together = engine.run({"given": _TILES})
    assert engine._session.counts == [4, 4], "seven: the last one is filled up"
    for index in range(len(_TILES)):
        alone = engine.run({"given": _TILES[index : index + 1]})
        for name, value in alone.items():
            assert value[0].tobytes() == together[name][index].tobytes()


def test_memory_that_does_not_do_halves_the_batches_of_that_shape_for_good() -> None:
    engine = _in_buckets(most=2)
    expected = _in_buckets().run({"given": _TILES[:4]})
    for name, value in engine.run({"given": _TILES[:4]}).items():
        np.testing.assert_array_equal(value, expected[name])
    engine.run({"given": _TILES[:4]})
    assert engine._session.counts == [4, 2, 2, 2, 2]
    engine.run({"given": np.zeros((2, 7, 64, 32), np.float32)})
    assert engine._session.counts[5:] == [2]


def test_memory_that_does_not_do_for_one_image_is_an_error() -> None:
    engine = _in_buckets(most=0)
    with pytest.raises(EngineError, match="Failed to allocate"):
        engine.run({"given": _TILES[:4]})
    assert engine._session.counts == [4, 2, 1]


def test_an_error_that_no_smaller_batch_mends_is_not_tried_in_one() -> None:
    engine = _in_buckets(most=0, error="CUDA failure 700: an illegal memory access was encountered")
    with pytest.raises(EngineError, match="illegal memory"):
        engine.run({"given": _TILES[:4]})
    assert engine._session.counts == [4]
    engine.device = "cuda:0"
    with pytest.raises(DeviceLostError, match="process must be replaced"):
        engine.run({"given": _TILES[:4]})


def test_inputs_that_are_no_batch_are_an_error() -> None:
    with pytest.raises(EngineError, match="are no batch"):
        _in_buckets().run({"given": _TILES[:0]})
