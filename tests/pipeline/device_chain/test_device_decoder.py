"""nvImageCodec's decoder in the chain, by its CPU backend into the CPU driver's memory, which is the host's.

That backend is libjpeg-turbo, so here its pixels are `decode`'s to the last bit; nvJPEG's will not be, which
tests/gpu/test_gpu_decode.py compares. What is proven here: the calls, what is taken, the way of the memory, and that
a damaged file fails as it does without it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import odd_images as odd
import pytest

from mattemill.kernels.cuda.counted_driver import CountedDriver
from mattemill.kernels.cuda.cpu_build import compiler
from mattemill.kernels.cuda.cpu_driver import CpuDriver
from mattemill.kernels.cuda.device import Device, DeviceArray
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.device_chain.device_chain import DeviceChain
from mattemill.pipeline.device_chain.device_decoder import DeviceDecoder
from mattemill.pipeline.device_chain.device_network import DeviceNetwork, HostMemoryEngine
from mattemill.pipeline.engines.gpus import find_gpus
from mattemill.pipeline.errors import ConfigError, ImageError
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.images.nvimgcodec_api import INSTALL, MODULE
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.photo import ImageRef, Photo
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.stage import Done, Failed

_CARD = card_of("u2netp")

needs_gcc = pytest.mark.skipif(compiler() is None, reason="needs g++ to compile the kernels for the CPU")


class _Bright:
    """An engine to which the subject is what is not bright: another pixel is another mask, and no pass takes long."""

    device, batch_limit = "cpu", 4

    def run(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
        grey = inputs[_CARD.input.name].mean(axis=1, keepdims=True)
        low, high = grey.min(axis=(2, 3), keepdims=True), grey.max(axis=(2, 3), keepdims=True)
        return {_CARD.output.names[0]: (high - grey) / (high - low)}


@functools.cache
def _counted() -> tuple[CountedDriver, Device]:
    driver = CountedDriver(CpuDriver())
    return driver, Device(driver)


@pytest.fixture
def decoder() -> DeviceDecoder:
    if compiler() is None:
        pytest.skip("needs g++ to compile the kernels for the CPU")
    pytest.importorskip(MODULE, reason=f"needs nvImageCodec, which is not installed: {INSTALL}", exc_type=ImportError)
    return DeviceDecoder(_counted()[1], None)


def photo(data: bytes, name: str = "photo") -> Photo:
    return Photo(ImageRef(name, ""), read_header(data), np.frombuffer(data, np.uint8))


def closed(data: bytes) -> bytes:
    """Cut in the middle of its scan, and closed with an end marker: nothing before the scan's own codes tells."""
    return odd.cut(data, 0.6) + b"\xff\xd9"


def with_hole(data: bytes, seed: int = 0) -> bytes:
    """Some bytes of the scan overwritten, as a disk or a transfer leaves it."""
    rng = np.random.default_rng(seed)
    found = np.frombuffer(data, np.uint8).copy()
    at = int(rng.integers(len(found) // 4, len(found) - 600))
    length = int(rng.integers(1, 500))
    found[at : at + length] = 0 if seed % 2 else rng.integers(0, 256, length)
    return found.tobytes()


def verdict(data: bytes, **options: Any) -> tuple[Reason, str] | None:
    try:
        decode(data, read_header(data), **options)
    except ImageError as error:
        return error.reason, error.message
    return None


def test_every_sample_that_it_takes_comes_out_as_decode_makes_it(decoder: DeviceDecoder, sample_photos: Path) -> None:
    files = sorted(sample_photos.rglob("*.jpg"))
    photos = [photo(path.read_bytes(), path.name) for path in files]
    taken = [one for one in photos if decoder.takes(one)]
    left = {one.ref.key for one in photos} - {one.ref.key for one in taken}
    assert left == {"flower-rotated.jpg", "rocket-cmyk.jpg"}
    for one, got in zip(taken, decoder.decode(taken), strict=True):
        if one.ref.key == "temple-cut-off.jpg":
            assert isinstance(got, ImageError)
            assert got.reason is Reason.TRUNCATED
            continue
        assert isinstance(got, DeviceArray)
        assert np.array_equal(_counted()[1].download(got), decode(one.data, one.header)), one.ref.key


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"subsampling": "4:4:4"}, {"subsampling": "4:2:2"}], ids=str
)
def test_other_kinds_of_jpeg_come_out_as_decode_makes_them(decoder: DeviceDecoder, options: dict[str, Any]) -> None:
    one = photo(odd.jpeg(odd.photograph(321, 203), **options))
    (got,) = decoder.decode([one])
    assert isinstance(got, DeviceArray)
    assert np.array_equal(_counted()[1].download(got), decode(one.data, one.header))


def test_a_damaged_file_fails_as_decode_fails_and_its_neighbours_are_decoded(decoder: DeviceDecoder) -> None:
    files = [odd.jpeg(), odd.cut(odd.jpeg(), 0.6), closed(odd.jpeg()), odd.grey_jpeg()]
    first, cut, shut, last = decoder.decode([photo(data) for data in files])
    assert isinstance(first, DeviceArray)
    assert isinstance(last, DeviceArray)
    assert isinstance(cut, ImageError)
    assert isinstance(shut, ImageError)
    assert (cut.reason, cut.message) == verdict(files[1])
    assert (shut.reason, shut.message) == verdict(files[2])
    assert (cut.reason, shut.reason) == (Reason.TRUNCATED, Reason.UNDECODABLE)


def test_nvimagecodec_itself_gives_a_picture_for_a_scan_that_was_cut_and_closed(decoder: DeviceDecoder) -> None:
    """Why files are checked before: when this fails, its CPU backend has become strict."""
    stream = decoder._codec.CodeStream(np.frombuffer(closed(odd.jpeg()), np.uint8))
    assert decoder._decoder.decode([stream], params=decoder._params, cuda_stream=0) != [None]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 2}], ids=str)
def test_damage_shows_at_an_eighth_of_the_size_as_it_shows_at_all_of_it(options: dict[str, Any]) -> None:
    whole = odd.jpeg(odd.photograph(320, 240), quality=97, **options)
    found = 0
    for seed in range(100):
        data = with_hole(whole, seed)
        assert verdict(data, at_least=(1, 1)) == verdict(data), seed
        found += verdict(data) is not None
    assert found > 30


@needs_gcc
def test_the_chain_cuts_the_same_from_either_decoder_and_uploads_no_photograph(
    decoder: DeviceDecoder,
) -> None:
    driver, device = _counted()
    network = DeviceNetwork(_CARD, HostMemoryEngine(_Bright(), {_CARD.output.names[0]: (1, *_CARD.input.size)}), device)
    config = JobConfig(refine="guided", confidence_threshold=0.0)
    items = [(photo(odd.jpeg(odd.photograph(240, 180))),), (photo(closed(odd.jpeg())),)]
    without, _ = DeviceChain(config, device, network, network)(items)
    driver.forget()
    got, damaged = DeviceChain(config, device, network, network, decoder=decoder)(items)
    assert isinstance(without, Done)
    assert isinstance(got, Done)
    assert isinstance(damaged, Failed)
    assert np.array_equal(got.output.rows, without.output.rows)
    assert got.facts.seconds["detect"] > 0
    assert max(driver.copied_in) < items[0][0].header.decoded_bytes
    assert (damaged.failure.reason, damaged.failure.stage) == (Reason.UNDECODABLE, "detect")


def test_rows_that_lie_apart_stay_apart(decoder: DeviceDecoder) -> None:
    """The image is a fake: nvImageCodec says that rows may be padded, and its CPU backend pads none."""
    one = photo(odd.jpeg(odd.photograph(50, 40)))
    padded = np.arange(40 * 256, dtype=np.uint8).reshape(40, 256)
    image = SimpleNamespace(
        shape=(40, 50, 3),
        strides=(256, 3, 1),
        dtype="uint8",
        buffer_kind=decoder._kind,
        __array_interface__=padded.__array_interface__,
    )
    got = decoder._copied(one, cast(Any, image))
    assert got is not None
    assert not got.contiguous
    assert np.array_equal(_counted()[1].download(got), padded[:, :150].reshape(40, 50, 3))


def test_a_picture_of_another_size_than_the_header_says_is_the_hosts(decoder: DeviceDecoder) -> None:
    image = SimpleNamespace(shape=(40, 51, 3), buffer_kind=decoder._kind)
    assert decoder._copied(photo(odd.jpeg(odd.photograph(50, 40))), cast(Any, image)) is None


@needs_gcc
def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(
        ConfigError, match=r"gpu_decode = 'on' needs nvImageCodec.*pip install 'mattemill\[nvimgcodec\]'"
    ):
        DeviceDecoder(_counted()[1])


def test_without_a_gpu_the_error_says_that_it_does_not_decode_there(decoder: DeviceDecoder) -> None:
    if find_gpus().gpus:
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="nvImageCodec does not decode on cuda:0"):
        DeviceDecoder(_counted()[1], 0)
