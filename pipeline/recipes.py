"""Recipes: named settings of how a photograph is cut, to run a job with and to compare with each other.

A recipe only sets fields of `JobConfig`, those that can change a pixel and the confidence threshold; so the
fingerprint of a job holds all of it, and two recipes that set the same are the same job. Whatever the user sets
by a file or on the command line wins over it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mattemill.pipeline.config import PIXEL_FIELDS, JobConfig, load_config
from mattemill.pipeline.errors import ConfigError, UsageError

RECIPE_FIELDS: Final = (*PIXEL_FIELDS, "detector_model", "confidence_threshold")
"""What a recipe may set."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A name and the settings that differ from the defaults of `JobConfig`.

    Raises ConfigError for a setting that a recipe cannot have.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.settings:
            if name not in RECIPE_FIELDS:
                raise ConfigError(
                    f"recipe {self.name}: sets {name!r}; a recipe sets only how photographs are cut: "
                    f"{', '.join(RECIPE_FIELDS)}"
                )
        try:
            self.config()
        except ConfigError as error:
            raise ConfigError(f"recipe {self.name}: {error}") from None

    def config(self, overrides: Mapping[str, Any] | None = None) -> JobConfig:
        """The settings of a job by this recipe, with the overrides over it. Raises ConfigError."""
        return load_config(None, overrides or {}, self.settings)


DEFAULT: Final = "default"

RECIPES: Final[Mapping[str, Recipe]] = {
    recipe.name: recipe
    for recipe in (
        Recipe(DEFAULT),  # the defaults of JobConfig: the best that the figures justify for a run over everything
        Recipe("fast", {"refine": "guided"}),  # no second thought on hair: a tenth of a second less a photograph
        # u2net (165 MB, fetched first) where u2netp is in doubt: .03 IoU; mattenet at full size
        Recipe("best", {"second_network": "u2net", "matting_step": 1}),
    )
}
"""The recipes that come with mattemill, by name."""


def find_recipe(given: str) -> Recipe:
    """The recipe of that name, or of that TOML file (same keys as a job's file), which is named after the file.

    A path has a slash or a suffix: './fast' is a file, 'fast' is not. Raises UsageError when there is none, ConfigError
    when the file sets something twice, or something that a recipe cannot set.
    """
    if given in RECIPES:
        return RECIPES[given]
    path = Path(given)
    if not path.is_file():
        raise UsageError(f"recipe {given!r}: is neither {', '.join(RECIPES)} nor a TOML file")
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"recipe {path}: cannot be read as TOML ({error})") from error
    try:
        return Recipe(path.stem, settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
