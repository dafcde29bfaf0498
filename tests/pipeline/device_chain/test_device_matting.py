"""The matting network on the device is shown what it is shown on the host, and its answers are joined alike.

On the CPU driver; the networks here are stand-ins whose answer follows from what they are shown.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from mattemill.kernels.cuda.counted_driver import CountedDriver
from mattemill.kernels.cuda.cpu_build import compiler
from mattemill.kernels.cuda.cpu_driver import CpuDriver
from mattemill.kernels.cuda.device import Device
from mattemill.kernels.cuda.driver import Memory
from mattemill.kernels.cuda.errors import DeviceMemoryError
from mattemill.kernels.trimap import UNKNOWN, trimap
from mattemill.kernels.unsure import unsure_counts
from mattemill.pipeline.device_chain.device_matting import DeviceMattingRefiner, lines_shapes
from mattemill.pipeline.device_chain.device_network import HostMemoryEngine
from mattemill.pipeline.device_chain.device_refiners import DeviceNetworkRefiner
from mattemill.pipeline.engines.recipe import Shape
from mattemill.pipeline.errors import DeviceLostError, EngineError
from mattemill.pipeline.matting.network_refiner import INPUT, OUTPUT, MattingNetworkRefiner
from mattemill.pipeline.stages.refine import NetworkRefiner
from mattemill.pipeline.stages.refine_numbers import NETWORK_SURE, done_of

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs g++ to compile the kernels for the CPU")

Planes = npt.NDArray[np.float32]


class Answers:
    """An engine whose lines are what it is shown, at half the size, and a little more; notes what it was shown."""

    device = "cpu"

    def __init__(self, batch_limit: int = 1, broken: float | None = None) -> None:
        self.batch_limit = batch_limit
        self.shown: list[Planes] = []
        self._broken = broken

    def run(self, inputs: Mapping[str, Planes]) -> dict[str, Planes]:
        given = inputs[INPUT]
        self.shown.append(given.copy())
        count, _, height, width = given.shape
        halves = given.reshape(count, 7, height // 2, 2, width // 2, 2).mean((3, 5))
        lines = np.stack([halves[:, 0] - 0.5, halves[:, 5], -halves[:, 1], halves[:, 6] - 0.3, halves[:, 2]], axis=1)
        if self._broken is not None:
            lines[:, 3] = self._broken
        return {OUTPUT: np.ascontiguousarray(lines, np.float32)}


@functools.cache
def counted() -> tuple[CountedDriver, Device]:
    driver = CountedDriver(CpuDriver())
    return driver, Device(driver)


def on_device(engine: Answers, step: int) -> DeviceMattingRefiner:
    return DeviceMattingRefiner(counted()[1], HostMemoryEngine(engine, lines_shapes), step)


def discs(height: int, width: int, edge: float = 8, count: int = 1) -> tuple[npt.NDArray[np.uint8], Planes]:
    """A photograph of grain in two colours, and the mask of some soft discs that lie beside each other in it."""
    rng = np.random.default_rng(height + width)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    middle = width / count * (np.floor(columns * count / width) + 0.5)
    distance = np.hypot(rows - height / 2, columns - middle)
    soft = np.clip((0.4 * min(height, width / count) - distance) / edge + 0.5, 0, 1)
    image = soft[..., None] * (200, 120, 60) + (1 - soft[..., None]) * (40, 90, 160)
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8), soft.astype(np.float32)


def refined(
    refine: DeviceMattingRefiner, image: npt.NDArray[np.uint8], soft: Planes, bands: npt.NDArray[np.uint8]
) -> Planes:
    """In the whole band."""
    _, device = counted()
    asked = (bands == UNKNOWN).astype(np.uint8)
    return device.download(refine(*(device.upload(plane) for plane in (image, soft, bands, asked))))


def in_order(shown: Sequence[Planes]) -> list[Planes]:
    """Tiles one by one, in an order that does not depend on the runs that they were in."""
    tiles = [tile for run in shown for tile in run]
    return sorted(tiles, key=lambda tile: (tile.shape, float(tile[5].sum()), float(tile[0].sum())))


@pytest.mark.parametrize(
    ("shape", "step", "count", "radius"),
    [((90, 110), 1, 1, 3), ((130, 170), 2, 1, 3), ((96, 1700), 2, 4, 3), ((64, 1000), 2, 2, 200), ((12, 150), 2, 1, 3)],
    ids=["as it is", "at a half", "at a third, in parts", "tiles that pass into each other", "a strip"],
)
def test_the_network_is_shown_the_hosts_tiles_and_its_answers_give_the_hosts_matte(
    shape: tuple[int, int], step: int, count: int, radius: int
) -> None:
    image, soft = discs(*shape, count=count)
    bands = trimap(soft, radius, 0.1, 0.9)
    host, device = Answers(), Answers()
    expected = MattingNetworkRefiner(host, step)(image, soft, bands)
    found = refined(on_device(device, step), image, soft, bands)
    assert len(host.shown) >= count
    for one, other in zip(in_order(host.shown), in_order(device.shown), strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() < 0.02
        assert np.abs(one - other).mean() < 5e-4
    assert np.abs(found - expected).max() < 0.02
    assert np.abs(found - expected).mean() < 5e-4
    assert np.array_equal(found[bands != UNKNOWN], expected[bands != UNKNOWN])


def test_tiles_of_one_size_are_one_run_of_at_most_the_batch_limit_and_change_nothing() -> None:
    image, soft = discs(96, 1700, count=4)
    bands = trimap(soft, 3, 0.1, 0.9)
    single, together = Answers(), Answers(batch_limit=3)
    expected = refined(on_device(single, 2), image, soft, bands)
    assert np.array_equal(refined(on_device(together, 2), image, soft, bands), expected)
    assert sum(len(run) for run in together.shown) == len(single.shown)
    sizes = [run.shape[1:] for run in single.shown]
    assert len(together.shown) == sum(-(-sizes.count(size) // 3) for size in set(sizes)) < len(single.shown)
    assert max(len(run) for run in together.shown) <= 3


class Narrow(Answers):
    """An engine that fails with its words on more than some tiles; notes what it was asked for."""

    def __init__(self, fits: int, error: EngineError) -> None:
        super().__init__(batch_limit=4)
        self.asked: list[int] = []
        self._fits = fits
        self._error = error

    def run(self, inputs: Mapping[str, Planes]) -> dict[str, Planes]:
        self.asked.append(len(inputs[INPUT]))
        if self.asked[-1] > self._fits:
            raise self._error.with_traceback(None)
        return super().run(inputs)


NO_MEMORY = EngineError("model matting: no working memory on cuda:0 (DeviceMemoryError: 9 bytes are not to be had)")


def four_alike() -> tuple[npt.NDArray[np.uint8], Planes, npt.NDArray[np.uint8]]:
    """A photograph, its mask and trimap, of four tiles of one size."""
    image, soft = (np.tile(plane, (1, 4, *[1] * (plane.ndim - 2))) for plane in discs(60, 330))
    return image, soft, trimap(soft, 3, 0.1, 0.9)


def test_tiles_that_do_not_fit_together_are_tried_in_halves_and_that_is_remembered() -> None:
    given = four_alike()
    single, narrow = Answers(), Narrow(2, NO_MEMORY)
    expected = refined(on_device(single, 2), *given)
    assert {run.shape for run in single.shown} == {(1, 7, 64, 64)}, "not the case that it is to show"
    refine = on_device(narrow, 2)
    assert np.array_equal(refined(refine, *given), expected)
    assert narrow.asked == [4, 2, 2]
    assert np.array_equal(refined(refine, *given), expected)
    assert narrow.asked[3:] == [2, 2]


def test_one_tile_that_does_not_fit_is_the_engines_error() -> None:
    narrow = Narrow(0, NO_MEMORY)
    with pytest.raises(EngineError, match="no working memory"):
        refined(on_device(narrow, 2), *four_alike())
    assert narrow.asked == [4, 2, 1]


@pytest.mark.parametrize(
    "error",
    [EngineError("model matting: the forward pass failed (invalid argument)"), DeviceLostError("out of memory; gone")],
    ids=["another fault", "a lost device"],
)
def test_what_fewer_tiles_do_not_mend_is_not_tried_again(error: EngineError) -> None:
    narrow = Narrow(2, error)
    with pytest.raises(type(error)):
        refined(on_device(narrow, 2), *four_alike())
    assert narrow.asked == [4]


class Tight(CountedDriver):
    """Has no memory for the lines of four tiles; notes how much was held when tiles were to be put in.

    held: bytes, each time that memory for the input of two or more tiles was asked for.
    """

    def __init__(self) -> None:
        super().__init__(CpuDriver())
        self.held: list[int] = []
        self._now = 0

    def allocate(self, nbytes: int) -> Memory:
        tile, lines = 4 * 7 * 64 * 64, 4 * 5 * 32 * 32
        if nbytes == 4 * lines:
            raise DeviceMemoryError(f"{nbytes} bytes are not to be had")
        if nbytes in (2 * tile, 4 * tile):
            self.held.append(self._now)
        memory = super().allocate(nbytes)
        self._now += nbytes
        weakref.finalize(memory, self._give_back, nbytes)
        return memory

    def _give_back(self, nbytes: int) -> None:
        self._now -= nbytes


def test_memory_that_the_device_refuses_halves_the_tiles_too_and_nothing_of_the_try_is_held_on_to() -> None:
    image, soft, bands = four_alike()
    expected = refined(on_device(Answers(), 2), image, soft, bands)
    driver, engine = Tight(), Answers(batch_limit=4)
    device = Device(driver)
    refine = DeviceMattingRefiner(device, HostMemoryEngine(engine, lines_shapes))
    asked = (bands == UNKNOWN).astype(np.uint8)
    matte = refine(*(device.upload(plane) for plane in (image, soft, bands, asked)))
    assert np.array_equal(device.download(matte), expected)
    assert [len(run) for run in engine.shown] == [2, 2]
    assert len(driver.held) == 3
    assert driver.held[0] == driver.held[1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_lines_that_are_not_finite_are_an_error(value: float) -> None:
    image, soft = discs(60, 70)
    with pytest.raises(EngineError, match="output lines is not finite"):
        refined(on_device(Answers(broken=value), 2), image, soft, trimap(soft, 3))


def test_an_engine_of_another_network_is_refused() -> None:
    def quarters(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        _, _, height, width = shapes[INPUT]
        return {OUTPUT: (5, height // 4, width // 4)}

    image, soft = discs(60, 70)
    refine = DeviceMattingRefiner(counted()[1], HostMemoryEngine(Answers(), quarters))
    with pytest.raises(EngineError, match=r"not lines \(1, 5, 32, 32\)"):
        refined(refine, image, soft, trimap(soft, 3))


@pytest.mark.parametrize(
    ("edge", "low", "asks", "least", "most"),
    [(8, 0.0, True, 1, 1), (0.5, 0.0, False, 1, 1), (60, 0.0, True, 0.1, 0.9), (30, 0.3, False, -math.inf, 0)],
    ids=["soft edge", "sharp edge", "much doubt", "all doubt"],
)
def test_network_filter_and_mask_are_mixed_as_the_host_mixes_them(
    edge: float, low: float, asks: bool, least: float, most: float
) -> None:
    image, soft = discs(150, 170, edge)
    soft = (low + (1 - 2 * low) * soft).astype(np.float32)
    assert least <= done_of(*unsure_counts(soft, *NETWORK_SURE)) <= most, "not the case that it is to show"
    engine = Answers()
    expected = NetworkRefiner(MattingNetworkRefiner(Answers()))(image, soft)
    driver, device = counted()
    refine = DeviceNetworkRefiner(device, on_device(engine, 2))
    driver.forget()
    matte = refine(device.upload(image), device.upload(soft), [(0, 0, 170, 150)])
    assert max(driver.copied_out) <= 1024
    assert bool(engine.shown) == asks
    difference = np.abs(device.download(matte) - expected)
    assert difference.max() < 0.02
    assert difference.mean() < 1e-3
