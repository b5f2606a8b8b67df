"""How long a training may take: its epochs, and the refit that they ask for."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.errors import RecipeError
from softrec.experiments.fitted import budget_of
from softrec.progress import telling
from softrec.recipe.recipe import read_recipe
from softrec.recipe.specs.training import TrainingSettings
from softrec.training.budget import Budget


def curve(*epochs):
    return [{"seconds/train": train, "seconds/validate": validate} for train, validate in epochs]


@pytest.mark.parametrize(
    ("minutes", "refit", "epochs", "over"),
    [
        (10, 0, [(100, 20)] * 4, False),  # 480 of 600 seconds, and 120 more
        (9.9, 0, [(100, 20)] * 4, True),
        (18.3, 1, [(100, 20)] * 4, True),  # 480 + 120, and 5 * 100 again: 1,100
        (18.4, 1, [(100, 20)] * 4, False),
        (18.4, 1.1, [(100, 20)] * 4, True),  # 5 * 110 again
        (10, 0, [(300, 0), (100, 0), (100, 0)], False),  # the median epoch, not the first
        (9.9, 0, [(300, 0), (100, 0), (100, 0)], True),
        (0.001, 0, [(1, 0)], True),
    ],
)
def test_one_more_epoch_must_fit(minutes, refit, epochs, over):
    assert Budget(minutes, refit=refit).is_over(curve(*epochs)) is over


@given(st.lists(st.tuples(st.floats(1, 1e4), st.floats(0, 1e3)), min_size=1), st.floats(0.1, 1e4))
def test_a_refit_never_gives_more_time(epochs, minutes):
    with_refit, without = (Budget(minutes, refit=refit) for refit in (1.0, 0.0))
    assert with_refit.is_over(curve(*epochs)) >= without.is_over(curve(*epochs))


def test_the_line_says_what_would_take_too_long():
    told = []
    with telling(write=told.append):
        Budget(1, refit=1.0).is_over(curve((60, 1)))
    assert told == [
        "the training ends after epoch 1: one more and the refit would take longer than 60 s"
    ]


def test_a_rate_that_falls_to_the_last_epoch_is_refused():
    fields = {"data": {"source": "shop"}, "training": {"minutes": 5, "schedule": "cosine"}}
    with refused(RecipeError):
        read_recipe(fields)


@pytest.mark.parametrize(("refit", "longer"), [("none", 0), ("valid", 1.25), ("all", 1.5)])
def test_a_refit_has_more_events(refit, longer):
    events = {part: range(n) for part, n in (("train", 80), ("valid", 20), ("test", 20))}
    spec = TrainingSettings(minutes=7, refit=refit)
    assert budget_of(spec, SimpleNamespace(**events)) == Budget(7, refit=longer)
    assert budget_of(TrainingSettings(refit=refit), SimpleNamespace(**events)) is None
