"""What a training with held-out events would spoil is refused when a recipe is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from softrec.recipe.recipe import Recipe


def check_refit(recipe: Recipe) -> None:
    """Refuse a refit of a cold start, and one of a run that another training depends on.

    Raises:
        ValueError: if there is one; the message says what to leave out.
    """
    refit = recipe.training.refit
    if refit != "none" and recipe.data.first_items is not None:
        raise ValueError(
            f"training.refit: {refit} would train on more than data.first_items: "
            f"{recipe.data.first_items} items of a user, which a cold start knows; leave out one "
            "of them"
        )
    for place, stage in recipe.stages().items():
        own = stage.training.refit
        if own != "none":
            raise ValueError(
                f"{place}.training.refit: {own} would train it on events that judge this "
                "training; leave it out there"
            )
