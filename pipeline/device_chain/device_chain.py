"""The chain: where the subject is, its mask, its matte and its output, on one device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from mattemill.kernels.cuda.compose import alpha_bytes, compose_over, compose_rgba
from mattemill.kernels.cuda.device import Device, DeviceArray, blocks
from mattemill.kernels.cuda.errors import CudaError
from mattemill.kernels.cuda.foreground import estimate_foreground
from mattemill.kernels.cuda.paste import paste_masks
from mattemill.kernels.cuda.png_up import png_up
from mattemill.kernels.cuda.staging import Staging
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.device_chain.decode_ahead import DecodeAhead
from mattemill.pipeline.device_chain.device_decoder import DeviceDecoder
from mattemill.pipeline.device_chain.device_network import DeviceEngine, DeviceNetwork
from mattemill.pipeline.device_chain.device_refiners import make_device_refiner
from mattemill.pipeline.engines.gpu_faults import gpu_fault
from mattemill.pipeline.errors import ConfigError, DeviceLostError
from mattemill.pipeline.finishing import fitted
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.models.load import LOCALISER
from mattemill.pipeline.outcome import Facts
from mattemill.pipeline.photo import Alpha, Photo, Rgb
from mattemill.pipeline.quality import confidence, mask_only_figures, small_figures, small_size
from mattemill.pipeline.reasons import Reason
from mattemill.pipeline.stages.asks import Asking
from mattemill.pipeline.stages.detect import SubjectFinder, detection_facts
from mattemill.pipeline.stages.each import RefusedError, Steps
from mattemill.pipeline.stages.matte import load_background
from mattemill.pipeline.stages.messages import CropMask, DeviceCut
from mattemill.pipeline.stages.segment import Segmenter
from mattemill.pipeline.stages.stage import Done, StageResult
from mattemill.pipeline.stages.together import Room, run_together


def why_not(config: JobConfig) -> str:
    """What of a job's settings the chain has no kernel for; '' when it can do all of it."""
    lacks = {
        f"refine = {config.refine}": config.refine == "vitmatte",
        f"detector = {config.detector}": config.detector != "saliency",
        "model_file": config.model_file is not None,
        f"format = {config.format}": config.format != "png",
        "despeckle": config.despeckle,
        "fill_holes": config.fill_holes,
        "feather": config.feather > 0,
        f"shadow = {config.shadow}": config.shadow != "none",
        "match_colour": config.match_colour > 0,
        "canvas": config.canvas is not None,
    }
    return ", ".join(name for name, is_lacking in lacks.items() if is_lacking)


class DeviceChain:
    """(Photo,) -> DeviceCut: the cut stage of jobs with `device_chain = on`; see `Stage`. Not yet run on a GPU.

    Until the rows of the finished PNG, what comes back to the host of a photograph are the maps of the networks that
    find and segment (0.4 MB each at 320 px), the photograph and its mask at 320 px for the score, and, for the matting
    network, counts and boxes of some kB. Boxes, parts, the choice among looks and the matting network's tiles are found
    from these by the code of the stages themselves.

    localiser, network: that find and segment; may be one. second: for doubt. matting: for refine = 'network'. decoder:
    of the JPEGs that it takes; the others, and all of them without one, are decoded on the host. lose: told why the
    device cannot be used in this process any more. Raises ConfigError for settings that it has no kernels for, see
    `why_not`.
    """

    name = "cut"

    def __init__(
        self,
        config: JobConfig,
        device: Device,
        localiser: DeviceNetwork,
        network: DeviceNetwork,
        second: DeviceNetwork | None = None,
        matting: DeviceEngine | None = None,
        decoder: DeviceDecoder | None = None,
        lose: Callable[[str], None] = lambda why: None,
    ) -> None:
        if lacking := why_not(config):
            raise ConfigError(f"the device chain cannot do {lacking}; these photographs go the host's way")
        self.device = localiser.device
        self._config = config
        self._on = device
        self._staging = Staging(device)
        self._decoder = decoder
        self._lose = lose
        self._refine = make_device_refiner(config, device, matting)
        self._room = Room.for_networks(localiser, network)
        # Of the networks they use what `asks.BatchNetwork` says, and their card.
        self._find = SubjectFinder(
            cast(Any, localiser),
            None,
            subjects=config.subjects,
            threshold=config.subject_threshold,
            main_share=config.main_share,
        )
        self._segment = Segmenter(
            cast(Any, network),
            margin=config.crop_margin,
            localiser=LOCALISER,
            main_share=config.main_share if config.subjects == "main" else None,
            second=cast(Any, second),
            second_doubt=config.second_doubt,
        )
        self._background = load_background(config) if config.output == "composite" else None

    def close(self) -> None:
        """Give back the pinned memory and the decoder: before the device is left."""
        self._staging.clear()
        self._decoder = None

    def __call__(self, items: Sequence[tuple[Any, ...]]) -> list[StageResult]:
        ahead = DecodeAhead(self._decoder, [photo for photo, *_ in items])
        numbered = [(photo, index, ahead) for index, (photo, *_) in enumerate(items)]
        try:
            return run_together(self.name, self.device, numbered, self._one, self._room)
        except CudaError as error:
            # Said by whatever waits next for the stream; no kernel runs any more, whatever the photograph.
            if gpu_fault([str(error)]) != "lost":
                raise
            said = f"the device chain failed on {self.device} ({error})"
            self._lose(said)
            raise DeviceLostError(f"{said}; the process must be replaced") from error

    def _one(self, steps: Steps, photo: Photo, index: int, ahead: DecodeAhead) -> Asking[Done]:
        with steps.step("detect", self.device):
            picture = ahead.picture(index, steps)
            if picture is None:
                # Its pixels lie where the next photograph's will be decoded: only the device has them from here on.
                picture = self._staging.upload(decode(photo.data, photo.header, room=self._staging.room))
            try:
                found = yield from self._find.asking(cast(Rgb, picture))
            except RefusedError as refused:
                refused.image = self._on.download(picture)
                raise
            facts = detection_facts(found)
        masks = []
        with steps.step("segment", self.device):
            for index in range(len(found.detection.boxes)):
                shape = picture.shape[:2]
                mask, scores = yield from self._segment.asking(
                    lambda: cast(Rgb, picture), (shape[0], shape[1]), found.detection, index
                )
                masks.append(mask)
                facts = facts.merged(Facts(scores=scores))
        with steps.step("matte", self.device):
            try:
                cut = self._matte(picture, masks)
            except RefusedError as refused:
                refused.facts = facts.merged(refused.facts)
                raise
        return Done(cut, facts.merged(Facts(scores=cut.scores)))

    def _matte(self, picture: DeviceArray, masks: Sequence[CropMask]) -> DeviceCut:
        on, shape = self._on, (picture.shape[0], picture.shape[1])
        soft = paste_masks(on, [(on.upload(one.mask), one.window) for one in masks], shape)
        small_image, small_soft = self._small(picture, soft)
        figures = mask_only_figures(masks, shape) | small_figures(small_image, small_soft)
        figures["confidence"] = confidence(figures, self._config.second_network)
        if figures["confidence"] < self._config.confidence_threshold:
            raise RefusedError(
                Reason.LOW_CONFIDENCE,
                f"confidence {figures['confidence']:.2f} is under the threshold {self._config.confidence_threshold:g}",
                small_image,
                small_soft,
                Facts(scores=figures),
            )
        alpha = self._refine(picture, soft, [one.window for one in masks])
        pixels = self._output(picture, alpha)
        return DeviceCut(on.download(png_up(on, pixels)), pixels.shape, figures)

    def _small(self, picture: DeviceArray, soft: DeviceArray) -> tuple[Rgb, Alpha]:
        """Photograph and mask by means of areas at `small_size`, on the host."""
        on, (height, width) = self._on, small_size(picture.shape)
        image, alpha = on.empty((height, width, 3), np.uint8), on.empty((height, width), np.float32)
        on.launch(
            "foreground_reduce",
            (blocks(width, 32), blocks(height, 8), 1),
            (32, 8, 1),
            *(picture, picture.row_bytes, soft, soft.row_bytes, image, alpha),
            *(soft.shape[0], soft.shape[1], height, width),
        )
        return on.download(image), on.download(alpha)

    def _output(self, picture: DeviceArray, alpha: DeviceArray) -> DeviceArray:
        on, config = self._on, self._config
        if config.output == "matte":
            return alpha_bytes(on, alpha)
        front = estimate_foreground(on, picture, alpha)
        if self._background is None:
            return compose_rgba(on, front, alpha)
        behind = fitted(self._background, front.shape)
        given = on.upload(behind) if behind.ndim == 3 else tuple(int(value) for value in behind)
        return compose_over(on, front, alpha, given)
