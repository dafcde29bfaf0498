"""Every network that a setting names takes part in a photograph's cut: small files of their contracts stand in."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from small_networks import write_birefnet, write_rtdetr, write_vitmatte

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.cutter import Cutter
from mattemill.pipeline.engines.place import Place
from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.models import cards
from mattemill.pipeline.models.cache import file_sha256
from mattemill.pipeline.models.load import ensure_engines, model_hashes
from mattemill.pipeline.stages.refine import make_refiner

PutModel = Callable[[str, Path], None]


@pytest.fixture
def put_model(u2netp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PutModel:
    """Puts a file into a model cache of the test's own, as the one that a card describes."""
    cache = tmp_path / "models"
    cache.mkdir()
    shutil.copy(u2netp, cache)
    monkeypatch.setenv("MATTEMILL_MODELS", str(cache))

    def put(name: str, file: Path) -> None:
        card = dataclasses.replace(cards.card_of(name), sha256=file_sha256(file), size_bytes=file.stat().st_size)
        monkeypatch.setitem(cards.CARDS, name, card)
        shutil.copy(file, cache / card.file_name)

    return put


def _red_disc(soft: int = 1) -> tuple[bytes, npt.NDArray[np.uint8]]:
    """A photograph of a red disc on dark ground, encoded and as it is; soft: px of its edge."""
    rows, columns = np.mgrid[:400, :600]
    inside = np.clip((130 - np.hypot(rows - 200, columns - 300)) / soft + 0.5, 0, 1)
    image = np.round(inside[..., None] * [250, 30, 20] + (1 - inside[..., None]) * [10, 30, 40]).astype(np.uint8)
    return bytes(cv2.imencode(".png", image[..., ::-1])[1]), image


def test_birefnet_cuts_a_photograph_when_it_is_the_model(put_model: PutModel, tmp_path: Path) -> None:
    put_model("birefnet_lite", write_birefnet(tmp_path / "small.onnx"))
    data, image = _red_disc()
    cutting = Cutter(JobConfig(model="birefnet_lite")).cut(data)
    inside = image[..., 0] > 128
    assert (cutting.pixels[cv2.erode(inside.view(np.uint8), np.ones((5, 5))) > 0] == 255).mean() > 0.99
    assert (cutting.pixels[~inside] < 128).mean() > 0.99


def test_vitmatte_refines_the_band_when_it_is_asked_to(put_model: PutModel, tmp_path: Path) -> None:
    put_model("vitmatte_small", write_vitmatte(tmp_path / "small.onnx"))
    config = JobConfig(refine="vitmatte")
    assert model_hashes(config)["matte"] == cards.card_of("vitmatte_small").sha256
    data, image = _red_disc(soft=60)
    rows, columns = np.mgrid[:400, :600]
    soft = np.clip((130 - np.hypot(rows - 200, columns - 300)) / 90 + 0.5, 0, 1).astype(np.float32)
    found = make_refiner(config)(image, soft)
    band = (soft > 0.2) & (soft < 0.8)
    assert np.abs(soft - image[..., 0] / 255)[band].mean() > 0.02
    assert np.abs(found - image[..., 0] / 255)[band].max() < 0.01
    assert Cutter(config).cut(data).pixels[200, 300] == 255


def test_a_matting_network_that_is_not_fetched_is_named(put_model: PutModel) -> None:
    with pytest.raises(ModelError, match=r"vitmatte_small is not in the cache .*mattemill models fetch vitmatte_small"):
        Cutter(JobConfig(refine="vitmatte"))


def test_rtdetr_finds_the_boxes_when_it_is_the_detector(
    put_model: PutModel, tmp_path: Path, sample_photos: Path
) -> None:
    path = write_rtdetr(tmp_path / "small.onnx")
    config = JobConfig(detector="rtdetr", detector_model=str(path))
    assert model_hashes(config)["detect_coco"] == file_sha256(path)
    data, image = _red_disc()
    assert image[..., 0].mean() < 127
    photo = np.where(image[..., :1] > 128, image, image + np.uint8([180, 0, 0]))  # red enough for a box around it all
    reddish = bytes(cv2.imencode(".png", photo[..., ::-1])[1])
    cutter = Cutter(config)
    used = [cutter.cut(one).facts.scores["coco_boxes_used"] for one in (data, reddish)]
    assert used == [0, 1]


def test_a_file_of_ones_own_stands_in_for_the_models(
    put_model: PutModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_birefnet(tmp_path / "mine.onnx")
    config = JobConfig(model="birefnet_lite", model_file=str(path))
    hashes = model_hashes(config)
    assert hashes["segment"] == file_sha256(path)
    assert hashes["detect"] == cards.card_of("u2netp").sha256
    data, image = _red_disc()
    assert (Cutter(config).cut(data).pixels[image[..., 0] < 128] < 128).mean() > 0.99


def test_a_file_of_ones_own_finds_as_well_as_cuts_where_the_model_does_both(
    u2netp: Path, tmp_path: Path, sample_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Path(shutil.copy(u2netp, tmp_path / "mine.onnx"))
    photo = (sample_photos / "cat.png").read_bytes()
    expected = Cutter().cut(photo).pixels
    monkeypatch.setenv("MATTEMILL_MODELS", str(tmp_path / "empty"))
    config = JobConfig(model_file=str(mine))
    assert np.array_equal(Cutter(config).cut(photo).pixels, expected)
    assert model_hashes(config)["detect"] == model_hashes(config)["segment"] == file_sha256(mine)
    with pytest.raises(ModelError, match=r"model_file /nowhere/x\.onnx: no such file"):
        Cutter(JobConfig(model_file="/nowhere/x.onnx"))


def test_the_engines_of_a_job_are_those_of_the_networks_that_it_names(
    put_model: PutModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model("vitmatte_small", write_vitmatte(tmp_path / "small.onnx"))
    opened: list[str] = []
    monkeypatch.setattr(
        "mattemill.pipeline.models.load.ensure_at", lambda card, path, place, **_: opened.append(card.name)
    )
    config = JobConfig(refine="vitmatte", detector="rtdetr", detector_model=str(write_rtdetr(tmp_path / "d.onnx")))
    ensure_engines(config, Place("cuda:0", "tensorrt", "fp16"), lambda _: None)
    assert opened == ["u2netp", "vitmatte_small", "rtdetr_v2_r18"]
