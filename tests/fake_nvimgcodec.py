"""A stand-in for nvImageCodec, whose licence is for NVIDIA's GPUs: libjpeg behind the names that we touch.

It proves nothing of nvJPEG. What it is strict about: a picture's memory becomes rubbish when the picture goes, and what
does not fit into `room` bytes at once is refused as the real one refuses it, with None in its place.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import simplejpeg


class FakeImage:
    dtype = "uint8"
    buffer_kind = "host"

    def __init__(self, pixels: np.ndarray[Any, Any]) -> None:
        self.shape, self.strides = pixels.shape, pixels.strides
        self.__array_interface__ = pixels.__array_interface__
        self._pixels = pixels
        weakref.finalize(self, pixels.fill, 0xA5)


class FakeNvImgCodec:
    """The module. room: bytes of decoded pictures that one call has memory for. calls: how many files each had."""

    __version__ = "0.fake"
    NVIMGCODEC_DEVICE_CPU_ONLY = -1
    BackendKind = SimpleNamespace(CPU_ONLY="cpu", GPU_ONLY="gpu", HYBRID_CPU_GPU="hybrid")
    ColorSpec = SimpleNamespace(SRGB="srgb")
    ImageBufferKind = SimpleNamespace(STRIDED_DEVICE="device", STRIDED_HOST="host")

    def __init__(self, room: int = 1 << 40) -> None:
        self.room = room
        self.calls: list[int] = []

    def CodeStream(self, array: np.ndarray[Any, Any]) -> bytes:
        return array.tobytes()

    def DecodeParams(self, **params: Any) -> SimpleNamespace:
        return SimpleNamespace(**params)

    def Backend(self, backend_kind: str) -> str:
        return backend_kind

    def Decoder(self, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(decode=self._decode)

    def _decode(self, srcs: Sequence[bytes], *, params: Any, cuda_stream: int) -> list[FakeImage | None]:
        self.calls.append(len(srcs))
        left = self.room
        images: list[FakeImage | None] = []
        for data in srcs:
            pixels = simplejpeg.decode_jpeg(data)
            left -= pixels.nbytes
            images.append(FakeImage(pixels) if left >= 0 else None)
        return images
