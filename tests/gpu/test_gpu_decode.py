"""nvImageCodec on a real GPU gives what libjpeg gives but for rounding, in the chain's stream. Not yet run on a GPU."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import odd_images as odd
import pytest
from PIL import Image

from mattemill.kernels.cuda.counted_driver import CountedDriver
from mattemill.kernels.cuda.device import Device, DeviceArray
from mattemill.kernels.cuda.driver import Driver
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.device_chain.device_decoder import DeviceDecoder
from mattemill.pipeline.device_chain.open_chain import open_chain
from mattemill.pipeline.engines.gpus import find_gpus
from mattemill.pipeline.engines.open_engine import lane_here
from mattemill.pipeline.engines.place import Place
from mattemill.pipeline.errors import ImageError
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.images.nvimgcodec_api import why_no_nvimgcodec
from mattemill.pipeline.photo import ImageRef, Photo
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.stage import Done

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _is_all_there() -> None:
    gpus = find_gpus()
    if not gpus.gpus:
        pytest.skip(f"needs a GPU: {gpus.problem}")
    pytest.importorskip("pycuda.driver", reason="needs pycuda, which is not installed", exc_type=ImportError)
    if lacks := why_no_nvimgcodec():
        pytest.skip(f"needs nvImageCodec: {lacks}")


def photo(data: bytes, name: str = "photo") -> Photo:
    return Photo(ImageRef(name, ""), read_header(data), np.frombuffer(data, np.uint8))


def test_photographs_come_out_as_libjpeg_makes_them_but_for_rounding(sample_photos: Path) -> None:
    lane = lane_here(0)
    device = Device(lane.driver, stream=lane.compute)
    decoder = DeviceDecoder(device, 0)
    made = [odd.jpeg(progressive=True), odd.jpeg(subsampling="4:4:4"), odd.jpeg(subsampling="4:2:2"), odd.grey_jpeg()]
    files = [photo(path.read_bytes(), path.name) for path in sorted(sample_photos.rglob("*.jpg"))]
    taken = [one for one in [*files, *map(photo, made)] if decoder.takes(one)]
    for _ in range(3):  # again, into memory that was used before
        for one, got in zip(taken, decoder.decode(taken), strict=True):
            if one.ref.key == "temple-cut-off.jpg":
                assert isinstance(got, ImageError)
                continue
            assert isinstance(got, DeviceArray), one.ref.key
            difference = np.abs(device.download(got).astype(int) - decode(one.data, one.header))
            assert difference.mean() < 1.0, one.ref.key
            assert (difference > 8).mean() < 0.01, one.ref.key


def test_damaged_files_fail_as_they_do_on_the_host() -> None:
    lane = lane_here(0)
    decoder = DeviceDecoder(Device(lane.driver, stream=lane.compute), 0)
    cut = odd.cut(odd.jpeg(), 0.6)
    got = decoder.decode([photo(odd.jpeg()), photo(cut), photo(cut + b"\xff\xd9")])
    assert isinstance(got[0], DeviceArray)
    assert [one.reason for one in got[1:] if isinstance(one, ImageError)] == [Reason.TRUNCATED, Reason.UNDECODABLE]


def test_the_chain_cuts_alike_from_either_decoder_and_uploads_no_photograph(u2netp: Path, sample_photos: Path) -> None:
    for module in ("tensorrt", "onnx"):
        pytest.importorskip(module, reason=f"needs {module}, which is not installed", exc_type=ImportError)
    counted: list[CountedDriver] = []

    def over(driver: Driver) -> Driver:
        counted.append(CountedDriver(driver))
        return counted[-1]

    config = JobConfig(
        refine="guided", device="cuda", engine="tensorrt", device_chain="on", gpu_decode="on", confidence_threshold=0.0
    )
    place = Place("cuda:0", "tensorrt", "fp16")
    items = [(photo((sample_photos / name).read_bytes(), name),) for name in ("raccoon.jpg", "astronaut.jpg")]
    with_gpu = open_chain(config, place, over=over)
    counted[-1].forget()
    results = with_gpu(items)
    assert max(counted[-1].copied_in) < min(one.header.decoded_bytes for (one,) in items)
    expected = open_chain(replace(config, gpu_decode="off"), place)(items)
    for one, other in zip(results, expected, strict=True):
        assert isinstance(one, Done)
        assert isinstance(other, Done)
        with Image.open(io.BytesIO(one.output.png())) as ours, Image.open(io.BytesIO(other.output.png())) as theirs:
            assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs)).mean() < 0.5
