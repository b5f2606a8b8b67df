"""The second counted model of a prior: its term is added, and it is chosen on validation."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_prior import HISTORIES, N, dense, events_of, expected, exported, knn

import softrec
from messages import refused
from softrec.errors import RecipeError
from softrec.experiments.card import card_of
from softrec.models.counted.markov import Markov
from softrec.models.memory import Memory
from softrec.models.prior import Prior
from softrec.recipe.specs.prior import as_chosen
from softrec.serving.prior import Offsets, added
from softrec.testing.encoders import padded

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")


def chain():
    return Markov(N, steps=2, recency=0.5)


@pytest.mark.parametrize(("first", "second"), [(1.7, 0.6), (0.0, 0.6), (1.7, 0.0)])
def test_adds_the_logarithms_of_both(first, second):
    settings = {"floor": 1e-3, "items": 4, "temperature": 1.0}
    prior = Prior(knn, strength=first, second=chain, second_strength=second, **settings)
    prior.fit(events_of(HISTORIES))
    batch = padded([[0, 1, 2], [5], [9, 8], [11]], N)
    total = torch.zeros(4, N)
    for make, strength in ((knn, first), (chain, second)):
        one = Prior(make, strength=strength, **settings)
        whole = make()
        whole.fit(events_of(HISTORIES))
        total += expected(one, whole, batch, 10, 4)
    torch.testing.assert_close(dense(prior.eval()(batch)), total, atol=1e-5, rtol=1e-5)
    prior.temperature = 0.25  # of cosines
    torch.testing.assert_close(dense(prior(batch)), total / 4, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def clicks():
    """The next item follows the last one, or is one of four that the user keeps coming back to."""
    draw = np.random.default_rng(0)
    users, length, n_items = 400, 10, 48
    group = draw.integers(0, 12, users)
    items = draw.integers(0, n_items, (users, length))
    for step in range(1, length):
        how = draw.random(users)
        own = group + 12 * draw.integers(0, 4, users)
        items[:, step] = np.where(how < 0.4, (items[:, step - 1] + 5) % n_items,
                                  np.where(how < 0.9, own, items[:, step]))  # fmt: skip
    return pl.DataFrame({"user": np.repeat(np.arange(users), length), "item": items.ravel()})


TINY = {"model": "gru4rec", "epochs": 1, "batch_size": 64, "length": 9, "model.dim": 8,
        "metrics": ("ndcg@10",), "evaluation.mask_seen": False}  # fmt: skip
KNN = {"name": "item-knn", "recency": 1.0}
CHOICE = {"model": {"name": "markov"}, "models": [KNN, {"name": "markov", "steps": 2}],
          "strengths": [0.0, 0.25, 0.5, 2.0], "pairs": True}  # fmt: skip


@pytest.fixture(scope="module")
def chosen(clicks, tmp_path_factory):
    """A run whose second model was chosen on validation."""
    return softrec.fit(clicks, out=tmp_path_factory.mktemp("pairs") / "run", prior=CHOICE, **TINY)


def test_is_chosen_on_validation(chosen, clicks, tmp_path):
    facts = chosen.facts["prior"]
    first = facts["model"]["name"]
    assert facts["second_strength"] != 1.0  # the default
    assert {first, facts["second"]["name"]} == {"markov", "item-knn"}
    alone = [row for row in facts["tried"] if "model" in row]
    pairs = [row for row in facts["tried"] if "second" in row]
    assert len(pairs) == 2 * 3  # two others, with each strength but 0
    best = max(pairs, key=lambda row: row["ndcg@10"])
    assert facts["second_strength"] == best["second_strength"]
    assert best["ndcg@10"] > max(row["ndcg@10"] for row in alone)
    again = [row for row in facts["tried"] if set(row) == {"strength", "ndcg@10"}]
    assert len(again) == 3  # the other strengths of the first, with the second
    assert chosen.valid["ndcg@10"] == pytest.approx(
        max(row["ndcg@10"] for row in [best, *again]), abs=1e-9
    )
    named = {n: facts[n] for n in ("model", "strength", "second", "second_strength")}
    given = softrec.fit(clicks, out=tmp_path / "given", prior=named, **TINY)
    assert given.valid == pytest.approx(chosen.valid)
    assert given.test == pytest.approx(chosen.test)
    single = softrec.fit(clicks, out=tmp_path / "single", prior=CHOICE | {"pairs": False}, **TINY)
    assert chosen.test["ndcg@10"] > single.test["ndcg@10"]


def test_what_is_computed_once_is_what_it_is_each_time(chosen, clicks, tmp_path, monkeypatch):
    monkeypatch.setattr(Memory, "of", lambda self, module, batch, compute: compute())
    again = softrec.fit(clicks, out=tmp_path / "run", prior=CHOICE, **TINY)
    assert again.facts["prior"] == chosen.facts["prior"]


def test_what_reads_a_run_has_both(chosen, clicks, tmp_path):
    again = softrec.open_run(chosen.folder)
    assert again.evaluate()["ndcg@10"] == pytest.approx(chosen.test["ndcg@10"], abs=1e-9)
    export, users = exported(again, tmp_path / "export"), list(range(20))
    export.prior.terms = export.prior.terms[:1]  # else the second shows nothing
    assert not export.recommend(users, 5).equals(chosen.recommender().recommend(users, 5))
    assert f"second:\n        name: {chosen.facts['prior']['second']['name']}" in card_of(chosen)


@pytest.mark.parametrize("strengths", [(0.5, 3.0), (0.0, 3.0)])
def test_each_has_its_own_strength_in_a_run_and_in_an_export(clicks, tmp_path, strengths):
    first, second = strengths
    both = {"model": {"name": "markov"}, "strength": first, "second": KNN,
            "second_strength": second}  # fmt: skip
    run = softrec.fit(clicks, out=tmp_path / "run", prior=both, **TINY)
    other = {"model": KNN, "strength": second, "second": {"name": "markov"},
             "second_strength": first}  # fmt: skip
    swapped = softrec.fit(clicks, out=tmp_path / "swapped", prior=other, **TINY)
    assert run.test == pytest.approx(swapped.test)
    if not first:
        single = {"model": KNN, "strength": second}
        alone = softrec.fit(clicks, out=tmp_path / "alone", prior=single, **TINY)
        assert run.test == pytest.approx(alone.test)
    assert softrec.open_run(run.folder).evaluate() == pytest.approx(run.test)
    exported(run, tmp_path / "export")


def test_popularity_must_be_better_than_both(clicks, tmp_path):
    """One that changes nothing is above the first model alone, as the second one is."""
    fields = CHOICE | {"popularities": [1e-9], "half_lives": [1e5]}
    timed = clicks.with_columns(time=pl.int_range(pl.len()).over("user"))
    run = softrec.fit(timed, out=tmp_path / "run", prior=fields, **TINY)
    assert run.facts["prior"]["second"] is not None
    assert run.facts["prior"]["popularity"] == 0.0
    assert len([row for row in run.facts["prior"]["tried"] if "popularity" in row]) > 1


def test_what_was_chosen_is_not_chosen_again(chosen):
    spec = as_chosen(chosen.recipe.prior, chosen.facts)
    assert not spec.chooses
    assert not spec.pairs
    assert (spec.strength, spec.second_strength) == (
        chosen.facts["prior"]["strength"], chosen.facts["prior"]["second_strength"]
    )  # fmt: skip


def test_a_refit_counts_both_again(chosen, clicks, tmp_path):
    run = softrec.fit(clicks, out=tmp_path / "run", prior=CHOICE, refit="valid", **TINY)
    assert run.facts["prior"] == chosen.facts["prior"]
    for before, after in zip(chosen.encoder().prior.terms(), run.encoder().prior.terms(),
                             strict=True):  # fmt: skip
        assert after[1] == before[1]
        assert type(after[0]) is type(before[0])
        assert not torch.equal(after[0].unscored, before[0].unscored)  # of more events


def test_noise_does_not_choose_it(tmp_path):
    draw = np.random.default_rng(1)
    log = pl.DataFrame({"user": np.repeat(np.arange(100), 8), "item": draw.integers(0, 48, 800)})
    fields = CHOICE | {"strengths": [0.5, 4.0], "second_strength": 3.0}
    run = softrec.fit(log, out=tmp_path / "run", prior=fields, **TINY)
    facts = run.facts["prior"]
    assert facts["second"] is None
    assert len([row for row in facts["tried"] if "second" in row]) == 4
    assert facts["second_strength"] == 3.0
    assert run.encoder().prior.second is None
    alone = [row for row in facts["tried"] if "model" in row
             and row["model"].startswith(facts["model"]["name"])]  # fmt: skip
    best = max(alone, key=lambda row: row["ndcg@10"])
    assert run.encoder().prior.strength == facts["strength"] == best["strength"]
    assert run.valid["ndcg@10"] == pytest.approx(best["ndcg@10"])


def test_of_equal_models_there_is_no_second(clicks, tmp_path):
    same = {"model": KNN, "models": [KNN], "strengths": [0.5], "pairs": True}
    run = softrec.fit(clicks, out=tmp_path / "run", prior=same, **TINY)
    assert run.facts["prior"]["second"] is None
    assert run.encoder().prior.strength == 0.5


@pytest.mark.parametrize("fields", [
    {"pairs": True},
    {"pairs": True, "models": ["rp3beta"], "second": "item-knn"},
    {"folds": 2, "second": "item-knn"},
    {"second": "popularity"},
])  # fmt: skip
def test_what_a_recipe_refuses(tmp_path, clicks, fields):
    with refused(RecipeError):
        softrec.fit(clicks, out=tmp_path / "run", prior=fields, **TINY)


@st.composite
def tables(draw, rows=3, width=6):
    """Return a table of offsets, and the same with all its zeros."""
    whole = np.zeros((rows, width), np.float32)
    for row in range(rows):
        for item in draw(st.sets(st.integers(0, width - 1))):
            whole[row, item] = draw(st.integers(1, 9))
    owner, items = whole.nonzero()
    starts = np.searchsorted(owner, np.arange(rows + 1))
    return Offsets(starts, items, whole[owner, items]), whole


@given(tables(), tables())
def test_the_sum_of_two_tables_is_that_of_their_numbers(one, two):
    total = added(one[0], two[0])
    rows = slice(0, 3)
    np.testing.assert_array_equal(total.add(rows, np.zeros((3, 6), np.float32)), one[1] + two[1])
    assert all((np.diff(total.of(slice(r, r + 1)).items) > 0).all() for r in range(3))
