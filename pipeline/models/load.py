"""Networks of a job, loaded where it runs them: see `engines.place` for how that is chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.engines.open_engine import ensure_at, open_engine
from mattemill.pipeline.engines.place import CPU, Place
from mattemill.pipeline.errors import ConfigError, ModelError
from mattemill.pipeline.matting.band_refiner import BandRefiner
from mattemill.pipeline.matting.network_refiner import MattingNetworkRefiner
from mattemill.pipeline.matting.vitmatte import VitMatteRefiner
from mattemill.pipeline.models.cache import file_sha256, model_path
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.cards import DEFAULT_MODEL, card_of
from mattemill.pipeline.models.coco_boxes import CocoDetector
from mattemill.pipeline.models.nanodet import NanodetDetector
from mattemill.pipeline.models.rtdetr import RtdetrDetector
from mattemill.pipeline.models.saliency import SaliencyNetwork
from mattemill.pipeline.models.yolox import YoloxDetector

if TYPE_CHECKING:
    from mattemill.pipeline.engines.builder import BuildProgress

LOCALISER = DEFAULT_MODEL
"""The saliency network that finds the subject on the full frame, whichever one cuts it."""

_MATTING_CARDS = {"network": "mattenet", "vitmatte": "vitmatte_small"}
_DETECTOR_CARDS = {"yolox": "yolox_nano", "nanodet": "nanodet_m", "rtdetr": "rtdetr_v2_r18"}
_DETECTORS: dict[str, Callable[[ModelCard, Engine], CocoDetector]] = {
    "yolox": YoloxDetector,
    "nanodet": NanodetDetector,
    "rtdetr": RtdetrDetector,
}


def load_localiser(config: JobConfig, place: Place = CPU) -> SaliencyNetwork:
    """The network that finds the subject. Raises as `load_saliency`."""
    return load_saliency(LOCALISER, place, file=_own_file(config, LOCALISER))


def load_segmenter(config: JobConfig, place: Place = CPU, localiser: SaliencyNetwork | None = None) -> SaliencyNetwork:
    """The network that cuts: the localiser, where it is the same. Raises as `load_saliency`."""
    if localiser is not None and config.model == LOCALISER:
        return localiser
    return load_saliency(config.model, place, file=_own_file(config, config.model))


def load_saliency(name: str, place: Place = CPU, threads: int = 1, *, file: Path | None = None) -> SaliencyNetwork:
    """A saliency network by the name of its card. file: that does what the card says; None = the card's own.

    Raises ConfigError when the model does something else, ModelError, EngineError, DeviceError.
    """
    card = card_of(name)
    if card.task != "saliency":
        raise ConfigError(f"model = {name!r} is a {card.task} network and makes no mask; take u2netp, u2net or isnet")
    return SaliencyNetwork(card, open_engine(card, file or model_path(name), place, threads))


def load_second(config: JobConfig, loaded: SaliencyNetwork, place: Place = CPU) -> SaliencyNetwork | None:
    """The network that is asked where the first ones leave doubt; None when the job has none.

    loaded: the segmenting network, which may be it; place: where that runs. Raises as `load_saliency`.
    """
    if config.second_network == "none":
        return None
    return loaded if loaded.card.name == config.second_network else load_saliency(config.second_network, place)


def load_matting(place: Place = CPU, step: int = 2, threads: int = 1) -> BandRefiner:
    """Our own matting network; step as `MattingNetworkRefiner` has it. Raises ModelError, EngineError, DeviceError."""
    return MattingNetworkRefiner(_matting_engine("network", place, threads), step)


def load_vitmatte(place: Place = CPU, threads: int = 1) -> BandRefiner:
    """ViTMatte. Raises ModelError, EngineError, DeviceError."""
    return VitMatteRefiner(matting_card("vitmatte"), _matting_engine("vitmatte", place, threads))


def matting_card(refine: str) -> ModelCard:
    """Of the network behind refine = 'network' or 'vitmatte'."""
    return card_of(_MATTING_CARDS[refine])


def load_detector(config: JobConfig, place: Place = CPU, threads: int = 1) -> CocoDetector | None:
    """The COCO detector that the job asks for, from the user's own file; None for 'saliency'.

    The file may be another training of the same architecture and size; its hash is in the job's fingerprint.
    Raises ModelError when it cannot be read, EngineError when it is another network.
    """
    if config.detector == "saliency":
        return None
    card = card_of(_DETECTOR_CARDS[config.detector])
    engine = open_engine(card, _detector_file(config), place, threads)
    return _DETECTORS[config.detector](card, engine)


def ensure_engines(config: JobConfig, place: Place, on_progress: Callable[[BuildProgress], None]) -> None:
    """Build what the cache lacks of the engines that the job needs at this place, so that its workers find them.

    Returns at once where the place needs none. What `on_progress` raises ends the build that runs, and comes out.
    Raises ModelError, EngineError, DeviceError, UsageError.
    """
    if place.engine == "onnxruntime":
        return
    for card, path in _networks(config):
        ensure_at(card, path, place, on_progress=on_progress)


def saliency_file(config: JobConfig, name: str) -> Path:
    """Of a saliency network of the job: `model_file` is that of its `model`. Raises ModelError when it is not there."""
    return _own_file(config, name) or model_path(name)


def saliency_networks(config: JobConfig) -> dict[str, str]:
    """Names of cards by role, for every network that finds or segments in the job."""
    names = {"detect": LOCALISER, "segment": config.model}
    return names | ({"segment_second": config.second_network} if config.second_network != "none" else {})


def model_hashes(config: JobConfig) -> dict[str, str]:
    """sha256 by role, for every network that takes part in the job; for its fingerprint.

    The networks of cards need not be fetched for this; the user's own files are read.
    """
    hashes = {role: _sha256(config, name) for role, name in saliency_networks(config).items()}
    if config.refines_by_network:
        hashes["matte"] = matting_card(config.refine).sha256
    if config.detector != "saliency":
        hashes["detect_coco"] = file_sha256(_detector_file(config))
    return hashes


def _networks(config: JobConfig) -> list[tuple[ModelCard, Path]]:
    """The card and the file of every network that the job runs, each once."""
    names = dict.fromkeys(saliency_networks(config).values())
    found = [(card_of(name), saliency_file(config, name)) for name in names]
    if config.refines_by_network:
        card = matting_card(config.refine)
        found.append((card, model_path(card.name)))
    if config.detector != "saliency":
        found.append((card_of(_DETECTOR_CARDS[config.detector]), _detector_file(config)))
    return found


def _own_file(config: JobConfig, name: str) -> Path | None:
    if config.model_file is None or name != config.model:
        return None
    path = Path(config.model_file).expanduser()
    if not path.is_file():
        raise ModelError(f"model_file {path}: no such file; leave it out for {name} as its card has it")
    return path


def _sha256(config: JobConfig, name: str) -> str:
    file = _own_file(config, name)
    return card_of(name).sha256 if file is None else file_sha256(file)


def _matting_engine(refine: str, place: Place, threads: int) -> Engine:
    card = matting_card(refine)
    return open_engine(card, model_path(card.name), place, threads)


def _detector_file(config: JobConfig) -> Path:
    path = Path(config.detector_model or "").expanduser()
    if not path.is_file():
        raise ModelError(
            f"detector_model {path}: no such file; `mattemill models list` says where to get the network of "
            f"{_DETECTOR_CARDS[config.detector]}"
        )
    return path
