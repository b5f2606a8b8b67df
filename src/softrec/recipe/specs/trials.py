"""Settings that are tried before a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from softrec.errors import RecipeError
from softrec.recipe.specs.models import is_counted
from softrec.settings import Rounds, Settings, setting

if TYPE_CHECKING:
    from softrec.recipe.recipe import Recipe

SECTIONS = ("model", "target", "loss", "candidates", "weights", "training", "interest")
"""Where settings are that can be tried; the data and the evaluation are the same for all."""
BUDGET = (
    "training.epochs", "training.patience", "training.monitor", "training.start", "training.refit",
)  # fmt: skip
"""Fields in these sections that must be the same for all, so that they are comparable."""


class TrialSettings(Settings):
    """Settings that are tried on validation before a training, which has the best of them."""

    epochs: Rounds = setting(5, "epochs of each trial; a schedule is one of so many epochs")
    settings: tuple[dict[str, Any], ...] = setting(
        text="what is tried: fields of the recipe with their values, the same fields each time",
        min_length=2,
        max_length=100,
    )

    @field_validator("settings")
    @classmethod
    def _of_the_same_fields(cls, tried: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        fields = set(tried[0])
        for one in tried:
            if not one or set(one) != fields:
                raise ValueError(
                    "each trial names the same fields, such as "
                    "`- {loss.score_temperature: 0.1}`; got "
                    f"{', '.join(sorted(fields)) or 'none'}, and {', '.join(sorted(one)) or 'none'}"
                )
        for place in sorted(fields):
            section, _, field = place.partition(".")
            if section not in SECTIONS or not field or place in BUDGET:
                raise ValueError(
                    f"{place} cannot be tried; give fields of {', '.join(SECTIONS)}, such as "
                    f"loss.score_temperature, but not {', '.join(BUDGET)}"
                )
        return tried


def check_trials(recipe: Recipe) -> None:
    """Refuse trials of a model that is not trained, and settings that do not fit the recipe.

    Raises:
        ValueError: if they do not fit.
    """
    if recipe.trials is None:
        return
    if is_counted(recipe.model.name):
        raise ValueError(
            f"{recipe.model.name} is counted, and tries settings of its own in seconds; leave out "
            "trials"
        )
    for settings in recipe.trials.settings:
        try:
            with_settings(recipe, settings)
        except RecipeError as error:
            raise ValueError(f"trials: {error}") from error


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return a recipe with one of the settings that are tried, and nothing left to try.

    Raises:
        RecipeError: if they do not fit.
    """
    from softrec.recipe.options import recipe_of  # which knows recipes

    fields = recipe.model_dump(mode="json", exclude={"trials"})
    return recipe_of(fields, settings, "the recipe")


def without_tried(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a recipe without its trials, if one of the changes is of their fields.

    So a value of one's own is not tried against others. A change of a section's name is one of all
    its fields.

    Example:
        >>> trials = {"settings": [{"loss.score_temperature": 0.1}]}
        >>> without_tried({"seed": 1, "trials": trials}, {"loss.score_temperature": 0.3})
        {'seed': 1}
    """
    trials = fields.get("trials")
    tried = trials.get("settings") if isinstance(trials, Mapping) else None
    places = tried[0] if isinstance(tried, list | tuple) and tried else {}
    sections = {place.partition(".")[0] for place in places}
    own = any(
        place in places or (place.endswith(".name") and place.partition(".")[0] in sections)
        for place in changes
    )
    return {name: value for name, value in fields.items() if not (own and name == "trials")}
