"""The device chain on a real GPU gives what the host's way gives there. Not yet run on a GPU."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mattemill.kernels.cuda.counted_driver import CountedDriver
from mattemill.kernels.cuda.driver import Driver
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.device_chain.open_chain import open_chain
from mattemill.pipeline.engines.gpus import find_gpus
from mattemill.pipeline.engines.place import Place
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.photo import ImageRef, Photo
from mattemill.pipeline.stages.cut import CutStage
from mattemill.pipeline.stages.stage import Done

pytestmark = pytest.mark.gpu

_MAP = 4 * 320 * 320
"""Bytes of what a network says of one image that it finds or segments."""


@pytest.mark.parametrize(
    ("name", "output", "refine"),
    [
        ("raccoon.jpg", "matte", "guided"),
        ("raccoon.jpg", "cutout", "guided"),
        ("raccoon.jpg", "composite", "guided"),
        # In the raccoon's fur the network turns what differs by a grey level in the mask into 2 pixels of 100 over 8.
        ("cat.png", "matte", "network"),
        ("coffee.webp", "cutout", "network"),
    ],
)
def test_the_chain_gives_what_the_stages_give_and_only_small_things_come_back(
    name: str, output: str, refine: str, u2netp: Path, sample_photos: Path
) -> None:
    gpus = find_gpus()
    if not gpus.gpus:
        pytest.skip(f"needs a GPU: {gpus.problem}")
    for module in ("tensorrt", "onnx", "pycuda.driver"):
        pytest.importorskip(module, reason=f"needs {module}, which is not installed", exc_type=ImportError)
    counted: list[CountedDriver] = []

    def over(driver: Driver) -> Driver:
        counted.append(CountedDriver(driver))
        return counted[-1]

    config = JobConfig(refine=refine, output=output, device="cuda", engine="tensorrt", confidence_threshold=0.0)
    data = (sample_photos / name).read_bytes()
    photo = Photo(ImageRef("photo", ""), read_header(data), np.frombuffer(data, np.uint8))
    chain = open_chain(config, Place("cuda:0", "tensorrt", "fp16"), over=over)
    (result,), (expected,) = chain([(photo,)]), CutStage(config)([(photo,)])
    assert isinstance(result, Done)
    assert isinstance(expected, Done)
    with Image.open(io.BytesIO(result.output.png())) as image:
        difference = np.abs(np.asarray(image).astype(int) - expected.output.pixels)
    assert difference.mean() < 0.5
    assert (difference > 8).mean() < 0.01
    *before, rows = counted[0].copied_out
    assert rows == result.output.rows.nbytes
    assert max(before) == _MAP
    assert sum(before) <= 2 * _MAP + 320 * 320 * (3 + 4) + (16384 if refine == "network" else 0)
