"""Models from outside that break their contract are refused before they are trained or ranked."""

import numpy as np
import pytest
import torch
from torch import nn

import softrec
from messages import refused
from softrec.data import splits
from softrec.data.interactions import Interactions, Sequences
from softrec.errors import RecipeError
from softrec.experiments.build.objective import build
from softrec.experiments.counting import check_counted, counted
from softrec.experiments.evaluator import Evaluator
from softrec.recipe.options import recipe_of
from softrec.types import Encoder, ItemVectors, Products, Scorer, Vectors

pytestmark = pytest.mark.usefixtures("own_members")
N = 12
LOG = Interactions.from_sequences(
    Sequences.of([(np.arange(3, 12) * (1 + user % 4) + user) % N for user in range(20)])
)
SPLIT = splits.leave_last_out(LOG, cold="keep")


def recipe(model, **options):
    small = {"length": 6, "metrics": "ndcg@5", "monitor": "ndcg@5", "cold_items": "keep"}
    return recipe_of({"data": {"source": "log.csv"}}, small | {"model": model} | options)


def built(model, **options):
    encoder, objective, batches = build(recipe(model, **options), SPLIT)
    return objective(encoder, next(iter(batches))).total


class Own(Encoder):
    """The mean of the items of a history, where three ones are the vector of an item."""

    def __init__(self, n_items):
        super().__init__()
        self.n_items, self.asked = n_items, 0
        self.table = nn.Embedding(n_items + 1, 3, padding_idx=n_items)
        nn.init.ones_(self.table.weight[:-1])

    def items(self):
        return ItemVectors(self.table.weight[:-1])

    def users(self, batch):
        real = (batch.history != self.n_items).sum(1, keepdim=True)
        means = self.table(batch.history).sum(1) / real.clamp(min=1)
        return means if batch.row is None else means[batch.row]

    def forward(self, batch, items=None):
        self.asked += 1
        return self.answer(self.users(batch), items or self.items(), batch)

    def answer(self, users, items, batch):
        return Vectors(users, items)


ANSWERS = {
    "a tuple": lambda own, users, items, batch: (users, items),
    "no items": lambda own, users, items, batch: Vectors(users, items.vectors),
    "few rows": lambda own, users, items, batch: Vectors(users[:2], items),
    "wide": lambda own, users, items, batch: Vectors(users.repeat(1, 2), items),
    "whole numbers": lambda own, users, items, batch: Vectors(users.long(), items),
    "not a number": lambda own, users, items, batch: Vectors(users * torch.nan, items),
    "another time": lambda own, users, items, batch: Vectors(users + own.asked, items),
    "padding": lambda own, users, items, batch: Vectors(users + batch.history.shape[1], items),
    "fails": lambda own, users, items, batch: {}["users"],
}


@pytest.mark.parametrize("wrong", ANSWERS)
def test_encoders_with_other_answers(wrong):
    class Wrong(Own):
        def answer(self, users, items, batch):
            return ANSWERS[wrong](self, users, items, batch)

    softrec.register("own", Wrong)
    with refused(RecipeError):
        built("own")
    with pytest.raises(RecipeError):
        built(Wrong(N))


ITEMS = {
    "a tensor": lambda own: own.table.weight[:-1],
    "with padding": lambda own: ItemVectors(own.table.weight),
    "bias": lambda own: ItemVectors(own.table.weight[:-1], torch.ones(own.n_items, 1)),
    "infinite": lambda own: ItemVectors(own.table.weight[:-1] / 0),
}


@pytest.mark.parametrize("wrong", ITEMS)
def test_encoders_with_other_items(wrong):
    @softrec.register("own")
    class Wrong(Own):
        def items(self):
            return ITEMS[wrong](self)

    with refused(RecipeError):
        built("own")


class Plain(Own):
    """Nothing of torch is set up."""

    def __init__(self, n_items):
        self.n_items = n_items


class Early(Own):
    """A table before there is anything to put it in."""

    def __init__(self, n_items):
        self.table = nn.Embedding(n_items, 3)
        super().__init__(n_items)


class Unnumbered(Own):
    """No n_items."""

    def __init__(self, n_items):
        super().__init__(n_items)
        del self.n_items


class Larger(Own):
    """One item too many."""

    def __init__(self, n_items):
        super().__init__(n_items + 1)


class Headless(Encoder):
    """No method forward."""

    def items(self):
        return ItemVectors(torch.ones(N, 3))


@pytest.mark.parametrize("kind", [Plain, Unnumbered, Larger, Headless])
def test_models_that_are_not_set_up(kind):
    softrec.register("own", kind)
    with refused(RecipeError):
        built("own")


def test_a_model_whose_making_fails():
    softrec.register("own", Early)
    with pytest.raises(RecipeError):
        built("own")


def test_a_scorer_and_an_instance_without_a_number_of_items():
    @softrec.register("own")
    class Wrong(Counts):
        def __init__(self, n_items):
            super().__init__(n_items)
            del self.n_items

    with refused(RecipeError):
        ranked("own")
    with refused(RecipeError):
        built(Unnumbered(N))


def test_what_keeps_the_contract_is_trained():
    softrec.register("own", Own)
    for side in ("right", "left"):
        assert built("own", padding_side=side, target="uniform", alpha=0.3).isfinite()
    assert built(Own(N)).isfinite()
    assert built("own", windows="prefixes", length=1).isfinite()


def test_a_model_may_read_no_more_columns_than_training_has():
    @softrec.register("own")
    class Short(Own):
        def forward(self, batch, items=None):
            assert batch.history.shape[1] <= 6
            return super().forward(batch, items)

    assert built("own", windows="prefixes").isfinite()


def test_the_mode_of_a_model_and_random_numbers_stay():
    modes = []

    @softrec.register("own")
    class Noted(Own):
        def forward(self, batch, items=None):
            modes.append(self.training)
            torch.rand(3)
            return super().forward(batch, items)

    torch.manual_seed(3)
    encoder, _, _ = build(recipe("own"), SPLIT)
    after = torch.rand(1)
    assert set(modes) == {False}
    assert encoder.training
    torch.manual_seed(0)  # that of the recipe
    Own(N)
    assert torch.equal(torch.rand(1), after)


class Counts(Scorer):
    """How often an item was seen, in a table of one column."""

    def __init__(self, n_items):
        super().__init__()
        self.n_items, self.asked = n_items, 0
        self.register_buffer("counts", torch.empty(0))

    def fit(self, events):
        self.counts = events.items.bincount(minlength=self.n_items).float()

    def forward(self, batch):
        self.asked += 1
        return self.answer(torch.ones(len(batch.label), 1), self.counts[:, None], batch)

    def answer(self, rows, counts, batch):
        return Products(rows, ItemVectors(counts))


SCORES = {
    "a tensor": lambda own, rows, counts, batch: rows @ counts.T,
    "None": lambda own, rows, counts, batch: None,
    "not a number": lambda own, rows, counts, batch: Products(
        rows * torch.nan, ItemVectors(counts)
    ),
    "one row": lambda own, rows, counts, batch: Products(rows[:1], ItemVectors(counts)),
    "few items": lambda own, rows, counts, batch: Products(rows, ItemVectors(counts[:-1])),
    "another time": lambda own, rows, counts, batch: Products(
        rows, ItemVectors(counts + own.asked)
    ),
    "padding": lambda own, rows, counts, batch: Products(
        rows * batch.history.shape[1], ItemVectors(counts)
    ),
    "fails": lambda own, rows, counts, batch: {}["rows"],
}


def ranked(model, **options):
    asked = recipe(model, **options)
    return counted(asked, SPLIT, Evaluator(asked, SPLIT, "valid"))[1].best["ndcg@5"]


@pytest.mark.parametrize("wrong", SCORES)
def test_scorers_with_other_answers(wrong):
    @softrec.register("own")
    class Wrong(Counts):
        def answer(self, rows, counts, batch):
            return SCORES[wrong](self, rows, counts, batch)

    with refused(RecipeError):
        ranked("own")


FITS = {
    "type": lambda events: events.items + None,
    "place": lambda events: events.items[10**6],
    "time": lambda events: events.times.max(),
}


@pytest.mark.parametrize("wrong", FITS)
def test_scorers_that_cannot_be_fitted_are_named(wrong):
    @softrec.register("own")
    class Wrong(Counts):
        def fit(self, events):
            FITS[wrong](events)

    with refused(RecipeError) as caught:
        ranked("own")
    assert str(caught.value).startswith("the model 'own' fails when it is fitted: ")
    assert "--debug shows where" in str(caught.value)


def test_a_scorer_that_keeps_the_contract_is_counted():
    softrec.register("own", Counts)
    assert 0 < ranked("own") <= 1


GRIDS = {
    "no argument": {"decay": (0.5, 1.0)},
    "wrong type": {"power": ("much",)},
    "out of range": {"power": (7.0,)},
    "one value": {"power": 0.5},
    "no value": {"power": ()},
    "size": {"n_items": (3,)},
}


@pytest.mark.parametrize("wrong", GRIDS)
def test_grids_of_what_a_scorer_has_not(wrong):
    @softrec.register("own")
    class Wrong(Counts):
        GRID = GRIDS[wrong]

        def __init__(self, n_items, *, power: float = 1.0):
            super().__init__(n_items)

    with refused(RecipeError):
        check_counted(recipe("own"), SPLIT)


METRICS = {
    "None": lambda found: None,
    "one number": lambda found: found.mean(),
    "a column": lambda found: found[:, None],
    "not a number": lambda found: found / (found > 0),
    "words": lambda found: found.astype(str),
}


@pytest.mark.parametrize("wrong", METRICS)
def test_metrics_without_a_number_for_each_case(wrong):
    @softrec.register("mine")
    def mine(ranks, k):
        found = np.bincount(ranks.case[ranks.rank <= k], minlength=len(ranks)) / 1.0
        with np.errstate(invalid="ignore"):
            return METRICS[wrong](found)

    for asked in (built, ranked):
        with refused(RecipeError):
            asked("mf" if asked is built else "popularity", metrics="ndcg@5,mine@3")


def test_a_metric_of_whole_numbers_is_a_metric():
    @softrec.register("mine")
    def mine(ranks, k):
        return np.bincount(ranks.case[ranks.rank <= k], minlength=len(ranks)) > 0

    asked = recipe("popularity", metrics="hit_rate@3,mine@3", monitor="mine@3")
    best = counted(asked, SPLIT, Evaluator(asked, SPLIT, "valid"))[1].best
    assert best["mine@3"] == best["hit_rate@3"] > 0
