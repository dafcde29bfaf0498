"""JPEGs to pictures on the device, by nvImageCodec (nvJPEG). Not yet run on a GPU."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from mattemill.kernels.cuda.device import Device, DeviceArray
from mattemill.pipeline.errors import ConfigError, EngineError, ImageError
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.gpu_jpeg import why_not_on_gpu
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.images.nvimgcodec_api import INSTALL, Image, import_nvimgcodec, why_no_nvimgcodec
from mattemill.pipeline.photo import ImageRef, Photo
from mattemill.pipeline.stages.thread_map import ThreadMap

_LOG = logging.getLogger(__name__)

_THREADS = min(4, max(1, len(os.sched_getaffinity(0)) - 1))
"""That check files, and that nvImageCodec has for its Huffman decoding: never both at once. It takes no last core."""

_OPTIONS = ":fancy_upsampling=1"  # chroma as libjpeg smooths it; without it coloured edges have steps
_ALIKE = 4.0  # grey levels of mean difference to libjpeg, at a smooth picture


class DeviceDecoder:
    """nvImageCodec on one GPU, in the stream of a device. For one thread.

    What `decode` makes of a JPEG by libjpeg it makes by nvJPEG: other rounding in the inverse DCT and in the chroma, so
    a job with it has another fingerprint. What must not depend on it:
    Which decoder takes a photograph, and so its pixels, shall not follow from its batch: the GPU's dedicated hardware,
    which takes a share of a batch, is left out, and what is refused in a batch is asked for again alone. What is
    refused alone, the host decodes, with a line in the log.
    A damaged file fails with its reason. nvImageCodec gives a picture for a scan that was cut and closed (its CPU
    backend does; the GPU's is unknown), so libjpeg decodes every file first, at an eighth of its size: that reads every
    code of it, in 0.55 of the time of a whole decoding (0.53 to 0.57 on photographs of 2 and 12 MP).

    device: whose stream the pictures are in. gpu: its number, in whose primary context the device works, as
    `PycudaDriver` does. None for nvImageCodec's CPU backend into the host's memory, which is the CPU driver's: for
    tests, as `HostMemoryEngine`. Raises ConfigError where nvImageCodec or nvJPEG is missing or does not decode here.
    """

    def __init__(self, device: Device, gpu: int | None = 0) -> None:
        try:
            codec = import_nvimgcodec()
        except (ImportError, OSError) as error:
            raise ConfigError(
                f"gpu_decode = 'on' needs nvImageCodec, which is not to be had ({error}): {INSTALL}"
            ) from error
        self._on = device
        self._codec = codec
        self._damages = ThreadMap(_THREADS, "check")
        self._name = "cpu" if gpu is None else f"cuda:{gpu}"
        kinds = codec.BackendKind
        # Not the CPU's, on a GPU: what nvJPEG does not decode shall go the host's way.
        backends = (kinds.CPU_ONLY,) if gpu is None else (kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU)
        self._kind = codec.ImageBufferKind.STRIDED_HOST if gpu is None else codec.ImageBufferKind.STRIDED_DEVICE
        self._params = codec.DecodeParams(
            apply_exif_orientation=False, color_spec=codec.ColorSpec.SRGB, allow_any_depth=False
        )
        try:
            self._decoder = codec.Decoder(
                device_id=codec.NVIMGCODEC_DEVICE_CPU_ONLY if gpu is None else gpu,
                max_num_cpu_threads=_THREADS,
                backends=[codec.Backend(backend_kind=kind) for kind in backends],
                options=_OPTIONS,
            )
        except RuntimeError as error:
            raise ConfigError(self._refusal(str(error))) from error
        self._try()

    def takes(self, photo: Photo) -> bool:
        """Whether it may decode a photograph; the others are the host's."""
        return not why_not_on_gpu(photo.data, photo.header)

    def decode(self, photos: Sequence[Photo]) -> list[DeviceArray | ImageError | None]:
        """uint8 (H, W, 3) in sRGB for each photograph, all decoded at once; with none of the stream's work left to do.

        photos: that it `takes`. In place of a picture: the error with which a damaged one fails, as `decode` raises it,
        or None for one that nvImageCodec does not decode. Raises EngineError when it fails as a whole, and
        DeviceMemoryError.
        """
        results: list[DeviceArray | ImageError | None] = [*self._damages(_damage, photos)]
        whole = [at for at, damage in enumerate(results) if damage is None]
        self._fill(results, photos, whole)
        for at in whole:
            if results[at] is None and len(whole) > 1:
                self._fill(results, photos, [at])  # what there was no memory for beside the others
            if results[at] is None:
                _LOG.warning("event=gpu_decode_refused key=%s decoded_by=simplejpeg", photos[at].ref.key)
        return results

    def _fill(
        self, results: list[DeviceArray | ImageError | None], photos: Sequence[Photo], chosen: Sequence[int]
    ) -> None:
        """Decode the chosen photographs at once, and put those that it decodes into their places."""
        if not chosen:
            return
        handle = 0 if self._on.stream is None else self._on.stream.handle
        streams = [self._codec.CodeStream(np.ascontiguousarray(photos[at].data)) for at in chosen]
        try:
            images = self._decoder.decode(streams, params=self._params, cuda_stream=handle)
        except RuntimeError as error:
            self._on.synchronise()  # raises what is wrong where nothing runs on the device any more
            raise EngineError(f"nvImageCodec failed on {self._name} ({error})") from error
        try:
            for at, image in zip(chosen, images, strict=True):
                results[at] = self._copied(photos[at], image)
        finally:
            # How the library gives its memory back is its own affair: from here on nothing waits for any of it.
            self._on.synchronise()

    def _copied(self, photo: Photo, image: Image | None) -> DeviceArray | None:
        """A copy in the driver's memory, rows as far apart as they were; behind the decoding, in the stream."""
        shape = (photo.header.height, photo.header.width, 3)
        if image is None or image.buffer_kind != self._kind or tuple(image.shape) != shape:
            return None
        row, pixel, channel = image.strides
        if (pixel, channel) != (3, 1) or np.dtype(image.dtype) != np.uint8:
            raise EngineError(f"nvImageCodec gave {image.dtype} with strides {image.strides}, not uint8 RGB")
        given = image.__array_interface__ if self._name == "cpu" else image.__cuda_array_interface__
        nbytes = (shape[0] - 1) * row + 3 * shape[1]
        memory = self._on.driver.allocate(nbytes)
        self._on.driver.copy_on(memory.pointer, given["data"][0], nbytes, self._on.stream)
        return DeviceArray(memory, memory.pointer, shape, np.dtype(np.uint8), row)

    def _try(self) -> None:
        """Decode a small picture: whether nvJPEG was found shows only then. Raises ConfigError."""
        data = _smooth_jpeg()
        photo = Photo(ImageRef("a picture to try it", ""), read_header(data), np.frombuffer(data, np.uint8))
        (got,) = self.decode([photo])
        if not isinstance(got, DeviceArray):
            raise ConfigError(self._refusal(why_no_nvimgcodec() or "it gives no picture for a plain JPEG"))
        difference = np.abs(self._on.download(got).astype(int) - decode(data, photo.header)).mean()
        if difference > _ALIKE:
            raise ConfigError(self._refusal(f"its pixels are {difference:.0f} grey levels from libjpeg's"))

    def _refusal(self, why: str) -> str:
        return f"gpu_decode = 'on': nvImageCodec does not decode on {self._name} ({why}); `mattemill doctor` says more"


def _damage(photo: Photo) -> ImageError | None:
    """What is wrong with the file, found by decoding it as small as libjpeg can: every code is read, few are used."""
    try:
        decode(photo.data, photo.header, at_least=(1, 1))
    except ImageError as error:
        return ImageError(error.reason, error.message)  # without the traceback, which would hold the pixels
    return None


def _smooth_jpeg() -> bytes:
    y, x = np.mgrid[0:48, 0:64].astype(np.uint8)
    out: Any = io.BytesIO()
    PillowImage.fromarray(np.dstack([4 * x, 4 * y, 255 - 2 * x - 2 * y])).save(out, "jpeg", quality=95)
    return bytes(out.getvalue())
