"""The engine around ONNX Runtime, with the real default network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.errors import EngineError

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
