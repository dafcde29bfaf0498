"""Refinement of a mask on the device: matting network, guided filter, or nothing; the twins of `stages.refine`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mattemill.kernels.crop import Window
from mattemill.kernels.cuda.band import band_matte
from mattemill.kernels.cuda.device import Device, DeviceArray
from mattemill.kernels.cuda.guided_filter import guided_filter
from mattemill.kernels.cuda.mix import mix
from mattemill.kernels.cuda.trimap import trimap
from mattemill.kernels.cuda.unsure import unsure_around, unsure_counts, unsure_share
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.device_chain.device_matting import DeviceMattingRefiner
from mattemill.pipeline.device_chain.device_network import DeviceEngine
from mattemill.pipeline.errors import ConfigError
from mattemill.pipeline.stages.refine_numbers import (
    EPS,
    HAZE,
    LEAST_UNSURE,
    MOST_UNSURE,
    NETWORK_SURE,
    around_radius,
    band_radius,
    done_of,
    filter_subsample,
    network_band_radius,
)


class DeviceRefiner(Protocol):
    """Finds alpha where a mask on the device is unsure."""

    def __call__(self, picture: DeviceArray, soft: DeviceArray, windows: Sequence[Window]) -> DeviceArray:
        """A matte, float32 (H, W), from a photograph uint8 (H, W, 3) and its mask float32 (H, W), both contiguous.

        windows: outside of them the mask is 0. Raises EngineError.
        """


class DeviceNoRefiner:
    """As `NoRefiner`."""

    def __call__(self, picture: DeviceArray, soft: DeviceArray, windows: Sequence[Window]) -> DeviceArray:
        return soft


class DeviceGuidedRefiner:
    """As `GuidedRefiner`, but around the masks' windows: where the band is, only the device knows."""

    def __init__(self, device: Device) -> None:
        self._on = device

    def __call__(self, picture: DeviceArray, soft: DeviceArray, windows: Sequence[Window]) -> DeviceArray:
        on, (height, width) = self._on, (soft.shape[0], soft.shape[1])
        radius = band_radius(soft.shape)
        bands = trimap(on, soft, radius)
        subsample = filter_subsample(radius)
        # The band is at most twice the radius and two blocks of 8 from a mask; the filter looks twice the radius on.
        around = _around(windows, 4 * radius + 16, subsample, (height, width))
        filtered = guided_filter(on, picture.window(*around), soft.window(*around), radius, EPS, subsample)
        return band_matte(on, bands, filtered, around, HAZE)


class DeviceNetworkRefiner:
    """As `NetworkRefiner`, for masks. Two numbers come back, by which the host decides how much is done."""

    def __init__(self, device: Device, network: DeviceMattingRefiner) -> None:
        self._on = device
        self._network = network
        self._guided = DeviceGuidedRefiner(device)

    def __call__(self, picture: DeviceArray, soft: DeviceArray, windows: Sequence[Window]) -> DeviceArray:
        on = self._on
        done = done_of(*unsure_counts(on, soft, *NETWORK_SURE))
        if done <= 0:
            return soft
        bands = trimap(on, soft, network_band_radius(soft.shape), *NETWORK_SURE)
        share, asked = unsure_share(
            on, unsure_around(on, soft, around_radius(soft.shape)), bands, LEAST_UNSURE, MOST_UNSURE
        )
        found = self._network(picture, soft, bands, asked)
        return mix(on, self._guided(picture, soft, windows), found, share, soft, done)


def make_device_refiner(config: JobConfig, device: Device, matting: DeviceEngine | None) -> DeviceRefiner:
    """The refiner that the config names. matting: for 'network'. Raises ConfigError where there is none of its kind."""
    match config.refine:
        case "network" if matting is not None:
            return DeviceNetworkRefiner(device, DeviceMattingRefiner(device, matting, config.matting_step))
        case "guided":
            return DeviceGuidedRefiner(device)
        case "none":
            return DeviceNoRefiner()
    raise ConfigError(f"the device chain was opened without a network for refine = {config.refine}")


def _around(windows: Sequence[Window], margin: int, block: int, shape: tuple[int, int]) -> Window:
    """Around all windows with a margin of pixels, inside (H, W); begins at a multiple of `block`."""
    left = max(0, min(window[0] for window in windows) - margin) // block * block
    top = max(0, min(window[1] for window in windows) - margin) // block * block
    right = min(shape[1], max(window[2] for window in windows) + margin)
    bottom = min(shape[0], max(window[3] for window in windows) + margin)
    return left, top, right, bottom
