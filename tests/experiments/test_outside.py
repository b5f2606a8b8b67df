"""Members from outside that break their contract are refused before anything is trained."""

import pytest
import torch
from torch import Tensor, nn

import softrec
from messages import refused
from softrec.candidates import Candidates
from softrec.errors import RecipeError
from softrec.experiments.build.data import load_logged
from softrec.experiments.build.objective import build
from softrec.losses.softmax import soft_cross_entropy
from softrec.recipe.options import recipe_of
from softrec.targets import DenseTarget, SparseTarget
from softrec.testing import check_registered
from softrec.types import GivenWeights, Target
from softrec.weights import OfLabels
from softrec.weights.stored import OfContexts

pytestmark = pytest.mark.usefixtures("own_members")
SHOP = {"n_items": 12, "n_categories": 3, "n_archetypes": 3, "n_users": 9, "max_length": 9}
SMALL = {"data.shop": SHOP, "cold_items": "keep", "model": "mf", "model.dim": 4}
SOFT = {"target": {"name": "uniform", "alpha": 0.3}}


def built(**options):
    recipe = recipe_of({"data": {"source": "shop"}}, SMALL | options)
    encoder, objective, batches = build(recipe, load_logged(recipe, None, None))
    return objective(encoder, next(iter(batches))).total


class Next(Target):
    """The item after the label."""

    def __init__(self, label: Tensor, n_items: int, factor: float = 1.0) -> None:
        self.item, self.factor = (label + 1) % n_items, factor

    def prob_of(self, items: Tensor) -> Tensor:
        item = self.item if items.dim() == 1 else self.item[:, None]
        return self.factor * (items == item).float()

    def mean_item(self, vectors: Tensor) -> Tensor:
        return self.factor * vectors[self.item]


class Says(Next):
    """Another mean item than the probabilities."""

    def mean_item(self, vectors: Tensor) -> Tensor:
        return vectors[(self.item + 1) % len(vectors)]


class Flat(Next):
    """No row of its own for each label."""

    def mean_item(self, vectors: Tensor) -> Tensor:
        return vectors.mean(0)


class One(Next):
    """Answers for one item a row alone."""

    def prob_of(self, items: Tensor) -> Tensor:
        return (items == self.item).float()


class Bool(Next):
    """Yes or no in place of a probability."""

    def prob_of(self, items: Tensor) -> Tensor:
        return items == self.item


def listed(label, items=0, probs=1.0):
    two = torch.stack([(label + 1) % 12, (label + 2) % 12], 1)
    return SparseTarget(two + items, torch.tensor([0.5, 0.5]).expand(len(label), 2) * probs)


TARGETS = {
    "more than 1": lambda label: Next(label, 12, 1.5),
    "less than 1": lambda label: Next(label, 12, 0.5),
    "two answers": lambda label: Says(label, 12),
    "one row": lambda label: Flat(label, 12),
    "bool": lambda label: Bool(label, 12),
    "a tensor": lambda label: torch.ones(len(label), 12) / 12,
    "not a number": lambda label: listed(label, probs=torch.nan),
    "below 0": lambda label: listed(label, probs=torch.tensor([-1.0, 3.0])),
    "outside": lambda label: listed(label, items=12),
    "padded with -1": lambda label: listed(label, items=torch.tensor([0, -99])),
    "few rows": lambda label: listed(label[:2]),
    "too narrow": lambda label: DenseTarget(torch.ones(len(label), 11) / 11),
    "fails": lambda label: None.prob_of(label),  # pyright: ignore
}


@pytest.mark.parametrize("wrong", TARGETS)
def test_targets_that_are_no_distribution(wrong):
    @softrec.register("own")
    def own(training, *, alpha: float = 0.2):
        return lambda batch: TARGETS[wrong](batch.label)

    with refused(RecipeError):
        built(target="own")


def test_targets_for_one_item_a_row():
    own = ("own", lambda batch: One(batch.label, 12), 0.2)
    assert built(target=own).isfinite()
    few = {"candidates": {"name": "sampled", "number": 5, "per_row": True}}
    with refused(RecipeError):
        built(target=own, **few)
    assert built(target=("own", lambda batch: Next(batch.label, 12), 0.2), **few).isfinite()


def test_an_object_and_a_part_of_a_mixture_are_asked_too():
    objects = ("own", lambda batch: Next(batch.label, 12, 1.5), 0.3)
    with refused(RecipeError):
        built(target=objects)

    @softrec.register("own")
    def own(training, *, alpha: float = 0.2):
        return lambda batch: Next(batch.label, 12, 1.5)

    parts = [{"weight": 0.5, "target": {"name": name}} for name in ("own", "uniform")]
    with refused(RecipeError):
        built(target={"name": "mixture", "alpha": 0.2, "of": parts})


LOSSES = {
    "mean": lambda values: values.mean(),
    "a column": lambda values: values[:, None],
    "detached": lambda values: values.detach(),
    "not a number": lambda values: values * torch.nan,
    "nothing": lambda values: None,
}


@pytest.mark.parametrize("wrong", LOSSES)
def test_losses_without_a_value_for_each_example(wrong):
    @softrec.register("own")
    def own(stats, answers, weight):
        return LOSSES[wrong](soft_cross_entropy(stats, answers, weight))

    @softrec.register("pairs")
    def pairs(label, others, count):
        return LOSSES[wrong](((others - label[:, None] + 1).relu() * count).sum(1))

    for loss in ({"loss": "own", **SOFT}, {"loss": "pairs"}):
        with refused(RecipeError):
            built(**loss)


CANDIDATES = {
    "a tensor": lambda items: items,
    "None": lambda items: None,
    "no counts": lambda items: Candidates(items, None),  # pyright: ignore
    "no items": lambda items: Candidates(items[:0], torch.ones(0)),
    "twice": lambda items: Candidates(items // 2, torch.ones(6)),
    "outside": lambda items: Candidates(items + 9, torch.ones(6)),
}


@pytest.mark.parametrize("wrong", CANDIDATES)
def test_candidates_that_are_none(wrong):
    @softrec.register("own", kind="candidates")
    def own(training):
        return lambda batch: CANDIDATES[wrong](torch.randperm(12)[:6].sort().values)

    with refused(RecipeError):
        built(candidates="own")


class Weighs(nn.Module):
    """Weights made by a function of the label."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, batch):
        return self.make(batch.label.float())

    def begin_epoch(self, encoder, epoch):
        """Do nothing."""


WEIGHTS = {
    "no function": lambda label: label,
    "a number": lambda label: lambda logit, rows: 1.0,
    "all rows": lambda label: lambda logit, rows: label,
    "below 0": lambda label: GivenWeights(-label),
    "not a number": lambda label: GivenWeights(label * torch.nan),
    "nothing": lambda label: GivenWeights(label * 0),
}


@pytest.mark.parametrize("wrong", WEIGHTS)
def test_weights_that_are_not_one_for_each_example(wrong):
    @softrec.register("own", kind="weights")
    def own(training):
        return Weighs(WEIGHTS[wrong])

    with refused(RecipeError):
        built(weights="own")


STORED = {
    "one item too few": lambda training: OfLabels(torch.ones(training.n_items - 1)),
    "one item too many": lambda training: OfLabels(torch.ones(training.n_items + 1)),
    "a column": lambda training: OfLabels(torch.ones(training.n_items, 1)),
    "one context too many": lambda training: OfContexts(
        torch.ones(training.data.n_contexts + 1), training.data
    ),
    "nothing": lambda training: OfLabels(torch.zeros(training.n_items)),
    "one below 0": lambda training: OfLabels(1.0 - torch.eye(training.n_items)[0] * 2),
    "one not a number": lambda training: OfLabels(torch.eye(training.n_items)[0] / 0),
}


@pytest.mark.parametrize("wrong", STORED)
def test_weights_that_are_stored_are_all_looked_at(wrong):
    @softrec.register("own", kind="weights")
    def own(training):
        return STORED[wrong](training)

    with refused(RecipeError):
        built(weights="own")
    with pytest.raises(AssertionError):
        check_registered("weights", "own")


def test_most_stored_weights_may_be_0():
    @softrec.register("own", kind="weights")
    def own(training):
        return OfLabels(torch.eye(training.n_items)[-1])

    assert built(weights="own").isfinite()


@pytest.mark.parametrize("kind", ["target", "candidates", "weights"])
def test_builders_that_make_no_source(kind):
    @softrec.register("own", kind=kind)
    def own(training, *, alpha: float = 0.2):
        return None if kind == "target" else 3

    with refused(RecipeError):
        built(**{kind: "own"})


def test_what_keeps_the_contract_is_trained():
    @softrec.register("own")
    def own(training, *, alpha: float = 0.2):
        return lambda batch: Next(batch.label, 12)

    @softrec.register("close")
    def close(stats, answers, weight):
        return soft_cross_entropy(stats, answers, weight)

    @softrec.register("half", kind="candidates")
    def half(training):
        return lambda batch: Candidates(torch.randperm(12)[:6].sort().values, torch.ones(6))

    @softrec.register("whole", kind="weights")
    def whole(training):
        return Weighs(lambda label: GivenWeights((1 + label).long()))

    assert built(target="own", loss="close", candidates="half", weights="whole").isfinite()
    assert built(target=("own", lambda batch: listed(batch.label), 0.2)).isfinite()


def test_asking_draws_no_random_numbers():
    @softrec.register("half", kind="candidates")
    def half(training):
        return lambda batch: Candidates(torch.randperm(12)[:6].sort().values, torch.ones(6))

    states = []
    for candidates in ("half", "full"):
        torch.manual_seed(3)
        recipe = recipe_of({"data": {"source": "shop"}}, SMALL | {"candidates": candidates})
        build(recipe, load_logged(recipe, None, None))
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
