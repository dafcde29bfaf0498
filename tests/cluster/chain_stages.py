"""Stages of a job whose cut is the device chain on the CPU driver: the kernels compiled for the CPU, real networks.

Passed to a job as `stages='chain_stages'`: on a GPU the same chain is opened by `pipeline.stages.build`.
"""

from __future__ import annotations

from mattemill.kernels.cuda.cpu_driver import CpuDriver
from mattemill.kernels.cuda.device import Device
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.device_chain.device_chain import DeviceChain
from mattemill.pipeline.device_chain.device_matting import lines_shapes
from mattemill.pipeline.device_chain.device_network import DeviceNetwork, HostMemoryEngine
from mattemill.pipeline.engines.onnxruntime_engine import OnnxRuntimeEngine
from mattemill.pipeline.models.cache import model_path
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.models.load import matting_card
from mattemill.pipeline.models.load import model_hashes as model_hashes
from mattemill.pipeline.stages import build
from mattemill.pipeline.stages.stage import Stage


def build_stage(name: str, config: JobConfig, sink: str | None) -> Stage:
    """The stages of every job, but for the cut."""
    if name != "cut":
        return build.build_stage(name, config, sink)
    card, device = card_of("u2netp"), Device(CpuDriver())
    engine = OnnxRuntimeEngine(model_path("u2netp"), outputs=card.output.names, name=card.name)
    host = HostMemoryEngine(engine, {card.output.names[0]: (1, *card.input.size)})
    network = DeviceNetwork(card, host, device)
    matting = None
    if config.refine == "network":
        card = matting_card(config.refine)
        engine = OnnxRuntimeEngine(model_path(card.name), outputs=card.output.names, name=card.name)
        matting = HostMemoryEngine(engine, lines_shapes)
    return DeviceChain(config, device, network, network, matting=matting)
