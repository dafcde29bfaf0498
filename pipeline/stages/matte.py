"""The matte stage: from soft masks to what the user asked for, at full size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.paste import paste_masks
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.place import CPU, Place, place_of
from mattemill.pipeline.errors import ConfigError, ImageError
from mattemill.pipeline.finishing import Finisher
from mattemill.pipeline.hints import Hint
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.header import check_limits, read_header
from mattemill.pipeline.outcome import Facts
from mattemill.pipeline.photo import Alpha, Photo, Rgb
from mattemill.pipeline.quality import confidence, score_figures, signs
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.each import RefusedError, Steps, run_each
from mattemill.pipeline.stages.messages import CropMask, Cut, Detection
from mattemill.pipeline.stages.refine import Refiner, make_refiner
from mattemill.pipeline.stages.stage import Done, StageResult


class MatteMaker:
    """Pastes the soft masks, refines them in the unknown band, and gives out matte, cut-out or composite.

    refine: instead of the one that the config names. place: of a network that refines. Raises ConfigError when the
    background cannot be read, ModelError, EngineError, DeviceError.
    """

    def __init__(self, config: JobConfig, refine: Refiner | None = None, place: Place = CPU) -> None:
        self._threshold = config.confidence_threshold
        self._second_network = config.second_network
        self._refine = refine if refine is not None else make_refiner(config, place)
        self._finish = Finisher(config, load_background(config) if config.output == "composite" else None)

    def __call__(self, image: Rgb, detection: Detection, masks: Sequence[CropMask]) -> tuple[Cut, dict[str, float]]:
        """The cut of uint8 (H, W, 3) and its quality figures, the score under 'confidence'.

        Raises RefusedError LOW_CONFIDENCE.
        """
        height, width = image.shape[:2]
        # What lies outside every window stays 0: the network sees other things there, too.
        soft = paste_masks([(one.mask, one.window) for one in masks], (height, width))
        figures = score_figures(image, soft, masks)
        figures["confidence"] = confidence(figures, self._second_network)
        if figures["confidence"] < self._threshold:
            raise RefusedError(
                Reason.LOW_CONFIDENCE,
                f"confidence {figures['confidence']:.2f} is under the threshold {self._threshold:g}: "
                f"{'; '.join([_soft(figures), *signs(figures)])}",
                image,
                soft,
                Facts(scores=figures),
            )
        pixels, finished = self._finish(image, self._refine(image, soft))
        figures.update(finished)
        return Cut(pixels, figures), figures

    def hinted(self, image: Rgb, soft: Alpha, hint: Hint) -> Cut:
        """The cut of uint8 (H, W, 3) with a person's hint, whose certain pixels stand in the matte before finishing.

        soft: float32 (H, W). No score is given and none refused: it would be one of the network, not of the person.
        """
        alpha = self._refine(image, soft, hint.marks if hint.kind == "trimap" else None)
        return Cut(*self._finish(image, hint.honoured(alpha)))


class MatteStage:
    """(Photo, Detection, list[CropMask]) -> Cut; see `Stage`. On the CPU unless a network refines."""

    name = "matte"

    def __init__(self, config: JobConfig) -> None:
        cv2.setNumThreads(1)
        place = place_of(config) if config.refines_by_network else CPU
        self.device = str(place)
        self._make_matte = MatteMaker(config, place=place)

    def __call__(self, items: Sequence[tuple[Any, ...]]) -> list[StageResult]:
        return run_each(self.name, self.device, items, self._one)

    def _one(self, steps: Steps, photo: Photo, detection: Detection, masks: Sequence[CropMask]) -> Done:
        cut, figures = self._make_matte(decode(photo.data, photo.header), detection, masks)
        return Done(cut, Facts(scores=figures))


def _soft(figures: Mapping[str, float]) -> str:
    return f"{figures['soft_of_subject']:.0%} of the subject's pixels are neither in nor out"


def load_background(config: JobConfig) -> npt.NDArray[np.uint8]:
    """A colour uint8 (3,), or a picture uint8 (H, W, 3). Raises ConfigError when the picture cannot be used."""
    given, picture = config.background, config.background_picture
    if given is None:
        return np.array([255, 255, 255], np.uint8)
    if picture is None:
        return np.array([int(given[at : at + 2], 16) for at in (1, 3, 5)], np.uint8)
    try:
        data = picture.read_bytes()
        header = read_header(data)
        check_limits(header, len(data), config.max_pixels, config.max_file_bytes)
        return decode(data, header)
    except (OSError, ValueError, ImageError) as error:
        raise ConfigError(f"background {given}: cannot be used ({error})") from error
