"""Ranked lists of any system as rows of a comparison, evaluated by the protocol of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from softrec.data.ranked_lists import RankedLists, read_lists
from softrec.data.splits import Split
from softrec.data.vocabulary import UNKNOWN
from softrec.errors import DataError, RecipeError, number_of, shown
from softrec.evaluation.asked import Asked
from softrec.evaluation.given import GivenRanks, ranks_in
from softrec.evaluation.lists import list_measures
from softrec.evaluation.metrics import evaluate, parse_metric
from softrec.experiments.evaluate import check_unseen
from softrec.experiments.evaluator import Evaluator
from softrec.experiments.runs import Run, open_run
from softrec.experiments.store.folders import RUN
from softrec.recipe.recipe import Recipe
from softrec.retrieval import NOT_RANKED


class Row(NamedTuple):
    """The lists or runs of one name, which are trainings of one system."""

    name: str
    tables: list[pl.DataFrame]  # the user and the metrics of each case, a table for each training
    lists: list[dict[str, float]]  # measures of the lists, one for each training
    runs: list[Run]  # empty if lists were given
    notes: list[str]


class Judge(NamedTuple):
    """The protocol by which all rows are evaluated: recipe, data and task."""

    recipe: Recipe
    split: Split
    asked: Asked

    def row(self, name: str, sources: Sequence[Any]) -> Row:
        """Return the row of lists or runs of one name.

        Raises:
            SoftrecError: if they cannot be read, or are mixed.
        """
        runs = [source for source in sources if isinstance(source, Run)]
        if runs and len(runs) < len(sources):
            raise RecipeError(f"{name} names runs and lists; give them names of their own")
        if not runs:
            judged = [
                self._of_lists(source, _called(source, name, number if len(sources) > 1 else None))
                for number, source in enumerate(sources, 1)
            ]
            notes = [note for _, _, lines in judged for note in lines]
            return Row(name, [t for t, _, _ in judged], [m for _, m, _ in judged], [], notes)
        own = [run.recipe.model_copy(update={"seed": 0}) for run in runs]
        if any(one != own[0] for one in own):
            raise RecipeError(
                f"the runs of {name} differ in more than the seed; give each recipe a name of its "
                "own, such as NAME=RUN"
            )
        found = [self._of_run(run) for run in runs]
        return Row(name, [t for t, _ in found], [m for _, m in found], runs, [])

    def _of_run(self, run: Run) -> tuple[pl.DataFrame, dict[str, float]]:
        run.check_data(self.split)
        check_unseen(run, "test")
        score = run.recipe.evaluation.score
        judged_by = {
            "evaluation": self.recipe.evaluation.model_copy(update={"score": score}),
            "training": run.recipe.training.model_copy(
                update={"monitor": self.recipe.training.monitor}
            ),
        }
        recipe = run.recipe.model_copy(update=judged_by)
        return Evaluator(recipe, self.split, "test", self.asked).with_lists(run.model())

    def _of_lists(
        self, source: Any, called: str
    ) -> tuple[pl.DataFrame, dict[str, float], list[str]]:
        """Return the metrics of each case, the measures of the lists, and notes on the lists."""
        train, metrics = self.split.train, self.recipe.evaluation.metrics
        data = self.recipe.data
        lists = read_lists(source, train, user=data.user, item=data.item)
        cases = self.asked.test
        k = parse_metric(self.recipe.training.monitor)[1]
        longest = max(parse_metric(metric)[1] for metric in metrics)
        found = ranks_in(
            lists, cases, train.n_items, longest, measured=k, mask_seen=self.asked.mask_seen
        )
        if not found.asked.any():
            raise DataError(
                f"none of the {len(np.unique(lists.user)):,} users with a list in "
                f"{called} is asked about in the test part, which has "
                f"{shown(train.users.ids(cases.user[:3]).to_list())}; give lists for these users"
            )
        table = evaluate(found.ranks, metrics)
        if cases.single:
            table.insert_column(0, pl.Series("rank", found.ranks.rank))
        table.insert_column(0, train.users.ids(cases.user).alias("user"))
        measured = list_measures(found.listed, self.split.clean.item_counts)._asdict()
        return (
            table,
            {"k": float(k), **measured},
            notes_on(lists, found, self, called, longest),
        )


def _called(source: Any, name: str, number: int | None) -> str:
    """Return what notes call lists; of several of one name, with the number of the training."""
    called = Path(source).name if isinstance(source, str | Path) else f"the lists {name}"
    return called if number is None else f"{called} (training {number} of {name})"


def notes_on(lists: RankedLists, found: GivenRanks, judge: Judge, called: str, k: int) -> list[str]:
    """Return a sentence for each difference from complete lists of known items."""
    train, asked = judge.split.train, int(found.asked.sum())
    n_cases = len(found.asked)
    others = np.setdiff1d(lists.user, judge.asked.test.user)
    sentences = []
    if lists.strangers:
        sentences.append(
            f"{number_of(len(lists.strangers), 'user is', 'users are')} not in the log and left "
            f"out: {shown(lists.strangers)}"
        )
    if len(others):
        sentences.append(
            f"{number_of(len(others), 'user is', 'users are')} not asked about in the test part "
            f"and left out: {shown(train.users.ids(others[:3]).to_list(), of=len(others))}"
        )
    none = n_cases - asked
    if none:
        lacking = train.users.ids(judge.asked.test.user[~found.asked][:3]).to_list()
        sentences.append(
            f"{none:,} of {n_cases:,} test users {'has' if none == 1 else 'have'} no list, which "
            f"counts as no hit: {shown(lacking, of=none)}"
        )
    if found.seen:
        sentences.append(
            f"{number_of(found.seen, 'listed item stands', 'listed items stand')} in the history "
            "of the user, where new items are asked for; such an item is left out, and those after "
            "it move up"
        )
    unknown = _unknown(lists, judge.asked.test.user)
    if unknown:
        sentences.append(
            f"{number_of(len(unknown), 'listed item is', 'listed items are')} not in the "
            f"catalogue; such an item keeps its place and is no hit: {shown(unknown)}"
        )
    if (found.ranks.rank == NOT_RANKED).all():
        sentences.append(
            "no list has a relevant item; lists must be made of what stands before the test part, "
            "without its events"
        )
    if found.short:
        sentences.append(
            f"{found.short:,} of {asked:,} lists {'has' if found.short == 1 else 'have'} fewer "
            f"than {k} items; what is missing counts as no hit"
        )
    if found.tied:
        sentences.append(
            f"{number_of(found.tied, 'listed item has', 'listed items have')} the score of another "
            "item of the same list; ties count against the relevant item"
        )
    return [f"{called}: {sentence}." for sentence in sentences]


def _unknown(lists: RankedLists, users: np.ndarray) -> list[object]:
    """Return the items in the lists of some users that are not in the catalogue, each once."""
    theirs = np.isin(lists.user[lists.item == UNKNOWN], users)
    return lists.unknown.filter(pl.Series(theirs)).unique(maintain_order=True).to_list()


def named(given: Any, default: str, *, trust: bool = False) -> dict[str, list[Any]]:
    """Return lists and opened runs by name; several with the same name are trainings of one system.

    Args:
        given: a path, a table or a run; a list of these; or a mapping of names to these.
        default: the name of a table in memory.
        trust: open runs without checking their files.

    Raises:
        SoftrecError: if nothing is given, or a run cannot be opened.

    Example:
        >>> named(["a/theirs.csv", "run=b/c"], "lists")
        {'theirs': ['a/theirs.csv'], 'run': ['b/c']}
    """
    found: dict[str, list[Any]] = {}
    if isinstance(given, Mapping):
        for name, value in given.items():
            found[str(name)] = list(value) if isinstance(value, list | tuple) else [value]
    else:
        for one in given if isinstance(given, list | tuple) else [given]:
            name, source = _name_and_source(one, default)
            found.setdefault(name, []).append(source)
    if not found or not all(found.values()):
        raise RecipeError("expected a table of lists or a run for each name, got none")
    return {name: [_opened(one, trust) for one in some] for name, some in found.items()}


def _opened(source: Any, trust: bool) -> Any:
    """Return the run in a given folder; anything else as it is."""
    if isinstance(source, str) and not source.strip():
        raise RecipeError(
            f"expected a file of lists or the folder of a run, got {source!r}; give PATH or "
            "NAME=PATH"
        )
    folder = isinstance(source, str | Path) and (Path(source) / RUN.result).exists()
    return open_run(source, trust=trust) if folder else source


def _name_and_source(one: Any, default: str) -> tuple[str, Any]:
    if isinstance(one, Run):
        return one.folder.name, one
    if not isinstance(one, str | Path):
        return default, one
    name, equals, path = str(one).partition("=")
    if equals and name and "/" not in name and not Path(one).exists():
        return name, path
    return Path(one).resolve().name if Path(one).is_dir() else Path(one).stem, one
