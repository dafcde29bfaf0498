"""Folders with ground truth: what pairs, what counts, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.evaluation.datasets import derived_band, open_sets, read_trimap, read_truth


def put(path: Path, pixels: npt.NDArray[np.uint8] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels if pixels is not None else np.zeros((4, 6), np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of two photographs, one with an alpha and one with a mask."""
    put(tmp_path / "set" / "image" / "a.jpg", np.zeros((4, 6, 3), np.uint8))
    put(tmp_path / "set" / "image" / "b.png", np.zeros((4, 6, 3), np.uint8))
    put(tmp_path / "set" / "alpha" / "a.png")
    put(tmp_path / "set" / "mask" / "a.png")
    put(tmp_path / "set" / "mask" / "b.png")
    return tmp_path / "set"


def test_a_photograph_takes_the_best_truth_of_its_name(folder: Path) -> None:
    (found,) = open_sets(folder)
    assert [(e.name, e.kind) for e in found.examples] == [("a", "alpha"), ("b", "mask")]
    assert not found.apart


def test_a_folder_of_sets_is_opened_by_name(folder: Path) -> None:
    put(folder.parent / "other" / "image" / "c.png")
    put(folder.parent / "other" / "mask" / "c.png")
    (folder.parent / "README.md").write_text("not a set")
    assert [each.name for each in open_sets(folder.parent)] == ["other", "set"]
    assert [each.name for each in open_sets(folder.parent, ["set"])] == ["set"]
    with pytest.raises(UsageError, match=r"no set 'sat'; it has other, set"):
        open_sets(folder.parent, ["sat"])


def test_a_limit_takes_the_first_of_each_set(folder: Path) -> None:
    assert [e.name for e in open_sets(folder, limit=1)[0].examples] == ["a"]


def test_masks_of_the_main_instance_are_apart(tmp_path: Path) -> None:
    put(tmp_path / "image" / "a.png")
    put(tmp_path / "image" / "b.png")
    put(tmp_path / "mask_main" / "a.png")
    (tmp_path / "instances.json").write_text("{}")
    (found,) = open_sets(tmp_path)
    assert found.apart
    assert found.instances == tmp_path / "instances.json"
    assert [e.kind for e in found.examples] == ["mask_main", None]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: put(f / "image" / "c.png"), r"c\.png: has no truth in alpha/ or mask/"),
        (lambda f: put(f / "alpha" / "z.png"), r"z\.png: there is no photograph image/z"),
        (lambda f: put(f / "trimap" / "z.png"), r"z\.png: there is no photograph image/z.*trimap"),
        (lambda f: put(f / "image" / "a.png"), "same name as a.jpg"),
    ],
)
def test_what_does_not_pair_is_named(folder: Path, spoil: object, message: str) -> None:
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(UsageError, match=message):
        open_sets(folder)


def test_a_folder_that_is_no_set_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds neither image/ nor folders with image/"):
        open_sets(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        open_sets(tmp_path / "nothing")
    put(tmp_path / "image" / "a.png")
    with pytest.raises(UsageError, match="none of alpha/, mask/, mask_main/"):
        open_sets(tmp_path)


def test_a_grey_128_in_a_mask_does_not_count(folder: Path) -> None:
    put(folder / "mask" / "b.png", np.array([[0, 255, 128, 255, 0, 0]] * 4, np.uint8))
    truth = read_truth(open_sets(folder)[0].examples[1], (4, 6))
    assert truth.counted is not None
    assert truth.counted[0].tolist() == [True, True, False, True, True, True]
    assert truth.alpha[0].tolist() == [0, 1, 0, 1, 0, 0]
    assert not truth.soft


def test_a_grey_128_in_an_alpha_is_half_of_it(folder: Path) -> None:
    put(folder / "alpha" / "a.png", np.array([[0, 255, 128, 255, 0, 51]] * 4, np.uint8))
    truth = read_truth(open_sets(folder)[0].examples[0], (4, 6))
    assert truth.counted is None
    assert truth.soft
    np.testing.assert_allclose(truth.alpha[0], [0, 1, 128 / 255, 1, 0, 0.2], rtol=1e-6)


def test_a_truth_may_have_16_bits_or_be_a_cut_out(folder: Path) -> None:
    example = open_sets(folder)[0].examples[0]
    assert example.truth is not None
    Image.fromarray(np.full((4, 6), 32768, np.uint16)).save(example.truth)
    np.testing.assert_allclose(read_truth(example, (4, 6)).alpha, 32768 / 65535, rtol=1e-6)
    rgba = np.full((4, 6, 4), (10, 200, 30, 51), np.uint8)
    Image.fromarray(rgba).save(example.truth)
    np.testing.assert_allclose(read_truth(example, (4, 6)).alpha, 0.2, rtol=1e-6)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((5, 6), np.uint8), "is 6x5, its photograph as shown 6x4"),
        (np.full((4, 6, 3), (1, 2, 3), np.uint8), "is a colour picture"),
        (np.ones((4, 6), np.uint8), "a mask is 0 and 255, this one ends at 1"),
    ],
)
def test_a_file_that_is_no_mask_of_the_photograph_is_named(
    folder: Path, pixels: npt.NDArray[np.uint8], message: str
) -> None:
    put(folder / "mask" / "b.png", pixels)
    with pytest.raises(UsageError, match=message):
        read_truth(open_sets(folder)[0].examples[1], (4, 6))


def test_a_file_that_is_no_picture_is_named(folder: Path) -> None:
    (folder / "mask" / "b.png").write_bytes(b"a text")
    with pytest.raises(UsageError, match=r"b\.png: is not a picture"):
        read_truth(open_sets(folder)[0].examples[1], (4, 6))


def test_the_band_is_the_sets_trimap_where_it_has_one(folder: Path) -> None:
    put(folder / "trimap" / "a.png", np.array([[0, 0, 128, 100, 255, 255]] * 4, np.uint8))
    truth = read_truth(open_sets(folder)[0].examples[0], (4, 6))
    assert truth.supplied_band
    assert truth.band[0].tolist() == [False, False, True, True, False, False]
    assert read_trimap(folder / "trimap" / "a.png", (4, 6))[0].tolist() == [0, 0, 128, 128, 255, 255]


def test_the_derived_band_reaches_one_percent_from_soft_pixels_and_from_the_contour() -> None:
    truth = np.zeros((60, 500), np.float32)
    truth[:, 100:300] = 1
    truth[30, 400] = 0.3
    truth[10, 450] = 0.01  # the haze of a truth that a network made
    band = derived_band(truth)
    assert band[0, 94:106].all()
    assert not band[0, 92]
    assert not band[0, 108]
    assert band[30, 395:406].all()
    assert not band[30, 394]
    assert not band[:, 420:].any()


def test_a_truth_of_one_value_has_no_band() -> None:
    assert not derived_band(np.zeros((10, 10), np.float32)).any()


def test_the_shared_collection_is_read_whole(evaldata: Path) -> None:
    sets = {each.name: each for each in open_sets(evaldata)}
    assert {name: len(each.examples) for name, each in sets.items()} == {
        "aim_samples": 2,
        "alphamatting27": 14,
        "am2k_samples": 7,
        "coco_tiny100": 33,
        "davis20": 10,
        "p3m_samples": 6,
        "products_bigbird6": 3,
        "vgg_iseg151": 76,
    }
    assert [name for name, each in sets.items() if each.apart] == ["coco_tiny100"]
    assert all(e.trimap is not None and e.kind == "alpha" for e in sets["alphamatting27"].examples)
