"""How the rows of a comparison are trained: notes on refits, trials and priors, and refusals."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from softrec.errors import RecipeError
from softrec.experiments.trials import in_words
from softrec.experiments.variants import Plan
from softrec.recipe.recipe import Recipe


def check_refits(recipes: Iterable[Recipe]) -> None:
    """Refuse rows that are trained on the test part by which they are compared.

    Raises:
        RecipeError: if there is one.
    """
    if any(recipe.training.refit == "all" for recipe in recipes):
        raise RecipeError(
            "training.refit: all trains on the test part, by which the rows of a comparison are "
            "compared; choose valid, and fit the row that you will serve with softrec fit --refit "
            "all"
        )


def refit_note(wanted: Plan) -> list[str]:
    """Return a note on the rows that are fitted once more, if there are any."""
    rows = [row.name for row in wanted.variants if row.untuned.training.refit == "valid"]
    if not rows:
        return []
    how = (
        "once more with the validation part, for as many epochs as the best one took, and the test "
        "is of that"
    )
    simple = wanted.base.training.refit == "valid"
    if simple and len(rows) == len(wanted.variants):
        return [f"When its epoch or its settings are chosen, each row is fitted {how}."]
    also = "simple baselines are, too" if simple else "simple baselines and other rows are not"
    return [f"Some rows ({', '.join(rows)}) are fitted {how}; {also}."]


def prior_note(wanted: Plan) -> list[str]:
    """Return a note on the rows of a comparison whose rankings have a prior, if there are any."""
    rows = {row.name: row.untuned.prior for row in wanted.variants if row.untuned.prior}
    if not rows:
        return []
    spec = next(iter(rows.values()))
    popular = " and the popularity of now" if spec.popularity or spec.popularities else ""
    chosen = ", as validation chooses" if spec.chooses else ""
    return [
        f"{_who(rows, wanted)} got a prior, which is added to scores: what is counted about the "
        f"items of the history{popular}{chosen}."
    ]


def trials_note(wanted: Plan) -> list[str]:
    """Return a note on the rows of a comparison that try settings, if there are any."""
    rows = {row.name: row.untuned.trials for row in wanted.variants if row.untuned.trials}
    if not rows:
        return []
    who, spec = _who(rows, wanted), next(iter(rows.values()))
    tried = "; ".join(in_words(settings) for settings in spec.settings)
    return [
        f"{who} tried {len(spec.settings)} settings for {spec.epochs} epochs each, with one seed, "
        f"and was trained with the best of them on validation: {tried}. That is in its seconds."
    ]


def _who(rows: Collection[str], wanted: Plan) -> str:
    return "Each row" if len(rows) == len(wanted.variants) else f"Some rows ({', '.join(rows)})"
