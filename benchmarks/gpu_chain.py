"""The device chain against the host's way: a part of `gpu.py`."""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench import say
from gpu_decoders import decoder_rates
from gpu_jobs import OUTPUTS, SIZES, enlarged, pool_of

from mattemill.pipeline.engines.place import Place, find_engines

REFINERS = ("network", "guided")


def device_chain(given: argparse.Namespace) -> dict[str, Any]:
    """Both ways for every refiner and output; on the CPU, only to try it, in emulation and with small photographs."""
    from mattemill.kernels.cuda.counted_driver import CountedDriver
    from mattemill.kernels.cuda.driver import Driver
    from mattemill.pipeline.config import JobConfig
    from mattemill.pipeline.device_chain.open_chain import open_chain
    from mattemill.pipeline.images.encode import encode
    from mattemill.pipeline.images.header import read_header
    from mattemill.pipeline.images.nvimgcodec_api import why_no_nvimgcodec
    from mattemill.pipeline.photo import ImageRef, Photo
    from mattemill.pipeline.stages.cut import CutStage
    from mattemill.pipeline.stages.stage import Done

    place = Place("cuda:0", "tensorrt", "fp16")
    if given.device == "cuda" and (lacks := find_engines().missing["tensorrt"]):
        return {"skipped": lacks}
    counted: list[CountedDriver] = []

    def over(driver: Driver) -> Driver:
        counted.append(CountedDriver(driver))
        return counted[-1]

    with tempfile.TemporaryDirectory(prefix="mattemill-gpu-") as name:
        size = SIZES[2] if given.device == "cuda" else (200, 150)
        files = [path.read_bytes() for path in pool_of(Path(name) / "pool", SIZES[2], given.photographs)]
    if given.device == "cpu":
        files = [enlarged(data, size) for data in files]
    photos = [Photo(ImageRef(str(n), ""), read_header(d), np.frombuffer(d, np.uint8)) for n, d in enumerate(files)]
    items = [(photo,) for photo in photos]
    lacks_codec = why_no_nvimgcodec()
    rows = []
    for refine, output in itertools.product(REFINERS, OUTPUTS):
        config = JobConfig(
            model=given.model, output=output, refine=refine, device=given.device, confidence_threshold=0.0
        )
        host = CutStage(config)
        device = open_chain(config, place, over=over) if given.device == "cuda" else _emulated(config, over)

        def by_host(stage: Any = host) -> list[bytes]:
            return [encode(r.output.pixels, "png") for r in stage(items) if isinstance(r, Done)]

        def by_device(chain: Any = device) -> list[bytes]:
            return [r.output.png() for r in chain(items) if isinstance(r, Done)]

        host_rate, host_made = _rate(by_host, given.seconds, len(items))
        counted[-1].forget()
        device_rate, device_made = _rate(by_device, given.seconds, len(items))
        bytes_in, bytes_out = (sum(copied) for copied in (counted[-1].copied_in, counted[-1].copied_out))
        decoded: dict[str, Any] = {"gpu_decode_images_per_second": None}
        if not lacks_codec:
            asked = replace(config, device_chain="on", gpu_decode="on")
            decoding = open_chain(asked, place, over=over) if given.device == "cuda" else _emulated(asked, over)
            counted[-1].forget()
            decode_rate, decode_made = _rate(partial(by_device, decoding), given.seconds, len(items))
            assert decode_made[0] == device_made[0], (decode_made, device_made)
            decoded = {
                "gpu_decode_images_per_second": round(decode_rate, 2),
                "gpu_decode_bytes_in_per_image": round(sum(counted[-1].copied_in) / decode_made[1]),
            }
        rows.append(
            {
                "refine": refine,
                "output": output,
                "width": size[0],
                "height": size[1],
                "photographs": len(items),
                "cut": device_made[0],
                "cut_by_host": host_made[0],
                "host_images_per_second": round(host_rate, 2),
                "device_images_per_second": round(device_rate, 2),
                "bytes_in_per_image": round(bytes_in / device_made[1]),
                "bytes_out_per_image": round(bytes_out / device_made[1]),
                **decoded,
            }
        )
        say(f"device chain, {refine}, {output}: {device_rate:.1f} images/s, the host's way {host_rate:.1f}")
    return {
        "model": given.model,
        "place": str(place) if given.device == "cuda" else "cpu, emulated",
        "decoders": {"skipped": lacks_codec}
        if lacks_codec
        else decoder_rates(photos, partial(_rate, seconds=given.seconds, images=len(photos)), given.device),
        "rows": rows,
    }


def _emulated(config: Any, over: Any) -> Any:
    """The chain on the CPU driver; where asked for, with nvImageCodec's CPU backend."""
    from mattemill.kernels.cuda.cpu_driver import CpuDriver
    from mattemill.kernels.cuda.device import Device
    from mattemill.pipeline.device_chain.device_chain import DeviceChain
    from mattemill.pipeline.device_chain.device_decoder import DeviceDecoder
    from mattemill.pipeline.device_chain.device_matting import lines_shapes
    from mattemill.pipeline.device_chain.device_network import DeviceNetwork, HostMemoryEngine
    from mattemill.pipeline.engines.open_engine import open_engine
    from mattemill.pipeline.models.cache import model_path
    from mattemill.pipeline.models.cards import card_of
    from mattemill.pipeline.models.load import matting_card

    card, matting = card_of(config.model), None
    device = Device(over(CpuDriver()))
    if config.refines_by_network:
        small = matting_card(config.refine)
        matting = HostMemoryEngine(open_engine(small, model_path(small.name)), lines_shapes)
    engine = HostMemoryEngine(open_engine(card, model_path(card.name)), {card.output.names[0]: (1, *card.input.size)})
    network = DeviceNetwork(card, engine, device)
    decoder = DeviceDecoder(device, None) if config.gpu_decode == "on" else None
    return DeviceChain(config, device, network, network, matting=matting, decoder=decoder)


def _rate(run: Callable[[], list[Any]], seconds: float, images: int) -> tuple[float, tuple[int, int]]:
    """Images a second after one run to warm up; how many files a run made, and images of all runs, the first too."""
    made = len(run())
    began, runs = time.perf_counter(), 0
    while runs == 0 or time.perf_counter() - began < seconds:
        again = len(run())
        assert again == made, (again, made)
        runs += 1
    return runs * images / (time.perf_counter() - began), (made, (runs + 1) * images)
