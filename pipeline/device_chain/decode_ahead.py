"""The pictures of one call's photographs, decoded on the device several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mattemill.kernels.cuda.device import DeviceArray
from mattemill.pipeline.device_chain.device_decoder import DeviceDecoder
from mattemill.pipeline.errors import ImageError
from mattemill.pipeline.photo import Photo
from mattemill.pipeline.stages.each import Steps

_MOST_BYTES = 96 * 2**20
"""Of pictures that are decoded and not yet asked for, unless it is one; twice as much while they are copied."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    """picture: None for one that the host has to decode. seconds, cpu_seconds: a photograph's share of its batch."""

    picture: DeviceArray | ImageError | None
    seconds: float
    cpu_seconds: float


class DecodeAhead:
    """Asked for one photograph's picture, it decodes those that come next along with it, as many as fit.

    One at a time nvJPEG waits for its Huffman decoding, which has several threads for several files. decoder: None
    where everything is decoded on the host. most_bytes: of decoded pictures that wait, 3 bytes a pixel.
    """

    def __init__(self, decoder: DeviceDecoder | None, photos: Sequence[Photo], most_bytes: int = _MOST_BYTES) -> None:
        self._decoder = decoder
        self._photos = photos
        self._most_bytes = most_bytes
        self._next = 0
        self._done: dict[int, _Decoded] = {}

    def picture(self, index: int, steps: Steps) -> DeviceArray | None:
        """uint8 (H, W, 3) on the device, once; None for one that the host has to decode. To be asked in their order.

        steps: of the image, which get its share of the time. Raises ImageError as `decode`, and what
        `DeviceDecoder.decode` raises.
        """
        if self._decoder is None:
            return None
        if index >= self._next:
            steps.leave()
            self._decode_from(self._decoder, index, steps)
            steps.come_back(0.0, 0.0)
        found = self._done.pop(index, None)
        if found is None:
            return None
        steps.leave()
        steps.come_back(found.seconds, found.cpu_seconds)
        if isinstance(found.picture, ImageError):
            # Another than the one in `found`, which would be in a cycle with this frame and hold the photographs.
            raise ImageError(found.picture.reason, found.picture.message)
        return found.picture

    def _decode_from(self, decoder: DeviceDecoder, index: int, steps: Steps) -> None:
        batch: list[int] = []
        room = self._most_bytes
        for at in range(index, len(self._photos)):
            photo = self._photos[at]
            if decoder.takes(photo):
                room -= photo.header.decoded_bytes
                if batch and room < 0:
                    break
                batch.append(at)
            self._next = at + 1
        if not batch:
            return
        seconds, cpu_seconds = steps.clocks()
        pictures = decoder.decode([self._photos[at] for at in batch])
        now, cpu_now = steps.clocks()
        share, cpu_share = (now - seconds) / len(batch), (cpu_now - cpu_seconds) / len(batch)
        self._done |= {at: _Decoded(one, share, cpu_share) for at, one in zip(batch, pictures, strict=True)}
