"""Recipes: settings under a name or in a file, and what they cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from mattemill.pipeline.config import PIXEL_FIELDS, JobConfig
from mattemill.pipeline.errors import ConfigError, UsageError
from mattemill.pipeline.recipes import RECIPE_FIELDS, RECIPES, Recipe, find_recipe


def test_the_default_recipe_is_the_defaults() -> None:
    assert RECIPES["default"].config() == JobConfig()


@pytest.mark.parametrize("name", ["default", "fast", "best"])
def test_a_recipe_of_ours_is_found_by_its_name_and_makes_a_config(name: str) -> None:
    recipe = find_recipe(name)
    assert recipe.name == name
    for field, value in recipe.settings.items():
        assert getattr(recipe.config(), field) == value


def test_a_recipe_file_is_named_after_itself(tmp_path: Path) -> None:
    file = tmp_path / "hair.toml"
    file.write_text('refine = "none"\ncrop_margin = 0.2\nconfidence_threshold = 0\n')
    recipe = find_recipe(str(file))
    assert recipe.name == "hair"
    assert recipe.config() == JobConfig(refine="none", crop_margin=0.2, confidence_threshold=0.0)


def test_overrides_win_over_the_recipe() -> None:
    assert Recipe("x", {"refine": "none", "model": "isnet"}).config({"refine": "guided"}) == JobConfig(
        model="isnet", refine="guided"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('refine = "none"\nrefine = "guided"\n', r"x\.toml: cannot be read as TOML"),
        ("workers = 4\n", r"x\.toml: recipe x: sets 'workers'; a recipe sets only how photographs are cut"),
        ("crop_margn = 0.1\n", r"x\.toml: recipe x: sets 'crop_margn'"),
        ('refine = "magic"\n', r"x\.toml: recipe x: refine = 'magic': must be one of"),
        ('crop_margin = "wide"\n', r"x\.toml: recipe x: .*crop_margin = 'wide' must be of type float"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        find_recipe(str(file))


def test_an_unknown_recipe_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="recipe 'fastest': is neither default, fast, best nor a TOML file"):
        find_recipe("fastest")


def test_every_setting_that_changes_pixels_may_be_in_a_recipe() -> None:
    assert set(PIXEL_FIELDS) < set(RECIPE_FIELDS)
    assert "workers" not in RECIPE_FIELDS
