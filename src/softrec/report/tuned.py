"""What a search over the settings of a row found, and at what cost."""

from __future__ import annotations

from typing import Any

from softrec.report.numbers import Part


class Tuned(Part):
    """The search over the settings of one row; its winner is what the row was trained with."""

    trials: int
    complete: int  # trained to their end
    pruned: int
    failed: int
    epochs: int  # of all trials together
    seconds: float
    best: int  # the number of the winner, counted from 1
    valid: float  # its selection metric on validation
    settings: dict[str, Any]  # of the winner, by their place in a recipe
    space: dict[str, str]  # what was tried


def sentence(budget: dict[str, Any]) -> str:
    """Return what the budget of a comparison's searches was; "" if nothing was searched.

    Example:
        >>> sentence({"trials": 20, "epochs": 10, "pruner": "median"})
        'Each trained row was tuned on validation with the same budget, 20 trials of at most 10 \
epochs (pruner: median); test was ranked by the winners alone.'
    """
    if not budget:
        return ""
    return (
        f"Each trained row was tuned on validation with the same budget, {budget['trials']} trials "
        f"of at most {budget['epochs']} epochs (pruner: {budget['pruner']}); test was ranked by "
        "the winners alone."
    )
