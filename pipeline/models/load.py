"""Networks of a job, loaded on a device."""

from __future__ import annotations

from pathlib import Path

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.errors import ConfigError, ModelError
from mattemill.pipeline.models.cache import file_sha256, model_path
from mattemill.pipeline.models.cards import DEFAULT_MODEL, card_of
from mattemill.pipeline.models.coco_boxes import CocoDetector
from mattemill.pipeline.models.nanodet import NanodetDetector
from mattemill.pipeline.models.saliency import SaliencyNetwork
from mattemill.pipeline.models.yolox import YoloxDetector

LOCALISER = DEFAULT_MODEL
"""The saliency network that finds the subject on the full frame, whichever one cuts it."""

MATTING = "mattenet"
"""The network that refines the edge band when `refine` is 'network'."""

_DETECTOR_CARDS = {"yolox": "yolox_nano", "nanodet": "nanodet_m"}


def load_saliency(name: str, device: str, threads: int = 1) -> SaliencyNetwork:
    """A saliency network by the name of its card.

    Raises ConfigError when the model does something else, ModelError, EngineError, DeviceError.
    """
    card = card_of(name)
    if card.task != "saliency":
        raise ConfigError(f"model = {name!r} is a {card.task} network and makes no mask; take u2netp, u2net or isnet")
    engine = OnnxRuntimeEngine(model_path(name), device, threads, outputs=card.output.names, name=name)
    return SaliencyNetwork(card, engine)


def load_second(config: JobConfig, loaded: SaliencyNetwork) -> SaliencyNetwork | None:
    """The network that is asked where the first ones leave doubt; None when the job has none.

    loaded: the segmenting network, which may be it; the second is loaded where it is. Raises as `load_saliency`.
    """
    if config.second_network == "none":
        return None
    return loaded if loaded.card.name == config.second_network else load_saliency(config.second_network, loaded.device)


def load_matting(device: str, threads: int = 1) -> OnnxRuntimeEngine:
    """Our own matting network, as `MattingNetworkRefiner` drives it. Raises ModelError, EngineError, DeviceError."""
    card = card_of(MATTING)
    return OnnxRuntimeEngine(model_path(MATTING), device, threads, outputs=card.output.names, name=MATTING)


def load_detector(config: JobConfig, device: str, threads: int = 1) -> CocoDetector | None:
    """The COCO detector that the job asks for, from the user's own file; None for 'saliency'.

    The file may be another training of the same architecture and size; its hash is in the job's fingerprint.
    Raises ModelError when it cannot be read, EngineError when it is another network.
    """
    if config.detector == "saliency":
        return None
    card = card_of(_DETECTOR_CARDS[config.detector])
    path = _detector_file(config)
    engine = OnnxRuntimeEngine(path, device, threads, outputs=card.output.names, name=card.name)
    if config.detector == "yolox":
        return YoloxDetector(card, engine)
    return NanodetDetector(card, engine)


def saliency_networks(config: JobConfig) -> dict[str, str]:
    """Names of cards by role, for every network that finds or segments in the job."""
    names = {"detect": LOCALISER, "segment": config.model}
    return names | ({"segment_second": config.second_network} if config.second_network != "none" else {})


def model_hashes(config: JobConfig) -> dict[str, str]:
    """sha256 by role, for every network that takes part in the job; for its fingerprint.

    The networks of cards need not be fetched for this; a detector's own file is read.
    """
    hashes = {role: card_of(name).sha256 for role, name in saliency_networks(config).items()}
    if config.refine == "network":
        hashes["matte"] = card_of(MATTING).sha256
    if config.detector != "saliency":
        hashes["detect_coco"] = file_sha256(_detector_file(config))
    return hashes


def _detector_file(config: JobConfig) -> Path:
    path = Path(config.detector_model or "").expanduser()
    if not path.is_file():
        raise ModelError(
            f"detector_model {path}: no such file; `mattemill models list` says where to get the network of "
            f"{_DETECTOR_CARDS[config.detector]}"
        )
    return path
