"""Opens the device chain at a job's place: its networks and its kernels in one stream of one GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.driver import Driver
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.device_chain.device_chain import DeviceChain, why_not
from mattemill.pipeline.device_chain.device_decoder import DeviceDecoder
from mattemill.pipeline.device_chain.device_network import DeviceEngine, DeviceNetwork
from mattemill.pipeline.engines.gpus import find_gpus
from mattemill.pipeline.engines.open_engine import lane_here, open_engine
from mattemill.pipeline.engines.place import Place
from mattemill.pipeline.errors import ConfigError
from mattemill.pipeline.images.nvimgcodec_api import why_no_nvimgcodec
from mattemill.pipeline.models.cache import model_path
from mattemill.pipeline.models.card import ModelCard
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.models.load import LOCALISER, matting_card, saliency_networks


def check_chain(config: JobConfig, place: Place) -> None:
    """Raises ConfigError where the settings ask for the device chain and it cannot do what they want, or not there."""
    if config.device_chain == "off":
        return
    if config.placement == "split":
        raise ConfigError("device_chain = 'on' does a whole cut in one worker: leave placement = 'split' out")
    if lacking := why_not(config):
        raise ConfigError(f"device_chain = 'on' has no kernels for {lacking}: change that, or leave device_chain out")
    if place.engine == "onnxruntime":
        raise ConfigError(
            "device_chain = 'on' needs engine tensorrt or tensorrt_rtx on a GPU, and the networks would run on "
            f"{place}: `mattemill doctor` says what is missing"
        )
    for name in saliency_networks(config).values():
        if card_of(name).input.resample == "bilinear":
            raise ConfigError(f"device_chain = 'on': the bilinear resizing of model {name} has no kernel; leave it out")
    # A driver without a GPU of its own leaves it to the machines with one, where `open_chain` looks again.
    if config.gpu_decode == "on" and find_gpus().gpus and (lacks := why_no_nvimgcodec()):
        raise ConfigError(f"gpu_decode = 'on': {lacks}; or leave gpu_decode out")


def open_chain(
    config: JobConfig, place: Place, *, over: Callable[[Driver], Driver] = lambda driver: driver
) -> DeviceChain:
    """The chain that the settings ask for. Not yet run on a GPU.

    over: put over the driver of the kernels, such as `CountedDriver`. Raises ConfigError where the settings need what
    it has no kernels for or the engine takes no addresses on the device, ModelError, EngineError, DeviceError.
    """
    check_chain(replace(config, device_chain="on"), place)
    lane = lane_here(place.gpu)
    # In the stream in which the engines run: nothing then has to wait for anything else.
    device = Device(over(lane.driver), stream=lane.compute)

    def engine(card: ModelCard) -> DeviceEngine:
        return cast(DeviceEngine, open_engine(card, model_path(card.name), place))

    def network(name: str) -> DeviceNetwork:
        return DeviceNetwork(card_of(name), engine(card_of(name)), device)

    localiser = network(LOCALISER)
    cuts = localiser if config.model == LOCALISER else network(config.model)
    second = None if config.second_network == "none" else network(config.second_network)
    matting = engine(matting_card(config.refine)) if config.refines_by_network else None
    decoder = DeviceDecoder(device, place.gpu) if config.gpu_decode == "on" else None
    chain = DeviceChain(config, device, localiser, cuts, second, matting, decoder, lane.lose)
    lane.before_close(chain.close)
    return chain
