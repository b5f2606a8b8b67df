"""The rows that say what the windows of a protocol cost: the same, trained on other windows.

With one label a sequence, as some papers train, a model sees a fraction of what the log says. How
a target does there may say more of the protocol than of the target.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from softrec.experiments.variants import Plan, VariantPlan
from softrec.recipe.specs.tune import TuneSettings

ProtocolRows = Literal["auto", "always", "never"]
OTHER = {"last": "positions", "positions": "last", "prefixes": "last", "sliding": "last"}
"""The windows of the other protocol; `interactions` are of models that have no other."""
NAMES = {"positions": "every position", "last": "one label a sequence"}


def with_protocol_rows(wanted: Plan, rows: ProtocolRows) -> Plan:
    """Return the plan with the baseline of each model on other windows, too, and a note on it.

    Args:
        wanted: the plan.
        rows: "auto" adds a row trained at every position where the baseline has one label a
            sequence; "always" adds one the other way, too; "never" adds none.
            None is added where a row or a grid has these windows already.
    """
    if rows == "never":
        return wanted
    found: dict[int, VariantPlan] = {}  # by the place of the last of the group
    series: set[str] = set()  # values of a grid get no row each
    for place, variant in enumerate(wanted.variants):
        windows = variant.recipes[0].training.windows
        if wanted.baselines[place] != place or variant.series in series or windows not in OTHER:
            continue
        if (rows == "always" or windows == "last") and not _asked_for(variant, wanted):
            series.add(variant.series)
            last = max(n for n, v in enumerate(wanted.variants) if v.group == variant.group)
            found[last] = _on(variant, OTHER[windows])
    variants = [
        each
        for place, variant in enumerate(wanted.variants)
        for each in (variant, found.get(place))
        if each is not None
    ]
    notes = (*wanted.notes, _note(list(found.values()), wanted.search)) if found else wanted.notes
    return replace(wanted, variants=tuple(variants), notes=notes)


def _asked_for(variant: VariantPlan, wanted: Plan) -> bool:
    """Tell whether a plan has a variant on other windows already, in a grid or as another row."""
    other = _on(variant, OTHER[variant.recipes[0].training.windows]).recipes
    return "training.windows" in variant.grid or any(v.recipes == other for v in wanted.variants)


def _on(variant: VariantPlan, windows: str) -> VariantPlan:
    recipes = tuple(
        recipe.model_copy(
            update={"training": recipe.training.model_copy(update={"windows": windows})}
        )
        for recipe in variant.recipes
    )
    suffix = f", {NAMES[windows]}"
    return replace(
        variant,
        name=variant.name + suffix,
        series=variant.series + suffix,
        recipes=recipes,
        covers=frozenset(),  # nobody named it: it may be left out
    )


def _note(added: list[VariantPlan], search: TuneSettings | None) -> str:
    trainings = f"{sum(len(variant.recipes) for variant in added)} trainings"
    if search is not None:
        trainings += f" and {search.trials * len(added)} trials"
    names = "; ".join(variant.name for variant in added)
    return (
        f"To show what the protocol of training matters there is a row more for each model "
        f"({names}): {trainings} more. --protocol-rows never leaves them out."
    )
