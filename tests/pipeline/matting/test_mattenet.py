"""The shipped matting network: what it does to edges whose truth is known, on photographs of the samples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from mattemill.pipeline.models.cache import model_path
from mattemill.pipeline.models.card import Shipped
from mattemill.pipeline.models.cards import card_of
from mattemill.pipeline.models.load import load_matting
from mattemill.pipeline.stages.refine import GuidedRefiner, NetworkRefiner

Planes = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def network() -> NetworkRefiner:
    return NetworkRefiner(load_matting())


def tuft(side: int = 384) -> tuple[npt.NDArray[np.uint8], Planes]:
    """A ball with hairs on a background of another colour, drawn four times finer: the photograph and its alpha."""
    rng = np.random.default_rng(5)
    fine = np.zeros((side * 4, side * 4), np.uint8)
    middle, radius = side * 2, side
    cv2.circle(fine, (middle, middle), radius, 255, -1)
    for angle in rng.uniform(0, 2 * np.pi, 500):
        steps = np.linspace(0.9, rng.uniform(1.1, 1.45), 12)
        bend = angle + rng.normal(0, 0.15) * (steps - 0.9)
        points = np.stack([middle + radius * steps * np.cos(bend), middle + radius * steps * np.sin(bend)], 1)
        cv2.polylines(fine, [np.round(points).astype(np.int32)], False, 255, int(rng.integers(3, 7)), cv2.LINE_AA)
    alpha = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    rows, columns = np.mgrid[:side, :side] / side
    front = np.stack([120 + 40 * rows, 70 + 20 * columns, np.full_like(rows, 40)], 2)
    back = np.stack([150 + 60 * columns, 190 - 30 * rows, np.full_like(rows, 210)], 2)
    mixed = alpha[..., None] * front + (1 - alpha[..., None]) * back + rng.normal(0, 2, (side, side, 3))
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8), alpha


def as_a_network_sees(alpha: Planes) -> Planes:
    small = cv2.resize(alpha, (64, 64), interpolation=cv2.INTER_AREA)
    return np.clip(cv2.resize(small, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)


def test_it_ships_with_the_package_and_is_the_file_of_its_card() -> None:
    card = card_of("mattenet")
    assert isinstance(card.source, Shipped)
    assert model_path("mattenet").stat().st_size == card.size_bytes < 12_000_000


def test_its_sides_are_dynamic() -> None:
    session = onnxruntime.InferenceSession(str(model_path("mattenet")), providers=["CPUExecutionProvider"])
    for batch, height, width in ((1, 32, 64), (2, 96, 32)):
        (lines,) = session.run(["lines"], {"given": np.zeros((batch, 7, height, width), np.float32)})
        assert lines.shape == (batch, 5, height // 2, width // 2)


def test_hair_comes_out_closer_than_from_the_mask_and_from_the_guided_filter(network: NetworkRefiner) -> None:
    image, alpha = tuft()
    soft = as_a_network_sees(alpha)
    errors = [
        float(np.abs(found - alpha).sum()) for found in (network(image, soft), GuidedRefiner()(image, soft), soft)
    ]
    assert errors[0] < 0.8 * errors[1]
    assert errors[0] < 0.6 * errors[2]


def test_a_given_trimap_is_honoured_and_filled(network: NetworkRefiner) -> None:
    image, alpha = tuft()
    distance = cv2.distanceTransform(((alpha < 0.01) | (alpha > 0.99)).astype(np.uint8), cv2.DIST_L2, 3)
    bands = np.where(distance > 6, np.where(alpha > 0.5, 255, 0), 128).astype(np.uint8)
    prior = bands.astype(np.float32) / 255
    found = network(image, prior, bands)
    assert (found[bands == 255] == 1).all()
    assert (found[bands == 0] == 0).all()
    assert np.abs(found - alpha)[bands == 128].mean() < 0.5 * np.abs(prior - alpha)[bands == 128].mean()


def test_a_sharp_edge_is_left_to_the_guided_filter(network: NetworkRefiner) -> None:
    rows, columns = np.mgrid[:600, :800]
    alpha = np.clip((220 - np.hypot(rows - 300, columns - 400)) / 2 + 0.5, 0, 1).astype(np.float32)
    image = np.round(alpha[..., None] * 200 + (1 - alpha[..., None]) * np.array([30, 60, 90])).astype(np.uint8)
    assert np.array_equal(network(image, alpha), GuidedRefiner()(image, alpha))


def test_a_sharp_edge_stays_sharp(network: NetworkRefiner) -> None:
    rows, columns = np.mgrid[:600, :800]
    alpha = np.clip((220 - np.hypot(rows - 300, columns - 400)) / 2 + 0.5, 0, 1).astype(np.float32)
    image = np.round(alpha[..., None] * 200 + (1 - alpha[..., None]) * np.array([30, 60, 90])).astype(np.uint8)
    soft = as_a_network_sees(alpha)
    assert np.abs(network(image, soft) - alpha).sum() < 0.2 * np.abs(soft - alpha).sum()


def test_a_given_trimap_makes_the_mask_not_matter(network: NetworkRefiner) -> None:
    image, alpha = tuft()
    bands = np.where(as_a_network_sees(alpha) > 0.95, 255, np.where(as_a_network_sees(alpha) < 0.05, 0, 128))
    bands = bands.astype(np.uint8)
    assert np.array_equal(network(image, alpha, bands), network(image, np.zeros_like(alpha), bands))


def test_a_mask_that_is_all_doubt_is_left_as_it_is(network: NetworkRefiner) -> None:
    image, alpha = tuft()
    soft = 0.3 + 0.4 * as_a_network_sees(alpha)
    assert np.array_equal(network(image, soft), soft)
    soft[180:200, 180:200] = 1  # a little that is sure changes nothing
    assert np.array_equal(network(image, soft), soft)


@pytest.mark.slow
def test_a_photograph_of_50_megapixels_takes_less_than_2_gb() -> None:
    script = """
import re
import cv2
import numpy as np
from mattemill.pipeline.models.load import load_matting
from mattemill.pipeline.stages.refine import NetworkRefiner
cv2.setNumThreads(1)
height, width = 5774, 8660
image = cv2.resize(np.random.default_rng(1).integers(0, 255, (144, 216, 3), dtype=np.uint8), (width, height))
rows, columns = np.mgrid[: height // 16, : width // 16]
small = np.clip((150 - np.hypot(rows - 180, columns - 270)) / 30 + 0.5, 0, 1).astype(np.float32)
found = NetworkRefiner(load_matting())(image, cv2.resize(small, (width, height)))
assert found.shape == (height, width)
assert 0 < found.mean() < 1
# Not ru_maxrss: a process that was started by fork or vfork begins with its parent's peak, here that of all tests.
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path.home())
    kilobytes = int(done.stdout)
    assert kilobytes < 2_000_000
