"""The training loop: it learns, it resumes where it stopped, and says what is wrong with what it is given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]: torch is missing")

from mattemill.pipeline.errors import ConfigError, ModelError  # noqa: E402
from mattemill.pipeline.training.curves import draw_curves  # noqa: E402
from mattemill.pipeline.training.sample import Sample  # noqa: E402
from mattemill.pipeline.training.train import CHECKPOINT, LOG, Training, train  # noqa: E402


@dataclass(frozen=True)
class Edges:
    """Soft vertical edges between two random colours, and mask and closed-form matte that are wrong by some pixels."""

    seed: int
    size: int

    def __call__(self, index: int) -> Sample:
        rng = np.random.default_rng([self.seed, index])
        at, width = rng.uniform(0.3, 0.7) * self.size, rng.uniform(2, 10)
        columns = np.arange(self.size)
        alpha = np.clip((columns - at) / width + 0.5, 0, 1)[None].repeat(self.size, axis=0)
        wrong = np.clip((columns - at + 6) / width + 0.5, 0, 1)[None].repeat(self.size, axis=0)
        front, back = rng.integers(0, 256, (2, 3))
        photo = alpha[..., None] * front + (1 - alpha[..., None]) * back
        trimap = np.where(np.abs(columns - at) < 14, 128, np.where(columns > at, 255, 0)).astype(np.uint8)
        plane = np.ones((self.size, self.size, 1))
        return Sample(
            photo=photo.astype(np.uint8),
            alpha=(alpha * 255).astype(np.uint8),
            front=(plane * front).astype(np.uint8),
            back=(plane * back).astype(np.uint8),
            trimap=trimap[None].repeat(self.size, axis=0),
            prior=(wrong * 255).astype(np.uint8),
            closed=(wrong * 255).astype(np.uint8),
        )


SMALL = {"seed": 3, "batch": 2, "size": 64, "validation": 4, "threads": 1, "workers": 0}


def test_training_makes_the_network_better_than_what_it_starts_from(tmp_path: Path) -> None:
    last = train(Training(steps=60, check_every=30, warmup=5, **SMALL), tmp_path, Edges)
    assert last["step"] == 60
    assert last["validation_mae"] < 0.5 * last["validation_closed_mae"]
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [30, 60]
    draw_curves(tmp_path / LOG, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_a_run_in_two_parts_ends_where_one_in_a_piece_does(tmp_path: Path) -> None:
    options = Training(steps=8, check_every=4, warmup=2, **SMALL)
    whole = train(options, tmp_path / "whole", Edges)
    stopped = tmp_path / "stopped"
    seen: list[int] = []

    class StoppedError(Exception):
        pass

    def stop(entry: dict[str, float]) -> None:
        seen.append(int(entry["step"]))
        raise StoppedError

    with pytest.raises(StoppedError):
        train(options, stopped, Edges, stop)
    assert seen == [4]
    again = train(options, stopped, Edges)
    assert again["step"] == 8
    assert again["validation_mae"] == pytest.approx(whole["validation_mae"], abs=1e-5)


def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match=r"checkpoint\.pt.*remove it"):
        train(Training(steps=1, **SMALL), tmp_path, Edges)


def test_sizes_that_the_network_cannot_take_are_refused() -> None:
    with pytest.raises(ConfigError, match="size = 100"):
        Training(size=100)


def test_exporting_without_a_checkpoint_says_how_to_train(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="training needs the extra [train]: onnx is missing")
    from mattemill.pipeline.training.export import export_network

    with pytest.raises(ModelError, match="mattemill train matting"):
        export_network(tmp_path, tmp_path / "matting.onnx")


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    options = Training(steps=1000, warmup=100, decay=0.3, rate=1.0)
    assert options.rate_at(0) == pytest.approx(0.01)
    assert options.rate_at(500) == 1.0
    assert options.rate_at(999) < 0.01
