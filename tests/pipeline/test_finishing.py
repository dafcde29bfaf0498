"""Finishing options through the whole cut, on real photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.finishing import Finisher
from mattemill.pipeline.outcome import Facts
from mattemill.pipeline.stages.cut import CutStage
from mattemill.pipeline.stages.matte import MatteMaker
from mattemill.pipeline.stages.messages import CropMask, Detection


@pytest.fixture(scope="module")
def disc() -> tuple[np.ndarray, np.ndarray]:
    """(a red disc on white with its shadow under it, its matte)."""
    y, x = np.mgrid[0:240, 0:320].astype(np.float32)
    alpha = np.clip(60.5 - np.hypot(x - 100, y - 120), 0, 1)
    shade = 0.4 * np.exp(-(((x - 110) / 45) ** 2) - ((y - 182) / 8) ** 2)
    ground = (238 * (1 - shade))[..., None].repeat(3, axis=2)
    photo = alpha[..., None] * np.array([190, 40, 30]) + (1 - alpha[..., None]) * ground
    return photo.astype(np.uint8), alpha.astype(np.float32)


def finish(shot: tuple[np.ndarray, np.ndarray], behind: np.ndarray | None = None, **settings: object) -> np.ndarray:
    config = JobConfig(**settings)  # type: ignore[arg-type]
    if behind is None and config.output == "composite":
        behind = np.array([255, 255, 255], np.uint8)
    return Finisher(config, behind)(*shot)[0]


def test_the_canvas_has_its_size_in_every_output(disc: tuple[np.ndarray, np.ndarray]) -> None:
    for output, channels in (("matte", ()), ("cutout", (4,)), ("composite", (3,))):
        assert finish(disc, output=output, canvas="200x150").shape == (150, 200, *channels)


def test_matte_and_cutout_lie_in_the_same_place_of_the_canvas(disc: tuple[np.ndarray, np.ndarray]) -> None:
    matte = finish(disc, canvas="200x150", margin="10%").astype(int)
    cutout = finish(disc, output="cutout", canvas="200x150", margin="10%").astype(int)
    assert np.abs(matte - cutout[..., 3]).max() <= 2
    rows, columns = np.nonzero(matte > 127)
    assert (rows.min() + rows.max() + 1) / 2 == pytest.approx(75, abs=1)
    assert (columns.min() + columns.max() + 1) / 2 == pytest.approx(100, abs=1)
    assert rows.max() - rows.min() + 1 == pytest.approx(150 - 2 * 15, abs=2)


def test_a_background_picture_covers_the_canvas_and_not_the_photograph(disc: tuple[np.ndarray, np.ndarray]) -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[:, 50:] = 200
    laid = finish(disc, picture, output="composite", background="x.png", canvas="300x300")
    assert laid[5, 5].tolist() == [0, 0, 0]
    assert laid[5, 295].tolist() == [200, 200, 200]


def test_a_kept_shadow_is_black_and_half_there_and_the_ground_is_gone(disc: tuple[np.ndarray, np.ndarray]) -> None:
    rgba = finish(disc, output="cutout", shadow="keep")
    below = rgba[185, 110]
    assert below[:3].max() <= 3
    assert 60 < below[3] < 120
    assert rgba[20, 300, 3] == 0
    plain = finish(disc, output="cutout")
    assert plain[185, 110, 3] == 0


def test_a_drawn_shadow_has_the_canvas_to_fall_on(disc: tuple[np.ndarray, np.ndarray]) -> None:
    laid = finish(disc, output="composite", shadow="drop", canvas="300x300", margin="20%")
    rows = np.flatnonzero((laid != 255).any(axis=(1, 2)))
    assert laid[212, 150].max() < 200, "dark right under the subject's base at row 210"
    assert rows.max() > 215
    assert laid[299].min() > 250


def test_feathering_shows_the_subjects_colours_and_no_light_rim(disc: tuple[np.ndarray, np.ndarray]) -> None:
    rgba = finish(disc, output="cutout", feather=6.0).astype(int)
    edge = (rgba[..., 3] > 40) & (rgba[..., 3] < 200)
    assert edge.sum() > 1500
    assert np.abs(rgba[edge][:, :3] - [190, 40, 30]).mean() < 12


def test_matching_moves_the_subject_towards_the_picture(disc: tuple[np.ndarray, np.ndarray]) -> None:
    night = np.random.default_rng(0).integers(10, 70, (240, 320, 3)).astype(np.uint8)
    settings = {"output": "composite", "background": "x.png"}
    plain = finish(disc, night, **settings)[120, 100].astype(int)
    matched = finish(disc, night, **settings, match_colour=0.5)[120, 100].astype(int)
    assert matched.sum() < plain.sum() - 30


def test_what_was_done_is_among_the_figures(disc: tuple[np.ndarray, np.ndarray]) -> None:
    image, alpha = disc
    dirty = alpha.copy()
    dirty[20:24, 300:304] = 1
    dirty[110:130, 90:110] = 0
    pixels, figures = Finisher(JobConfig(despeckle=True, fill_holes=True), None)(image, dirty)
    assert figures == {"islands_removed": 1.0, "holes_filled": 1.0}
    assert pixels[22, 302] == 0
    assert pixels[120, 100] == 255


def test_without_finishing_there_are_no_figures_and_the_matte_is_the_alpha(disc: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, figures = Finisher(JobConfig(), None)(*disc)
    assert figures == {}
    assert np.array_equal(pixels, np.rint(disc[1] * 255).astype(np.uint8))


def test_the_background_is_read_once_and_a_job_without_one_needs_none(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (1, 2, 3)).save(tmp_path / "b.png")
    maker = MatteMaker(JobConfig(output="composite", background=str(tmp_path / "b.png"), canvas="40x40", refine="none"))
    (tmp_path / "b.png").unlink()
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 255
    found = Detection(((5.0, 5.0, 15.0, 15.0),), (1.0,))
    cut, _ = maker(np.full((20, 20, 3), 90, np.uint8), found, [CropMask((0, 0, 20, 20), mask)])
    assert cut.pixels[0, 0].tolist() == [1, 2, 3]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> JobConfig:
    path = tmp_path_factory.mktemp("finishing") / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3)).astype(np.uint8)).save(path)
    return JobConfig(
        output="composite",
        background=str(path),
        despeckle=True,
        fill_holes=True,
        feather=1.5,
        shadow="keep",
        match_colour=0.3,
        canvas="500x400",
        margin="8%",
        confidence_threshold=0.0,
    )


def test_split_and_fused_give_the_same_bytes_with_every_option(
    everything: JobConfig, u2netp: Path, sample_photos: Path
) -> None:
    from mattemill.pipeline.images.header import read_header
    from mattemill.pipeline.photo import ImageRef, Photo
    from mattemill.pipeline.stages.build import build_stage
    from mattemill.pipeline.stages.stage import Done, Stage

    data = (sample_photos / "catalogue" / "mug.jpg").read_bytes()
    photo = Photo(ImageRef("mug.jpg", "file:///mug.jpg"), read_header(data), np.frombuffer(data, np.uint8))
    build: Callable[[str], Stage] = lambda name: build_stage(name, everything)  # noqa: E731

    def done(stage: Stage, *item: object) -> tuple[object, Facts]:
        result = stage([item])[0]
        assert isinstance(result, Done), result
        return result.output, result.facts

    found, _ = done(build("detect"), photo)
    mask, _ = done(build("segment"), photo, found, 0)
    split, _ = done(build("matte"), photo, found, [mask])
    fused, facts = done(CutStage(everything), photo)
    assert split.pixels.shape == (400, 500, 3)  # type: ignore[attr-defined]
    assert split.pixels.tobytes() == fused.pixels.tobytes()  # type: ignore[attr-defined]
    assert {"islands_removed", "holes_filled", "shadow_peak"} <= set(facts.scores)
