"""Which photographs are decoded together, in whose time. The decoder is a fake: it notes what it is asked."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import odd_images as odd
import pytest

from mattemill.kernels.cuda.device import DeviceArray
from mattemill.pipeline.device_chain.decode_ahead import DecodeAhead
from mattemill.pipeline.device_chain.device_decoder import DeviceDecoder
from mattemill.pipeline.errors import ImageError
from mattemill.pipeline.images.gpu_jpeg import why_not_on_gpu
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.photo import ImageRef, Photo
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.each import Steps

_SIZE = 480 * 360 * 3


def photo(name: str, data: bytes | None = None) -> Photo:
    data = odd.jpeg() if data is None else data
    return Photo(ImageRef(name, ""), read_header(data), np.frombuffer(data, np.uint8))


class _Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class _Fake:
    """Takes what the real one takes. Answers with an array of no memory; 'damaged' and 'refused' as the names say."""

    def __init__(self, clock: _Clock) -> None:
        self.batches: list[list[str]] = []
        self._clock = clock

    def takes(self, photo: Photo) -> bool:
        return not why_not_on_gpu(photo.data, photo.header)

    def decode(self, photos: Sequence[Photo]) -> list[DeviceArray | ImageError | None]:
        self.batches.append([one.ref.key for one in photos])
        self._clock.now += 6.0
        return [self._answer(one) for one in photos]

    def _answer(self, one: Photo) -> DeviceArray | ImageError | None:
        if one.ref.key == "damaged":
            return ImageError(Reason.UNDECODABLE, "bad")
        if one.ref.key == "refused":
            return None
        shape = (one.header.height, one.header.width, 3)
        return DeviceArray(cast(Any, one.ref.key), 0, shape, np.dtype(np.uint8), 3 * shape[1])


def asked(photos: Sequence[Photo], most_bytes: int) -> tuple[list[list[str]], list[Any], list[float]]:
    """(what was decoded together, whose picture each photograph got, seconds of each)"""
    clock = _Clock()
    fake = _Fake(clock)
    ahead = DecodeAhead(cast(DeviceDecoder, fake), photos, most_bytes)
    got: list[Any] = []
    seconds = []
    for index in range(len(photos)):
        steps = Steps(clock)
        try:
            with steps.step("detect", "fake"):
                picture = ahead.picture(index, steps)
            got.append(picture and picture.memory)
        except ImageError as error:
            got.append(error.reason)
        seconds.append(steps.facts().seconds["detect"])
    return fake.batches, got, seconds


def test_those_that_fit_are_decoded_together_and_share_the_time() -> None:
    batches, got, seconds = asked([photo(name) for name in "abcde"], 3 * _SIZE)
    assert batches == [["a", "b", "c"], ["d", "e"]]
    assert got == list("abcde")
    assert seconds == pytest.approx([2.0, 2.0, 2.0, 3.0, 3.0])


def test_one_that_is_larger_than_the_room_is_decoded_alone() -> None:
    large = photo("large", odd.jpeg(odd.photograph(960, 720)))
    assert asked([photo("a"), large, photo("b")], _SIZE)[:2] == ([["a"], ["large"], ["b"]], ["a", "large", "b"])


def test_the_hosts_photographs_between_them_take_no_part_and_no_room() -> None:
    turned = photo("turned", odd.oriented_jpeg(6))
    batches, got, seconds = asked([turned, photo("a"), photo("plain", odd.png()), photo("b"), turned], 2 * _SIZE)
    assert batches == [["a", "b"]]
    assert got == [None, "a", None, "b", None]
    assert seconds == pytest.approx([0.0, 3.0, 0.0, 3.0, 0.0])


def test_a_damaged_one_raises_for_itself_alone_and_one_that_is_refused_is_the_hosts() -> None:
    photos = [photo(name) for name in ("a", "damaged", "refused", "b")]
    assert asked(photos, 9 * _SIZE)[:2] == ([["a", "damaged", "refused", "b"]], ["a", Reason.UNDECODABLE, None, "b"])


def test_a_damaged_one_holds_no_photograph_until_the_garbage_collector_runs() -> None:
    clock = _Clock()
    ahead = DecodeAhead(cast(DeviceDecoder, _Fake(clock)), [photo("damaged")])
    held = weakref.ref(ahead)
    gc.disable()
    try:
        with contextlib.suppress(ImageError):
            ahead.picture(0, Steps(clock))
        del ahead
        assert held() is None
    finally:
        gc.enable()


def test_without_a_decoder_everything_is_the_hosts() -> None:
    assert DecodeAhead(None, [photo("a")]).picture(0, Steps()) is None
