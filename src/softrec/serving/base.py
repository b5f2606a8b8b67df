"""What every recommender does: raw ids in, tables with raw ids out. Needs no torch.

A recommender of a run asks its model, one of an export asks ONNX Runtime. They differ in two
methods, which answer for a block of users with arrays, and in how items are compared.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from html import escape
from itertools import starmap
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import polars as pl

from softrec.data.cases import rows_of
from softrec.data.interactions import Interactions, Sequences
from softrec.data.vocabulary import UNKNOWN
from softrec.errors import DataError, shown
from softrec.serving.all_users import USERS_OF_A_PART, write_all
from softrec.serving.catalogue import Catalogue
from softrec.serving.items import Items
from softrec.serving.people import (
    People,
    UnknownItemWarning,
    check_names,
    histories_of,
    history_of,
    no_histories,
    numbers_of,
    users_of,
)
from softrec.serving.ruled import Ranking, places, ruled
from softrec.serving.rules import Rules
from softrec.serving.similar import Asked, asked

__all__ = ["People", "RecommenderBase", "UnknownItemWarning"]


class RecommenderBase(ABC):
    """Recommends items to users of a log and for given histories.

    Attributes:
        name: of the model, for messages.
        log: the vocabularies, and the histories of the users.
        length: how many of the last items of a history the model reads.
        mask_seen: leave out items of the history; each call can override this.
        table: the table of the items, for titles and for rules on its columns.
        origin: what further tells it from other recommenders, such as the settings of its run.
        reads: "history", or "user" for models that identify users by number.
        needs_times: whether the model reads the times of events.
    """

    name: str
    log: Interactions
    length: int
    mask_seen: bool
    reads: Literal["history", "user"]
    needs_times: bool
    table: Catalogue | None = None
    origin: Mapping[str, Any] = MappingProxyType({})
    _items: Items | None = None

    @property
    def items(self) -> Items:
        """Return the items: their ids, their table, and what rules say of them."""
        if self._items is None or self._items.catalogue is not self.table:
            self._items = Items(self.log.items, self.table)
        return self._items

    @property
    def catalogue(self) -> pl.DataFrame | None:
        """Return the table of the items, one row per number; None if there is none."""
        return None if self.table is None else self.table.aligned(self.log.items)

    def use_table(self, source: Any, column: str | None = None) -> None:
        """Use a table of the items, in place of the one that there was.

        Args:
            source: a path, a table or a `Catalogue`.
            column: the name of the column of the ids in the log.

        Raises:
            DataError: if it cannot be used, or has no item of the log.
        """
        kept = isinstance(source, Catalogue)
        table = source if kept else Catalogue.read(source, column=column)
        table.aligned(self.log.items)
        self.table = table

    @abstractmethod
    def _best(
        self,
        some: People,
        k: int,
        mask_seen: bool | None,
        why: bool,
        rules: Rules,
        vectors: bool = False,
    ) -> dict[str, np.ndarray]:
        """Return item, score and, for `why`, interest and contribution, (b, k) each.

        With `vectors` also those of the users, (b, D) or (b, K, D), if the model has any.
        """

    @abstractmethod
    def _behind(self, some: People, k: int, mask_seen: bool | None) -> dict[str, np.ndarray]:
        """Return the best items of each interest with scores, (b, K, k), and weights (b, K)."""

    @abstractmethod
    def _similar(self, some: Asked) -> Ranking:
        """Return the ranking of the items by their similarity to each row.

        Raises:
            DataError: if the model does not compare items.
        """

    def recommend(
        self,
        users: object = None,
        k: int = 10,
        *,
        histories: object = None,
        mask_seen: bool | None = None,
        why: bool = False,
        rules: Rules | Mapping[str, Any] | None = None,
    ) -> pl.DataFrame:
        """Return the `k` best items of each user as a table with columns user, rank, item, score.

        If there is a table of the items with titles, the column title follows item.

        Args:
            users: raw ids of users of the log, or one id; their whole history is used.
            k: how many items.
            histories: name -> raw item ids, oldest first, for users who are not in the log. Lists
                without names and a single list are accepted, too. Models that read the number of
                the user, or the times of events, cannot use histories.
            mask_seen: leave out items of the history; by default as the recommender was made. The
                recommender of a run does what the run's evaluation did. If fewer than `k` items
                are left, the table has fewer rows for that user.
            why: for a model with interests, add two columns: interest, the interest of the user
                that contributed most to the score (see `interests`), and contribution, its part of
                the score. Contribution is null if a score is the highest over the interests.
            rules: business rules that all lists keep, see `Rules`; also as plain data.

        Raises:
            DataError: if a user is unknown, a history has no known item, the model cannot use
                histories, or `why` is true and the model has no interests.
            RulesError: if the rules cannot be used.

        Warns:
            UnknownItemWarning: if items of histories are unknown and were skipped.
        """
        people, kept = self._people(users, histories), Rules.of(rules)
        k = places(k, self.log.n_items)
        mask_seen = kept.mask_seen if mask_seen is None else mask_seen
        found = _joined([self._best(some, k, mask_seen, why, kept) for some in people.blocks()])
        table = self._listed({"user": people.repeated(k)}, found, k)
        if why and "contribution" not in found:
            table = table.with_columns(contribution=pl.lit(None, pl.Float32))
        return table

    def recommend_all(
        self,
        out: str | Path,
        k: int = 10,
        *,
        mask_seen: bool | None = None,
        rules: Rules | Mapping[str, Any] | None = None,
        users_per_part: int = USERS_OF_A_PART,
        overwrite: bool = False,
    ) -> Path:
        """Write the lists and vectors of all users of the log, and the vectors of the items.

        The files are Parquet, of some users each. An interrupted job goes on after the last one.

        Args:
            out: the folder, with the folders lists, users and items, and manifest.json.
            k: how many items.
            mask_seen: as in `recommend`.
            rules: as in `recommend`.
            users_per_part: how many users a file has, at most.
            overwrite: replace the lists of another recommender, or of other settings.

        Raises:
            RunError: if `out` has something else.
            RulesError: if the rules cannot be used.

        Example:
            pl.scan_parquet(recommender.recommend_all("lists", k=10) / "lists")
        """
        kept = Rules.of(rules)
        masks = self._masks(kept.mask_seen if mask_seen is None else mask_seen)
        return write_all(self, Path(out), k, masks, kept, users_per_part, overwrite)

    def lists_and_vectors(
        self, numbers: np.ndarray, k: int, mask_seen: bool, rules: Rules
    ) -> tuple[pl.DataFrame, np.ndarray | None]:
        """Return the table of `recommend` for users by their numbers, and their vectors."""
        some = self.of_numbers(numbers)
        found = self._best(some, k, mask_seen, False, rules, vectors=True)
        vectors = found.pop("vector", None)
        return self._listed({"user": some.repeated(k)}, found, k), vectors

    @abstractmethod
    def weights_facts(self) -> dict[str, Any]:
        """Return what tells the model from others, as plain data."""

    @abstractmethod
    def item_vectors(self) -> tuple[np.ndarray, np.ndarray | None] | None:
        """Return the vectors (N, D) and the bias (N,) of the items; None if there are none."""

    def similar(
        self,
        items: object,
        k: int = 10,
        *,
        weights: Sequence[float] | None = None,
        rules: Rules | Mapping[str, Any] | None = None,
    ) -> pl.DataFrame:
        """Return similar items as a table with columns similar_to, rank, item, score.

        The score of an encoder is the cosine of the item vectors, or the negative squared distance
        where it was trained with distances. That of a counted model is in its table of items x
        items; items that have nothing in common there are not listed.

        Args:
            items: raw ids, or one id; each gets a list of its own.
            k: how many items of each list; the items themselves are left out.
            weights: of the items, for one list: a score is the weighted mean of the similarities to
                all of them.
            rules: as in `recommend`.

        Raises:
            DataError: if an item is unknown, or the model does not compare items.
            RulesError: if the rules cannot be used.

        Example:
            recommender.similar("tea"), recommender.similar(["tea", "jam"], weights=[2, 1])
        """
        rows, kept = asked(users_of(items), weights, self.log.items), Rules.of(rules)
        k = places(k, self.log.n_items)
        lists = (
            ruled(self._similar(some), len(some.names), k, kept, self.items)
            for some in rows.blocks()
        )
        found = _joined([{"item": best.items, "score": best.scores} for best in lists])
        names = pl.Series(rows.names, strict=False)
        return self._listed({"similar_to": names[np.repeat(np.arange(len(names)), k)]}, found, k)

    def _listed(
        self, whose: dict[str, pl.Series], found: dict[str, np.ndarray], k: int
    ) -> pl.DataFrame:
        """Return the table of some lists of k places; those without an item are left out."""
        columns = {name: part.ravel() for name, part in found.items()}
        item = columns.pop("item")
        ranks = np.tile(np.arange(1, k + 1), len(item) // k)
        table = pl.DataFrame({**whose, "rank": ranks, **self.items.columns(item), **columns})
        listed = columns["score"] > -np.inf
        return table if listed.all() else table.filter(pl.Series(listed))

    def interests(
        self,
        users: object = None,
        *,
        histories: object = None,
        items: int = 5,
        mask_seen: bool | None = None,
    ) -> pl.DataFrame:
        """Return the interests of each user as a table with columns user, interest, weight, items.

        If there is a table of the items with titles, the column titles follows items.

        A user has the interests 0 .. K-1. The number has no meaning by itself: interest 1 of one
        user need not be similar to interest 1 of another. Models that have fewer interests for
        short histories repeat the first one.

        Args:
            users: as in `recommend`.
            histories: as in `recommend`.
            items: how many items to show for each interest: those that rank first if it is the
                only interest.
            mask_seen: as in `recommend`; lists may be shorter then.

        Returns:
            A table. The weight is the predicted probability of the interest, the softmax of its
            logits; it is null for models that do not predict interests. `items` is a list of raw
            ids, best first.

        Raises:
            DataError: as in `recommend`, and if the model has no interests.

        Warns:
            UnknownItemWarning: if items of histories are unknown and were skipped.
        """
        n_shown = places(items, self.log.n_items, "items")
        people = self._people(users, histories)
        found = _joined([self._behind(some, n_shown, mask_seen) for some in people.blocks()])
        n_users, n_interests, _ = found["item"].shape
        item = found["item"].ravel()
        weight = found["weight"].ravel() if "weight" in found else [None] * n_users * n_interests
        table = pl.DataFrame(
            {
                "user": people.repeated(n_interests),
                "interest": np.tile(np.arange(n_interests), n_users),
                "weight": pl.Series(weight, dtype=pl.Float32),
                **{f"{n}s": c.reshape((-1, n_shown)) for n, c in self.items.columns(item).items()},
                "left": (found["score"] > -np.inf).sum(2).ravel(),
            }
        )
        # Items that are left out are at the end of a list, with the score -inf.
        lists = pl.col("^(items|titles)$").arr.to_list().list.head(pl.col("left"))
        return table.with_columns(lists).drop("left")

    def of_numbers(self, numbers: np.ndarray) -> People:
        """Return users of the log by their numbers, (B,) int64."""
        names = self.log.users.ids(numbers).to_list()
        return People(names, numbers, rows_of(self.log.sequences, numbers))

    def of_histories(self, histories: Iterable[Sequence[int] | np.ndarray]) -> People:
        """Return somebody with each history of item numbers, who is not in the log."""
        rows = Sequences.of(histories)
        return People([None] * len(rows), np.full(len(rows), UNKNOWN), rows)

    def _people(self, users: object, histories: object) -> People:
        names, histories = users_of(users), histories_of(histories)
        if not names and not histories:
            raise DataError("a recommender needs users of the log or histories, got neither")
        if histories:
            self._check_histories(histories)
        known = numbers_of(names, self.log, self._no_histories)
        rows = rows_of(self.log.sequences, known)
        if not histories:
            return People(names, known, rows)
        check_names(names, histories)
        given = list(starmap(partial(history_of, log=self.log), histories.items()))
        numbers = np.concatenate([known, np.full(len(given), UNKNOWN)])
        # The times of given histories are unknown, so no row has times. Models that read times
        # have refused histories before.
        rows = Sequences.of([*(rows[row] for row in range(len(rows))), *given])
        return People([*names, *histories], numbers, rows)

    @property
    def _no_histories(self) -> str | None:
        return no_histories(self.name, self.reads, needs_times=self.needs_times)

    def _check_histories(self, histories: Mapping[Any, Sequence[object]]) -> None:
        refusal = self._no_histories
        if refusal:
            raise DataError(f"the history of {shown(histories)} cannot be used: {refusal}")

    def _masks(self, mask_seen: bool | None) -> bool:
        return self.mask_seen if mask_seen is None else mask_seen

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name}, {self.log.n_users:,} users, "
            f"{self.log.n_items:,} items)"
        )

    def _repr_html_(self) -> str:
        facts = {"model": self.name, "users": f"{self.log.n_users:,}",
                 "items": f"{self.log.n_items:,}", "length of a history": self.length,
                 "seen items": "left out" if self.mask_seen else "listed, too"}  # fmt: skip
        rows = "".join(f"<tr><th>{n}</th><td>{escape(str(v))}</td></tr>" for n, v in facts.items())
        return f"<table><tbody>{rows}</tbody></table>"


def _joined(blocks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if len(blocks) == 1:
        return blocks[0]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
