"""The evaluator: evaluates models on one part of the data, as their recipe says."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import polars as pl

from softrec.data.splits import Split
from softrec.errors import DataError
from softrec.evaluation.asked import Asked, Part
from softrec.evaluation.interests import ListedInterests
from softrec.evaluation.listed import Listed
from softrec.evaluation.lists import list_cases, list_measures
from softrec.evaluation.metrics import parse_metric
from softrec.evaluation.negatives import sampled_negatives
from softrec.evaluation.protocol import check_single, score_cases
from softrec.experiments.runs import ranked
from softrec.recipe.recipe import Recipe
from softrec.types import Model


class Evaluator:
    """Evaluates models on one part of a split, by the protocol of a recipe.

    Cases, and the negatives sampled for them, are made once and are the same for every model.

    Args:
        recipe: with the evaluation protocol.
        split: the data.
        part: the part to evaluate on.
        asked: the task on `split`; by default as the recipe says.

    Raises:
        DataError: if negatives are to be sampled for a case with several relevant items, or are
            more than the memory holds.
    """

    def __init__(
        self, recipe: Recipe, split: Split, part: Part, asked: Asked | None = None
    ) -> None:
        spec = recipe.evaluation
        self.recipe = recipe
        self.asked = asked or Asked.of(split, spec.mask_seen)
        self.cases = self.asked.cases(part)
        self.users = split.train.users
        self.events = split.clean.item_counts
        self.k = parse_metric(recipe.training.monitor)[1]
        self.negatives = None
        if spec.negatives is not None:
            self.negatives = self._sampled(split, part, spec.negatives)

    def _sampled(self, split: Split, part: Part, number: int) -> np.ndarray:
        check_single(self.cases)
        known = self.asked.not_negative(split, part)
        seed = self.recipe.evaluation.negatives_seed
        try:
            return sampled_negatives(split.train.n_items, known, self.cases.user, number, seed)
        except MemoryError as error:
            raise DataError(
                f"not enough memory for {number:,} negatives of each of the {len(self.cases):,} "
                f"cases of the {part} part; give fewer (evaluation.negatives), or rank among all "
                "items"
            ) from error

    def per_user(self, model: Model, metrics: Sequence[str] | None = None) -> pl.DataFrame:
        """Return one row per case: the raw user id, and the metrics."""
        return self._per_user(model, metrics, None)

    def with_lists(
        self, model: Model, metrics: Sequence[str] | None = None
    ) -> tuple[pl.DataFrame, dict[str, float]]:
        """Return the table of `per_user`, and the measures of the top-k lists.

        k is the cut-off of the selection metric. The lists are of the whole catalogue, also if the
        metrics use sampled negatives.
        """
        length, mask_seen = self.recipe.training.length, self.asked.mask_seen
        listed = ListedInterests(self.k, model.n_items, self.cases, mask_seen)
        table = self._per_user(model, metrics, listed)
        if self.negatives is not None:  # sampled rankings give no lists
            model = ranked(model, self.recipe)
            list_cases(model, self.cases, listed, length=length, mask_seen=mask_seen)
        measures = list_measures(listed.counts, self.events)._asdict() | listed.measures()
        return table, {"k": self.k, **measures}

    def _per_user(
        self, model: Model, metrics: Sequence[str] | None, listed: Listed | None
    ) -> pl.DataFrame:
        table = score_cases(
            ranked(model, self.recipe),
            self.cases,
            metrics or self.recipe.evaluation.metrics,
            length=self.recipe.training.length,
            mask_seen=self.asked.mask_seen,
            negatives=self.negatives,
            listed=listed,
        )
        return table.insert_column(0, self.users.ids(self.cases.user).alias("user"))

    def some(self, number: int) -> Evaluator:
        """Return an evaluator of at most `number` cases, the same ones each time."""
        if len(self.cases) <= number:
            return self
        chosen = np.sort(np.random.default_rng(0).permutation(len(self.cases))[:number])
        few = copy(self)
        few.cases = self.cases.rows(chosen)
        few.negatives = None if self.negatives is None else self.negatives[chosen]
        return few

    def means(self, model: Model) -> dict[str, float]:
        """Return the mean of each metric."""
        return means(self.per_user(model))


def means(table: pl.DataFrame) -> dict[str, float]:
    """Return the mean of each metric over the rows of a table of cases or users."""
    metrics = [name for name in table.columns if "@" in name]
    return {name: float(np.mean(table[name].to_numpy())) for name in metrics}
