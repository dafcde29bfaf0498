"""Training samples: the same from the same seed, exact, and with trimaps that say what they must."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from mattemill.kernels.trimap import BACKGROUND, FOREGROUND, UNKNOWN
from mattemill.pipeline.training import bank, priors
from mattemill.pipeline.training.composites import Composite, composite
from mattemill.pipeline.training.foregrounds import KINDS
from mattemill.pipeline.training.layer import extended, over, painted
from mattemill.pipeline.training.photographs import photographs, sources
from mattemill.pipeline.training.preview import preview
from mattemill.pipeline.training.sample import Sample
from mattemill.pipeline.training.samples import LEAST_UNKNOWN, MOST_UNKNOWN, Maker, sample_maker

_FIELDS = ("closed", "photo", "alpha", "front", "back", "trimap", "prior")
_SIZE = 96
_MAKE = Maker(5, _SIZE, "cloth")  # A kind of few layers that are soon made.


@pytest.fixture(scope="module")
def some() -> list[Sample]:
    """Samples, made once for all tests."""
    return [_MAKE(index) for index in range(14)]


def _equal(a: Sample, b: Sample) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in _FIELDS)


def test_a_sample_depends_on_its_index_and_not_on_those_made_before(some: list[Sample]) -> None:
    bank._layer_cache.clear()
    for index in (3, 11):
        assert _equal(_MAKE(index), some[index])


def test_another_process_makes_the_same_sample(some: list[Sample]) -> None:
    make = pickle.loads(pickle.dumps(_MAKE))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert _equal(pool.submit(make, 6).result(), some[6])


def test_other_seeds_and_indices_make_other_samples(some: list[Sample]) -> None:
    assert not _equal(some[0], some[1])
    assert not _equal(Maker(6, _SIZE, "cloth")(0), some[0])


def test_a_sample_has_the_shapes_that_it_promises(some: list[Sample]) -> None:
    for sample in some:
        for name in _FIELDS:
            part = getattr(sample, name)
            assert part.dtype == np.uint8
            assert part.shape == ((_SIZE, _SIZE, 3) if name in ("photo", "front", "back") else (_SIZE, _SIZE))


def test_every_sample_leaves_something_unknown_and_not_all(some: list[Sample]) -> None:
    for sample in some:
        assert set(np.unique(sample.trimap)) <= {BACKGROUND, UNKNOWN, FOREGROUND}
        assert LEAST_UNKNOWN <= (sample.trimap == UNKNOWN).mean() <= MOST_UNKNOWN


def test_the_photograph_is_the_composite_but_for_what_a_camera_does(some: list[Sample]) -> None:
    for sample in some:
        made = Composite(sample.front, sample.alpha, sample.back, False, "")
        assert np.abs(sample.photo - made.exact()).mean() < 16


def test_the_exact_composite_adds_up_front_and_back_by_alpha() -> None:
    made = composite(5, np.random.default_rng(1), 0, 64, "cloth")
    share = made.alpha[..., None] / 255.0
    expected = share * made.front + (1 - share) * made.back
    np.testing.assert_allclose(made.exact(), expected, atol=0.01)
    assert 0.02 < share.mean() < 0.98


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_every_kind_has_a_subject_a_background_and_a_border(kind: str) -> None:
    made = next(k for k in KINDS if k.name == kind).make(np.random.default_rng(3), 160)
    assert made.rgb.shape == (160, 160, 3)
    assert made.rgb.dtype == made.alpha.dtype == np.uint8
    share = (made.alpha > 12).mean()
    assert 0.01 < share < 0.99
    assert ((made.alpha > 12) & (made.alpha < 243)).any()


def test_every_kind_has_its_slots_in_the_bank() -> None:
    named = {kind.name for kind in KINDS}
    assert {kind.name for kind in bank._SLOTS} == named
    with pytest.raises(ValueError, match="there is none"):
        bank.layer_of_kind(1, "unicorn", np.random.default_rng(0), 0)


def test_the_bank_renews_its_slots_one_after_another() -> None:
    def ages(index: int) -> list[int]:
        return [(index + slot * bank.RENEWED // 100) // bank.RENEWED for slot in range(100)]

    changed = np.not_equal(ages(0), ages(bank.RENEWED // 10)).mean()
    assert 0.05 < changed < 0.15
    first, later = (bank._made(5, 40, age) for age in (0, 1))
    assert not np.array_equal(first.full, later.full)


def test_a_drawn_trimap_never_calls_known_what_is_soft_or_wrong() -> None:
    rng = np.random.default_rng(2)
    alphas = [composite(5, np.random.default_rng(n), 0, 128, "cloth").alpha for n in range(2)]
    for alpha in alphas * 5:
        marks = priors.drawn_trimap(rng, alpha)
        assert (alpha[marks == FOREGROUND] >= 253).all()
        assert (alpha[marks == BACKGROUND] <= 2).all()


def test_a_networks_mask_is_near_the_truth_and_a_wrong_one_is_farther() -> None:
    rng = np.random.default_rng(4)
    alpha = np.zeros((128, 128), np.uint8)
    alpha[:, :64] = 255
    errors = {
        make.__name__: np.mean([np.abs(make(rng, alpha) / 255.0 - alpha / 255.0).mean() for _ in range(60)])
        for make in (priors.network_mask, priors.wrong_mask)
    }
    assert 0.005 < errors["network_mask"] < 0.08
    assert errors["wrong_mask"] > 1.5 * errors["network_mask"]


def test_samples_come_with_a_mask_and_without(some: list[Sample]) -> None:
    bare = sum(np.array_equal(sample.prior, sample.trimap) for sample in some)
    assert 1 <= bare <= 9


def test_the_trimap_of_a_wrong_mask_often_contradicts_the_truth() -> None:
    rng = np.random.default_rng(6)
    alpha = np.zeros((256, 256), np.uint8)
    alpha[:, :128] = 255

    def contradicted(make: Callable[..., np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]) -> int:
        marks = [priors.mask_trimap(rng, make(rng, alpha)) for _ in range(30)]
        wrong = [((m == FOREGROUND) & (alpha == 0)) | ((m == BACKGROUND) & (alpha == 255)) for m in marks]
        return sum(bool(w.mean() > 0.01) for w in wrong)

    assert contradicted(priors.wrong_mask) >= 10
    assert contradicted(priors.network_mask) <= 3


def test_colours_go_on_where_nothing_covers() -> None:
    coverage = np.zeros((64, 64), np.float32)
    coverage[20:40, 20:40] = 1
    colour = np.asarray([0.8, 0.2, 0.4], np.float32)
    out = extended(painted(colour, coverage)[..., :3], coverage)
    np.testing.assert_allclose(out, np.broadcast_to(colour, out.shape), atol=0.02)


def test_over_is_porter_and_duffs() -> None:
    half = np.full((1, 1), 0.5, np.float32)
    red, blue = (painted(np.asarray(c, np.float32), half) for c in ((1, 0, 0), (0, 0, 1)))
    np.testing.assert_allclose(over(red, blue)[0, 0], [0.5, 0, 0.25, 0.75])


def test_no_photograph_is_evaluation_data() -> None:
    assert photographs() is photographs()
    for path in sources():
        assert "evaldata" not in path.parts
        assert "tests" in path.parts or path.parent.name in ("data", "images")


def test_a_contact_sheet_shows_every_sample(some: list[Sample]) -> None:
    sheet = preview(some[:3], columns=2)
    assert sheet.shape == (2 * _SIZE, 2 * 5 * _SIZE, 3)
    np.testing.assert_array_equal(sheet[:_SIZE, :_SIZE], some[0].photo)
    np.testing.assert_array_equal(sheet[_SIZE:, :_SIZE], some[2].photo)


def test_a_sample_of_any_kind_comes_from_the_public_maker() -> None:
    make = sample_maker(7, 64)
    assert isinstance(make(0), Sample)
    assert _equal(make(0), Maker(7, 64)(0))
