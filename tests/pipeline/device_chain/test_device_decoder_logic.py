"""The chain's decoder over a stand-in for nvImageCodec: where its memory goes, and who decodes what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from fake_nvimgcodec import FakeNvImgCodec

from mattemill.kernels.cuda.cpu_build import compiler
from mattemill.kernels.cuda.cpu_driver import CpuDriver
from mattemill.kernels.cuda.device import Device, DeviceArray
from mattemill.pipeline.device_chain import device_decoder
from mattemill.pipeline.device_chain.device_decoder import DeviceDecoder
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.photo import ImageRef, Photo

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs g++ to compile the kernels for the CPU")


def _decoder(codec: FakeNvImgCodec, monkeypatch: pytest.MonkeyPatch) -> tuple[Device, DeviceDecoder]:
    monkeypatch.setattr(device_decoder, "import_nvimgcodec", lambda: codec)
    device = Device(CpuDriver())
    decoder = DeviceDecoder(device, None)
    codec.calls.clear()
    return device, decoder


def _photos(folder: Path) -> list[Photo]:
    files = [(folder / name).read_bytes() for name in ("raccoon.jpg", "astronaut.jpg")]
    return [Photo(ImageRef(str(n), ""), read_header(d), np.frombuffer(d, np.uint8)) for n, d in enumerate(files)]


def test_pictures_are_copied_before_their_own_memory_goes(monkeypatch: pytest.MonkeyPatch, sample_photos: Path) -> None:
    codec, photos = FakeNvImgCodec(), _photos(sample_photos)
    device, decoder = _decoder(codec, monkeypatch)
    for photo, picture in zip(photos, decoder.decode(photos), strict=True):
        assert isinstance(picture, DeviceArray)
        assert np.array_equal(device.download(picture), decode(photo.data, photo.header))
    assert codec.calls == [2]


def test_what_is_refused_in_a_batch_is_asked_for_alone_and_only_then_left_to_the_host(
    monkeypatch: pytest.MonkeyPatch, sample_photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = _photos(sample_photos)
    largest = max(photo.header.decoded_bytes for photo in photos)
    codec = FakeNvImgCodec(largest)
    _, decoder = _decoder(codec, monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert all(isinstance(picture, DeviceArray) for picture in decoder.decode(photos))
        assert (codec.calls, caplog.text) == ([2, 1], "")
        codec.room = largest - 1
        refused = [photo for photo, picture in zip(photos, decoder.decode(photos), strict=True) if picture is None]
    assert [photo.header.decoded_bytes for photo in refused] == [largest]
    assert caplog.text.count("event=gpu_decode_refused") == 1
