"""Tiles of the matting network joined to one matte. The engine here is a stand-in whose answer is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest

from mattemill.kernels.closed_form import closed_form_matte
from mattemill.pipeline.matting.network_refiner import INPUT, OUTPUT, MattingNetworkRefiner
from mattemill.pipeline.matting.tile_plan import MULTIPLE

Planes = npt.NDArray[np.float32]


class Lines:
    """An engine that answers with the same affine function everywhere, and remembers what it was asked."""

    device = "cpu"
    batch_limit = 1

    def __init__(self, red: float = 0.0, offset: float = 0.0, prior: float = 0.0) -> None:
        self._values = (red, 0.0, 0.0, offset, prior)
        self.shapes: list[tuple[int, ...]] = []
        self.inputs: list[Planes] = []

    def run(self, inputs: Mapping[str, Planes]) -> dict[str, Planes]:
        given = inputs[INPUT]
        self.shapes.append(given.shape)
        self.inputs.append(given)
        height, width = given.shape[2] // 2, given.shape[3] // 2
        planes = [np.full((height, width), value, np.float32) for value in self._values]
        return {OUTPUT: np.stack(planes)[None]}


def disc(height: int, width: int) -> tuple[Planes, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A soft disc, its trimap, and a photograph whose red says where one is."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot(rows - height / 2, columns - width / 2)
    soft = np.clip((min(height, width) / 3 - distance) / 20 + 0.5, 0, 1).astype(np.float32)
    bands = np.where(np.abs(soft - 0.5) < 0.49, 128, np.where(soft > 0.5, 255, 0)).astype(np.uint8)
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = (columns * 255 / max(1, width - 1)).astype(np.uint8)
    return soft, bands, image


@pytest.mark.parametrize("shape", [(700, 900), (401, 333), (40, 37), (3, 500)])
@pytest.mark.parametrize("step", [1, 2])
def test_the_closed_form_matte_passed_through_comes_out_without_seams(shape: tuple[int, int], step: int) -> None:
    soft, bands, image = disc(*shape)
    found = MattingNetworkRefiner(Lines(prior=1.0), step)(image, soft, bands)
    assert found.shape == shape
    closed = closed_form_matte(image, bands, step=2 * step)
    assert np.allclose(found[bands == 128], closed[bands == 128], atol=0.004)


def test_what_the_trimap_knows_is_honoured_exactly() -> None:
    soft, bands, image = disc(600, 600)
    found = MattingNetworkRefiner(Lines(offset=0.3))(image, soft, bands)
    assert (found[bands == 255] == 1).all()
    assert (found[bands == 0] == 0).all()
    assert np.allclose(found[bands == 128], 0.3)


def test_colours_are_read_at_their_own_place() -> None:
    soft, bands, image = disc(500, 800)
    found = MattingNetworkRefiner(Lines(red=1.0))(image, soft, bands)
    assert np.allclose(found[bands == 128], image[..., 0][bands == 128] / 255, atol=1e-5)


def test_a_trimap_without_a_band_never_calls_the_network() -> None:
    engine = Lines()
    bands = np.full((50, 60), 255, np.uint8)
    assert (
        MattingNetworkRefiner(engine)(np.zeros((50, 60, 3), np.uint8), np.ones((50, 60), np.float32), bands) == 1
    ).all()
    assert engine.shapes == []


def test_tiles_are_bounded_and_of_sizes_that_the_network_takes() -> None:
    engine = Lines(prior=1.0)
    soft, bands, image = disc(1400, 1500)
    bands[:] = 128
    MattingNetworkRefiner(engine)(image, soft, bands)
    sides = [side for shape in engine.shapes for side in shape[2:]]
    assert all(side % MULTIPLE == 0 for side in sides)
    assert max(sides) <= 352  # what engines are built for


def test_a_long_strip_is_not_mostly_padding() -> None:
    engine = Lines(prior=1.0)
    shape = (10, 60_000)
    bands = np.full(shape, 128, np.uint8)
    found = MattingNetworkRefiner(engine)(np.zeros((*shape, 3), np.uint8), np.full(shape, 0.5, np.float32), bands)
    assert found.shape == shape
    assert max(given[2] * given[3] for given in engine.shapes) <= 352 * 352
    assert sum(given[2] * given[3] for given in engine.shapes) < 4 * 10 * 60_000


def test_a_large_photograph_is_shown_smaller_and_drawn_at_full_size() -> None:
    engine = Lines(red=1.0)
    soft, bands, image = disc(2000, 4000)
    found = MattingNetworkRefiner(engine)(image, soft, bands)
    assert np.allclose(found[bands == 128], image[..., 0][bands == 128] / 255, atol=1e-5)
    seen = sum(shape[2] * shape[3] for shape in engine.shapes)
    assert seen < 2000 * 4000 / 36


def test_the_network_sees_the_mask_and_the_closed_form_matte_beside_the_photograph() -> None:
    engine = Lines(prior=1.0)
    soft, bands, image = disc(250, 250)
    rows, columns = np.mgrid[:250, :250]
    image[..., 0], image[..., 1], image[..., 2] = columns, rows, 255 * (soft > 0.5)  # a pixel's colours say where it is
    MattingNetworkRefiner(engine, step=1)(image, soft, bands)
    mask = np.where(bands == 128, soft, bands == 255)
    closed = closed_form_matte(image, bands, step=2)
    assert np.abs(closed - mask).max() > 0.1, "the two are alike: the test shows nothing"
    seen = np.zeros(bands.shape, bool)
    for given in engine.inputs:
        assert given.shape[1] == 7
        across, down = (np.round(given[0, channel] * 255).astype(int) for channel in (0, 1))
        assert np.allclose(given[0, 5], mask[down, across], atol=1e-6)
        assert np.allclose(given[0, 6], closed[down, across], atol=0.004)
        seen[down, across] = True
    assert seen[bands == 128].all()


def test_only_what_is_asked_for_is_computed() -> None:
    engine = Lines(offset=0.3)
    soft, bands, image = disc(900, 900)
    left = np.zeros(bands.shape, bool)
    left[:, :200] = True
    found = MattingNetworkRefiner(engine, step=1)(image, soft, bands, left)
    assert np.allclose(found[(bands == 128) & left], 0.3)
    far = np.zeros(bands.shape, bool)
    far[:, 600:] = True
    assert np.array_equal(found[(bands == 128) & far], soft[(bands == 128) & far])
    assert (found[bands == 255] == 1).all()
    everywhere = Lines(offset=0.3)
    MattingNetworkRefiner(everywhere, step=1)(image, soft, bands)
    assert sum(np.prod(shape) for shape in engine.shapes) < 0.5 * sum(np.prod(shape) for shape in everywhere.shapes)


def test_when_nothing_of_the_band_is_asked_for_the_network_is_not_called() -> None:
    engine = Lines(offset=0.3)
    soft, bands, image = disc(300, 300)
    found = MattingNetworkRefiner(engine)(image, soft, bands, np.zeros(bands.shape, bool))
    assert engine.shapes == []
    assert np.array_equal(found, np.where(bands == 128, soft, bands == 255))


def test_a_cell_of_a_reduced_trimap_is_known_only_where_all_of_it_is() -> None:
    engine = Lines(prior=1.0)
    bands = np.zeros((64, 3200), np.uint8)
    bands[:, 1001:1004] = 128
    bands[:, 1004:] = 255
    MattingNetworkRefiner(engine, step=1)(np.zeros((64, 3200, 3), np.uint8), np.zeros(bands.shape, np.float32), bands)
    known = engine.inputs[-1][0, 3:5].sum(0)
    assert set(np.unique(known)) == {0.0, 1.0}
    assert ((1 - known).sum(1)[10:20] == 2).all()  # three unknown columns from an odd one on touch two cells of two
