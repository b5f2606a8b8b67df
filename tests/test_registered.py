"""One call checks all members, and a broken one of each kind is caught."""

import numpy as np
import pytest
import torch

import softrec
from messages import refused
from softrec.candidates import Candidates
from softrec.data.sources import SOURCES, Source
from softrec.models.gru4rec import GRU4Rec
from softrec.registry import Registry
from softrec.targets.smoothing import UniformTarget
from softrec.testing import check_registered
from softrec.types import Vectors
from softrec.weights import OfLabels


@pytest.fixture(autouse=True)
def as_it_was():
    """Members that a test registers are gone after it."""
    kept = [(registry, set(registry)) for registry in Registry.all]
    yield
    for registry, names in kept:
        for name in set(registry) - names:
            del registry[name]


@pytest.mark.slow
def test_all_that_is_registered_keeps_its_contract():
    checked = check_registered()
    assert {(one.kind, one.name) for one in checked} == {
        (registry.kind, name) for registry in Registry.all for name in registry.choices()
    }
    left_out = {f"{one.kind} {one.name}" for one in checked if one.left_out}
    assert left_out == {
        "candidates mixed", "candidates sampled", "target ckd", "target interest-sharing",
        "target kd", "target mixture", "target one-hot", "target skd",
    }  # fmt: skip


def test_one_member_with_settings():
    (one,) = check_registered("candidates", "sampled", number=5, per_row=True)
    assert (one.kind, one.name, one.left_out) == ("candidates", "sampled", "")
    assert not check_registered("candidates", "mixed", number=5)[0].left_out
    parts = [{"weight": 1.0, "target": {"name": "uniform"}}]
    assert not check_registered("target", "mixture", of=parts)[0].left_out


def test_members_from_outside_are_found():
    @softrec.register("even")
    def even(training, *, alpha: float = 0.2):
        return UniformTarget(training.n_items)

    assert "even" in [one.name for one in check_registered("target")]


class TooMuch(UniformTarget):
    def prob_of(self, items):
        return super().prob_of(items) * 1.1


def too_much(training, *, alpha: float = 0.2):
    return TooMuch(training.n_items)


class OneItem(UniformTarget):
    def prob_of(self, items):
        return torch.full((len(items), 1), 1.0 / self.n_items).view(items.shape)


def one_item(training, *, alpha: float = 0.2):
    return OneItem(training.n_items)


def no_target(training, *, alpha: float = 0.2):
    return lambda batch: batch.label


def fails(training, *, alpha: float = 0.2):
    raise ZeroDivisionError("by nothing")


def averaged(stats, answers, weight):
    return torch.nn.functional.softplus(stats.rest_lse - stats.label_logit).mean().expand(
        len(stats.label_logit))  # fmt: skip


def upside_down(stats, answers, weight):
    return torch.nn.functional.softplus(stats.label_logit - stats.rest_lse)


def uncounted(label, others, count):
    return (others - label[:, None]).relu().sum(1)


def one_number(label, others, count):
    return ((others - label[:, None]).relu() * count).sum()


def beyond(training):
    return lambda batch: Candidates(torch.tensor([1, training.n_items]), torch.ones(2))


def own_label(training):
    def draw(batch):
        items = batch.label[:, None].repeat(1, 2)
        return Candidates(items, torch.ones(items.shape))

    return draw


def fresh(training):
    generator = torch.Generator().manual_seed(0)

    def draw(batch):
        items = torch.randperm(training.n_items, generator=generator)[:5].sort().values
        return Candidates(items, torch.ones(5))

    return draw


def negative(training):
    return OfLabels(torch.linspace(-1, 1, training.n_items))


def of_the_batch(training):
    class Source(OfLabels):
        def forward(self, batch):
            return lambda logit, rows: logit.softmax(0)

    return Source(torch.ones(training.n_items))


def one_weight(training):
    class Source(OfLabels):
        def forward(self, batch):
            return lambda logit, rows: torch.ones(())

    return Source(torch.ones(training.n_items))


def smaller_is_better(ranks, k):
    best = np.full(len(ranks), 1000)
    np.minimum.at(best, ranks.case, ranks.rank)
    return best / 1.0


def one_value(ranks, k):
    return np.float64(0.5)


class Shifted(GRU4Rec):
    def __init__(self, n_items, *, dim: int = 4):
        super().__init__(n_items, dim=dim)

    def forward(self, batch, items=None):
        vectors = super().forward(batch, items)
        return Vectors(vectors.users + batch.history.shape[1], vectors.items)


class Numberless(GRU4Rec):
    def __init__(self, n_items, *, dim: int = 4):
        super().__init__(n_items, dim=dim)
        self.n_items = n_items + 1


BROKEN = {
    "sums": ("target", too_much, None),
    "one item": ("target", one_item, None),
    "no target": ("target", no_target, None),
    "fails": ("target", fails, None),
    "averaged": ("loss", averaged, None),
    "upside down": ("loss", upside_down, None),
    "uncounted": ("loss", uncounted, "pairwise loss"),
    "one number": ("loss", one_number, "pairwise loss"),
    "beyond": ("candidates", beyond, "candidates"),
    "own label": ("candidates", own_label, "candidates"),
    "not resumed": ("candidates", fresh, "candidates"),
    "negative": ("weights", negative, "weights"),
    "of the batch": ("weights", of_the_batch, "weights"),
    "one weight": ("weights", one_weight, "weights"),
    "smaller": ("metric", smaller_is_better, None),
    "one value": ("metric", one_value, None),
    "padding": ("model", Shifted, None),
    "items": ("model", Numberless, None),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_member_is_caught(broken):
    kind, thing, said = BROKEN[broken]
    softrec.register("broken", thing, kind=said)
    with pytest.raises(AssertionError) as caught:
        check_registered(kind)
    assert str(caught.value).startswith(f"{kind} 'broken'")


def test_a_broken_data_set_is_caught():
    SOURCES["broken"] = Source("broken", "a log", (), read=print, licence="any", citation="none",
                               homepage="")  # fmt: skip
    with refused(AssertionError):
        check_registered("data set")


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [(("colour",), {}), (("target", "unifrom"), {}), ((None, "uniform"), {}),
     (("target", "kd"), {}), (("target", "uniform"), {"alpha": 2})],
    ids=["kind", "name", "no kind", "needs settings", "settings"],
)  # fmt: skip
def test_what_cannot_be_checked(arguments, settings):
    with refused(AssertionError):
        check_registered(*arguments, **settings)
