"""Popularity in the prior: what it adds to all rows, when it is chosen, and that a run keeps it."""

import numpy as np
import polars as pl
import pytest
import torch
from test_prior import exported

import softrec
from messages import refused
from softrec.errors import DataError, RecipeError
from softrec.experiments.card import card_of
from softrec.experiments.runs import ranked
from softrec.models.counted.item_knn import ItemKNN
from softrec.models.prior import Prior, WithPrior
from softrec.models.sasrec import SASRec
from softrec.scoring import Scored, Scoring
from softrec.testing.encoders import padded
from softrec.types import Events

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
N = 6
EVENTS = Events(torch.tensor([0, 3, 6]), torch.tensor([0, 1, 2, 3, 1, 1]),
                torch.tensor([0, 10, 40, 20, 30, 40]))  # fmt: skip


def prior(**settings):
    made = Prior(lambda: ItemKNN(N), **{"floor": 1e-3, **settings})
    made.fit(EVENTS)
    return made


def expected(factor, half_life, floor, times=(0, 10, 40, 20, 30, 40), items=(0, 1, 2, 3, 1, 1)):
    counts = np.zeros(N)
    for time, item in zip(times, items, strict=True):
        counts[item] += 0.5 ** ((40 - time) / (half_life * 40))
    return factor * np.log(1 + counts / counts.sum() / floor)


@pytest.mark.parametrize(("half_life", "factor"), [(0.25, 1.0), (1.0, 0.5), (0.05, 3.0)])
def test_adds_the_logarithm_of_the_recent_share(half_life, factor):
    made = prior(half_life=half_life, popularity=factor, temperature=0.2)
    found = made.of_items().numpy()
    np.testing.assert_allclose(found, 0.2 * expected(factor, half_life, 1e-3), rtol=1e-5)
    assert found[4] == found[5] == 0  # nobody had them
    np.testing.assert_array_equal(made.of_items(slice(1, 4)).numpy(), found[1:4])


@pytest.mark.parametrize("bias", [False, True])
def test_is_part_of_the_bias_in_rankings_alone(bias):
    torch.manual_seed(0)
    inner = SASRec(N, dim=4, layers=1, length=3, output_bias=bias)
    whole = WithPrior(inner, prior(popularity=2.0, strength=0.0)).eval()
    batch = padded([[0, 1], [4]], N)
    with torch.no_grad():
        plain, scores = (
            model.scores()(batch).fill(slice(0, 2), torch.empty(2, N)) for model in (inner, whole)
        )
    torch.testing.assert_close(scores - plain, whole.prior.of_items().float().expand(2, N))
    whole.train()
    found = whole.items().bias
    assert (found is None) if not bias else torch.equal(found, inner.items().bias)


def test_without_a_factor_nothing_is_counted():
    """A log without times has a prior all the same."""
    made = Prior(lambda: ItemKNN(N))
    made.fit(EVENTS._replace(times=None))
    assert not len(made.recent)
    made.popularity = 1.0
    with refused(DataError):
        made.fit_popularity(EVENTS._replace(times=None))


@pytest.fixture(scope="module")
def clicks():
    """Four of five events are of ten items, which are others after some days."""
    draw = np.random.default_rng(0)
    users, length, n_items = 400, 8, 200
    times = np.sort(draw.uniform(0, 12, (users, length)), 1)
    now = (4 * times).astype(int) + draw.integers(0, 10, times.shape)
    any_day = draw.integers(0, n_items, times.shape)
    items = np.where(draw.random(times.shape) < 0.8, now, any_day)
    return pl.DataFrame({"user": np.repeat(np.arange(users), length), "item": items.ravel(),
                         "time": (times.ravel() * 86400).astype(np.int64)})  # fmt: skip


TINY = {"model": "gru4rec", "epochs": 1, "batch_size": 64, "length": 5, "model.dim": 8,
        "metrics": ("ndcg@10",), "evaluation.mask_seen": False, "split": "time"}  # fmt: skip
LIVES = [0.5, 0.01, 1e-6]
CHOICE = {"model": "markov", "strength": 0.0, "popularities": [1.0, 0.25, 4.0], "half_lives": LIVES}


@pytest.fixture(scope="module")
def chosen(clicks, tmp_path_factory):
    """A run whose popularity was chosen on validation."""
    return softrec.fit(clicks, out=tmp_path_factory.mktemp("popular") / "run", prior=CHOICE, **TINY)


def test_half_life_and_factor_are_chosen_on_validation(chosen, clicks, tmp_path):
    facts = chosen.facts["prior"]
    tried = [row for row in facts["tried"] if "popularity" in row]
    best = max(tried[:3], key=lambda row: row["ndcg@10"])["half_life"]
    assert [(row["popularity"], row["half_life"]) for row in tried] == (
        [(1.0, life) for life in LIVES] + [(0.25, best), (4.0, best)]
    )
    assert best == 0.01  # 3 hours of 12 days, in which an item is popular for 2 or 3 days
    assert facts["half_life"] == best
    assert facts["popularity"] in (1.0, 0.25, 4.0)
    assert chosen.recipe.prior.popularity == 0.0  # what was asked for
    own = {"model": "markov", "strength": 0.0, "half_life": best}
    for row in [one for one in tried if one["half_life"] == best]:
        alone = softrec.fit(clicks, out=tmp_path / f"{row['popularity']}",
                            prior=own | {"popularity": row["popularity"]}, **TINY)  # fmt: skip
        assert alone.valid["ndcg@10"] == pytest.approx(row["ndcg@10"], abs=1e-9)
        if row["popularity"] == facts["popularity"]:
            assert alone.test == pytest.approx(chosen.test)
    plain = softrec.fit(clicks, out=tmp_path / "plain", **TINY)
    assert chosen.test["ndcg@10"] > plain.test["ndcg@10"] + 0.03


def test_the_strength_is_chosen_once_more_with_it(clicks, tmp_path):
    """And then the factors: what is kept is the best of all that was tried."""
    fields = CHOICE | {"strengths": [0.0, 0.5, 8.0]}
    run = softrec.fit(clicks, out=tmp_path / "run", prior=fields, **TINY)
    alone, tried = ([row for row in run.facts["prior"]["tried"] if ("popularity" in row) is with_it]
                    for with_it in (False, True))  # fmt: skip
    first = max(alone, key=lambda row: row["ndcg@10"])["strength"]
    factors = [row["popularity"] for row in tried if row["strength"] == first]
    assert factors[3:5] == [0.25, 4.0]
    assert {row["strength"] for row in tried} == {0.0, 0.5, 8.0}
    best = max(tried, key=lambda row: row["ndcg@10"])
    kept = {name: run.facts["prior"][name] for name in ("strength", "popularity", "half_life")}
    assert kept.items() <= best.items()
    assert run.encoder().prior.strength == kept["strength"]
    assert run.valid["ndcg@10"] == pytest.approx(best["ndcg@10"])


def test_a_run_keeps_it_and_an_export_has_it(chosen, tmp_path):
    again = softrec.open_run(chosen.folder)
    assert again.evaluate()["ndcg@10"] == pytest.approx(chosen.test["ndcg@10"], abs=1e-9)
    exported(again, tmp_path / "export")
    bias = ranked(again.encoder(), again.recipe).items().bias
    assert bias.max() > 1


def test_cards_and_comparisons_tell_of_it(chosen, clicks, tmp_path):
    text = card_of(chosen)
    assert f"popularity: {chosen.facts['prior']['popularity']}" in text
    found = softrec.compare(clicks, targets="one-hot,uniform", seeds=1, out=tmp_path / "compared",
                            baselines=False, progress=False, prior=CHOICE, **TINY)  # fmt: skip
    note = "Each row got a prior, which is added to scores: what is counted about the items"
    assert [one for one in found.results.notes if one.startswith(note)]
    assert any("and the popularity of now, as validation chooses" in n for n in found.results.notes)


def test_a_refit_counts_it_again_up_to_the_test(chosen, clicks, tmp_path):
    run = softrec.fit(clicks, out=tmp_path / "run", prior=CHOICE, refit="valid", **TINY)
    assert run.facts["prior"] == chosen.facts["prior"]
    newest = [one.encoder().prior.recent.argmax().item() for one in (chosen, run)]
    days = [one.encoder().prior.recent.topk(5).indices for one in (chosen, run)]
    assert newest[0] != newest[1] or not torch.equal(*days)
    assert run.test["ndcg@10"] > chosen.test["ndcg@10"]  # the items of the day before the test


def test_of_a_log_without_times_nothing_is_tried(clicks, tmp_path):
    some = clicks.drop("time").head(600)
    options = {**TINY, "split": "leave-last-out"}
    run = softrec.fit(some, out=tmp_path / "run", prior=CHOICE, **options)
    assert run.facts["prior"]["popularity"] == 0.0
    assert not [row for row in run.facts["prior"]["tried"] if "popularity" in row]
    with refused(DataError):
        softrec.fit(some, out=tmp_path / "b", prior={"popularity": 1.0}, **options)


def test_noise_does_not_choose_it(tmp_path):
    """Where no item is popular for a while, what was tried is no better than by chance."""
    draw = np.random.default_rng(1)
    log = pl.DataFrame({"user": draw.permutation(1000) % 200, "item": draw.integers(0, 50, 1000),
                        "time": np.arange(1000)})  # fmt: skip
    run = softrec.fit(log, out=tmp_path / "run", prior=CHOICE, **TINY)
    assert run.facts["prior"]["popularity"] == 0.0
    assert not len(run.encoder().prior.recent)


def test_half_lives_without_factors_are_refused(clicks, tmp_path):
    with refused(RecipeError):
        softrec.fit(clicks, out=tmp_path / "run", prior={"half_lives": LIVES}, **TINY)


@pytest.mark.parametrize("target", ["mean-teacher", "csn"])
def test_a_target_of_own_predictions_is_without_it(clicks, tmp_path, target):
    some = {**TINY, "target": {"name": target, "alpha": 0.5}}
    popular = {"model": "markov", "strength": 0.0, "popularity": 8.0}
    runs = [
        softrec.fit(clicks.head(800), out=tmp_path / name, prior=prior, **some).encoder()
        for name, prior in {"with": popular, "without": None}.items()
    ]
    own = runs[0].encoder.state_dict()
    for name, weight in runs[1].state_dict().items():
        torch.testing.assert_close(own[name], weight, rtol=0, atol=0)


def test_a_factor_of_0_does_not_choose_the_half_life(chosen, clicks, tmp_path):
    fields = CHOICE | {"popularities": [0.0, 1.0, 0.25, 4.0]}
    run = softrec.fit(clicks, out=tmp_path / "run", prior=fields, **TINY)
    kept = ("popularity", "half_life")
    assert [run.facts["prior"][n] for n in kept] == [chosen.facts["prior"][n] for n in kept]


def test_no_factors_in_place_of_those_of_a_preset(clicks, tmp_path):
    fields = CHOICE | {"popularities": []}
    run = softrec.fit(clicks.head(800), out=tmp_path / "run", prior=fields, **TINY)
    assert run.recipe.prior.popularity == 0.0


def test_similar_items_are_those_of_the_encoder():
    inner = Scored(SASRec(N, dim=4, layers=1, length=3), Scoring("euclidean")).eval()
    chosen, weights = torch.tensor([[1], [2]]), torch.ones(2, 1)
    whole = WithPrior(inner, prior(popularity=2.0)).eval()
    with torch.no_grad():
        found, expected = (
            model.similarities()(chosen, weights).fill(slice(0, 2), torch.empty(2, N))
            for model in (whole, inner)
        )
    torch.testing.assert_close(found, expected)
