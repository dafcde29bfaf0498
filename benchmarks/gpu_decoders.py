"""Of benchmarks/gpu.py: the two JPEG decoders of the device chain alone, beside each other. Not yet run on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench import say

from mattemill.kernels.cuda.cpu_driver import CpuDriver
from mattemill.kernels.cuda.device import Device, DeviceArray
from mattemill.kernels.cuda.staging import Staging
from mattemill.pipeline.device_chain.device_decoder import DeviceDecoder
from mattemill.pipeline.engines.open_engine import lane_here
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.photo import Photo

Rate = Callable[[Callable[[], list[Any]]], tuple[float, tuple[int, int]]]


def decoder_rates(photos: Sequence[Photo], rate: Rate, device: str) -> dict[str, float]:
    """Images a second from files to pictures on the device, and of nvImageCodec's check for damage, on one core.

    rate: runs a function again and again: images a second, and how many it made. device: 'cpu' only to try it: the CPU
    driver, and nvImageCodec's CPU backend.
    """
    if device == "cuda":
        lane = lane_here(0)
        on, gpu = Device(lane.driver, stream=lane.compute), 0
    else:
        on, gpu = Device(CpuDriver()), None
    staging, decoder = Staging(on), DeviceDecoder(on, gpu)

    def by_simplejpeg() -> list[DeviceArray]:
        made = [staging.upload(decode(one.data, one.header, room=staging.room)) for one in photos]
        on.synchronise()
        return made

    def by_nvimgcodec() -> list[DeviceArray]:
        return [one for one in decoder.decode(photos) if isinstance(one, DeviceArray)]

    def by_check() -> list[Any]:
        return [decode(one.data, one.header, at_least=(1, 1)) for one in photos]

    rates = {}
    for name, run in (("simplejpeg", by_simplejpeg), ("nvimgcodec", by_nvimgcodec), ("check", by_check)):
        found, (made, _) = rate(run)
        assert made == len(photos), (name, made)
        rates[f"{name}_images_per_second"] = round(found, 1)
    say(f"decoders alone: {rates}")
    return rates
