"""How the network, the guided filter and the mask are mixed. The network here is a stand-in whose answer is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from mattemill.pipeline.stages import refine_numbers
from mattemill.pipeline.stages.refine import GuidedRefiner, NetworkRefiner
from mattemill.pipeline.stages.refine_numbers import LEAST_UNSURE, MOST_UNSURE, NETWORK_SURE

Planes = npt.NDArray[np.float32]


class Says:
    """A band refiner that says one value wherever it is asked, and remembers what it was shown."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.masks: list[Planes] = []
        self.where: list[npt.NDArray[np.bool_] | None] = []

    def __call__(
        self, image: object, soft: Planes, bands: npt.NDArray[np.uint8], where: npt.NDArray[np.bool_] | None = None
    ) -> Planes:
        self.masks.append(soft)
        self.where.append(where)
        return np.where(bands == 128, np.float32(self.value), bands == 255).astype(np.float32)


def _edge(width_of_edge: float) -> tuple[npt.NDArray[np.uint8], Planes]:
    """A grey photograph and a mask whose edge, from top to bottom, is so many px wide."""
    columns = np.mgrid[:200, :1000][1]
    soft = np.clip((columns - 500) / width_of_edge + 0.5, 0, 1).astype(np.float32)
    return np.full((200, 1000, 3), 120, np.uint8), soft


def test_at_a_soft_edge_the_network_is_alone_and_at_a_sharp_one_it_is_not_asked() -> None:
    image, soft = _edge(100)
    network = Says(0.25)
    assert NetworkRefiner(network)(image, soft)[100, 500] == pytest.approx(0.25)
    (where,) = network.where
    assert where is not None
    assert where[100, 500]
    assert not where[100, 800]
    image, sharp = _edge(2)
    never = Says(0.25)
    assert np.array_equal(NetworkRefiner(never)(image, sharp), GuidedRefiner()(image, sharp))
    assert never.where == []


def test_between_soft_and_sharp_the_two_are_mixed() -> None:
    image, soft = _edge(8)
    around = 0.3  # share of unsure pixels: 7.5 px of 25
    weight = (around - LEAST_UNSURE) / (MOST_UNSURE - LEAST_UNSURE)
    assert 0 < weight < 1
    filtered = GuidedRefiner()(image, soft)
    network = Says(1.0)
    found = NetworkRefiner(network)(image, soft)
    (where,) = network.where
    assert where is not None
    counted = (found - filtered)[100, 498:502]
    assert (counted > 0.05).all()
    assert (found[100, 498:502] < 0.99).all()


def test_the_more_of_a_mask_is_doubt_the_less_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    image, soft = _edge(300)
    low, high = NETWORK_SURE
    ratio = ((soft > low) & (soft < high)).sum() / (soft >= high).sum()
    done = []
    for some, most in ((ratio, ratio + 1), (ratio - 0.5, ratio + 0.5), (ratio - 1, ratio)):
        monkeypatch.setattr(refine_numbers, "_SOME_DOUBT", some)
        monkeypatch.setattr(refine_numbers, "_ALL_DOUBT", most)
        done.append(NetworkRefiner(Says(0.75))(image, soft)[100, 500])
    assert done == pytest.approx([0.75, (0.75 + soft[100, 500]) / 2, soft[100, 500]], abs=1e-3)


def test_a_given_trimap_is_the_networks_alone_and_the_mask_is_forgotten() -> None:
    image, soft = _edge(2)
    bands = np.full(soft.shape, 128, np.uint8)
    bands[:, 900:] = 255
    network = Says(0.25)
    found = NetworkRefiner(network)(image, soft, bands)
    assert (found[:, :900] == 0.25).all()
    assert (found[:, 900:] == 1).all()
    assert network.where == [None]
    assert (network.masks[0] == 0.5).all()
