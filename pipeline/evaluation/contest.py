"""What takes part in an evaluation: recipes, each with one or several ways of refining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.engines.place import place_of
from mattemill.pipeline.errors import UsageError
from mattemill.pipeline.evaluation.closed_form import ClosedFormRefiner
from mattemill.pipeline.evaluation.needs import needed
from mattemill.pipeline.recipes import DEFAULT, Recipe
from mattemill.pipeline.stages.refine import Refiner, make_refiner

CLOSED_FORM: Final = "closed_form"
"""A way of refining that only evaluation knows."""

_MEASURED: Final[Mapping[str, Any]] = {
    # What is compared with the truth is the matte in the photograph's own frame.
    "output": "matte",
    "background": None,
    "shadow": "none",
    "match_colour": 0.0,
    "canvas": None,
    "margin": None,
    "upscale": False,
    # Low confidence must not hide a result.
    "confidence_threshold": 0.0,
}

TrimapChoice = Literal["auto", "supplied", "supplied2"]


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way of cutting, to be measured.

    config: gives out a matte in the photograph's frame, and has a confidence threshold of 0, so that low confidence
    hides no result. threshold: the recipe's own.
    closed_form: closed-form matting instead of the config's refinement. trimap: 'auto', or 'supplied' ('supplied2') for
    the set's own from trimap/ (trimap2/) where there is one.
    """

    name: str
    config: JobConfig
    threshold: float
    closed_form: bool = False
    trimap: TrimapChoice = "auto"

    def refiner(self) -> Refiner:
        """What finds alpha in the band. Raises UsageError when closed-form matting is not installed."""
        return ClosedFormRefiner() if self.closed_form else make_refiner(self.config, place_of(self.config))


def contestants(
    recipes: Sequence[Recipe],
    refines: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    trimap: TrimapChoice = "auto",
) -> tuple[Contestant, ...]:
    """Each recipe (the default one when there are none) with each refinement (its own when there are none).

    overrides: settings over all recipes. A name is the recipe's, the refinement's behind a '+' where several are
    compared, and that alone where there is one recipe. Raises UsageError for two of one name, ConfigError.
    """
    found = []
    for recipe in recipes or (Recipe(DEFAULT),):
        for refine in refines or (None,):
            name = recipe.name
            over = dict(overrides or {})
            if refine is not None:
                name = refine if len(recipes) <= 1 and len(refines) > 1 else f"{recipe.name}+{refine}"
                if refine == CLOSED_FORM:
                    needed("pymatting", f"--refine {CLOSED_FORM}")
                over["refine"] = "none" if refine == CLOSED_FORM else refine
            config = recipe.config(over)
            strict = replace(config, **_MEASURED)
            found.append(Contestant(name, strict, config.confidence_threshold, refine == CLOSED_FORM, trimap))
    twice = next((c.name for i, c in enumerate(found) if c.name in {d.name for d in found[:i]}), None)
    if twice is not None:
        raise UsageError(
            f"recipe {twice}: takes part twice; each needs a name of its own (a file is named after itself)"
        )
    return tuple(found)
