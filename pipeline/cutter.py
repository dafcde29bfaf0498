"""One photograph in, its cut with its scores out: the stages without Ray, S3 or a ledger."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.errors import HintError, ImageError
from mattemill.pipeline.hints import Hint
from mattemill.pipeline.images.encode import encode
from mattemill.pipeline.images.header import check_limits, read_header
from mattemill.pipeline.outcome import Facts, Failure
from mattemill.pipeline.photo import ImageRef, Photo
from mattemill.pipeline.stages.cut import CutStage
from mattemill.pipeline.stages.messages import Cut
from mattemill.pipeline.stages.stage import Failed


@dataclass(frozen=True, slots=True)
class Cutting:
    """A photograph's cut.

    pixels: uint8 (H, W) alpha, (H, W, 4) unpremultiplied RGBA or (H, W, 3), by config.output.
    encoded: the same as a file in config.format. facts: size, boxes, scores ('confidence' is one), seconds, devices.
    """

    pixels: npt.NDArray[np.uint8]
    encoded: bytes
    facts: Facts = field(default_factory=Facts)


class CutFailedError(ImageError):
    """The photograph could not be cut well; `failure` has the boxes, scores and preview."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason, failure.message)
        self.failure = failure

    def __reduce__(self) -> tuple[type[CutFailedError], tuple[Failure]]:  # type: ignore[override]
        return (type(self), (self.failure,))


class Cutter:
    """Cuts photographs one by one with a loaded network; not for several threads at once.

    Raises ModelError (not fetched), DeviceError, EngineError, ConfigError.
    """

    def __init__(self, config: JobConfig | None = None) -> None:
        self._config = config if config is not None else JobConfig()
        self._stage = CutStage(self._config)

    def cut(self, data: bytes, hint: Hint | None = None) -> Cutting:
        """Cut an encoded photograph (JPEG, PNG, WebP, TIFF, BMP, GIF).

        hint: a person's trimap or strokes, of the photograph's size as shown. With one, no photograph ends as
        no_subject or low_confidence: the person has said what the subject is, and looks at what comes out.
        Raises ImageError with its `Reason`: too large, undecodable, no subject, low confidence and so on; HintError
        when the hint has another size.
        """
        header = read_header(data)
        check_limits(header, len(data), self._config.max_pixels, self._config.max_file_bytes)
        width, height = header.shown_size
        if hint is not None and hint.size != (width, height):
            raise HintError(f"the hint is {hint.size[0]}x{hint.size[1]} pixels, the photograph is {width}x{height}")
        facts = Facts(width=width, height=height, format=header.format, encoded_bytes=len(data))
        photo = Photo(ImageRef("photo", ""), header, np.frombuffer(data, np.uint8))
        result = self._stage([(photo,) if hint is None else (photo, hint)])[0]
        if isinstance(result, Failed):
            raise CutFailedError(result.failure)
        cut: Cut = result.output
        return Cutting(cut.pixels, encode(cut.pixels, self._config.format), facts.merged(result.facts))
