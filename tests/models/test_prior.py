"""The prior: what it adds, whose events it counts, and that a run keeps it."""

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

import softrec
from messages import refused
from softrec.errors import RecipeError, RunError
from softrec.experiments.export import export_run
from softrec.experiments.priors import is_above
from softrec.experiments.runs import ranked
from softrec.models.counted.item_knn import ItemKNN
from softrec.models.prior import Prior
from softrec.recipe.recipe import read_recipe
from softrec.recipe.specs.prior import PriorSettings
from softrec.testing.encoders import at_every_step, padded
from softrec.types import Batch, Events

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
N = 12


def events_of(histories):
    lengths = torch.tensor([0, *map(len, histories)]).cumsum(0)
    return Events(lengths, torch.tensor([item for history in histories for item in history]))


def knn():
    return ItemKNN(N, k=N, recency=0.5)


def prior_of(histories, **settings):
    prior = Prior(knn, **settings)
    prior.fit(events_of(histories))
    return prior


def dense(offset, n=N):
    rows = len(offset.starts) - 1
    return offset.add(slice(0, rows), torch.zeros(rows, n))


def exported(run, folder):
    """Export a run, whose lists the export has."""
    export = export_run(run, folder)
    assert export.parity()["equal_but_ties"] == 1.0
    users = list(range(20))
    assert_frame_equal(export.recommend(users, 5), run.recommender().recommend(users, 5),
                       rel_tol=1e-4, abs_tol=1e-4)  # fmt: skip
    return export


HISTORIES = [[0, 1, 2], [1, 2, 3], [0, 2, 4], [5, 6, 0], [2, 1, 0, 7], [3, 4], [8, 9]]


def expected(prior, scorer, batch, last, k=N):
    """Return the numbers from the whole table of scores of a counted model."""
    table = scorer.table.toarray()
    found = []
    for row in batch.history.tolist():
        history = [item for item in row if item != N][-last:]
        scores = sum(0.5 ** (len(history) - 1 - t) * table[i] for t, i in enumerate(history))
        probs = scores / (scores.sum() or 1)
        probs[np.argsort(-probs, kind="stable")[k:]] = 0
        found.append(prior.strength * np.log1p(probs / prior.floor))
    return torch.tensor(np.array(found), dtype=torch.float32)


@pytest.mark.parametrize("last", [1, 2, 10])
@pytest.mark.parametrize("items", [2, N])
def test_adds_the_logarithm_of_counted_probabilities(last, items):
    prior = prior_of(HISTORIES, strength=1.7, floor=1e-3, last=last, items=items).eval()
    batch = padded([[0, 1, 2], [5], [9, 8], [11]], N)
    whole = knn()
    whole.fit(events_of(HISTORIES))
    torch.testing.assert_close(
        dense(prior(batch)), expected(prior, whole, batch, last, items), atol=1e-5, rtol=1e-5
    )
    assert not dense(prior(batch))[3].any()  # nobody had item 11


def test_in_training_a_user_reads_the_counts_of_the_other_folds():
    folds = 3
    prior = prior_of(HISTORIES, floor=1e-3, folds=folds).train()
    users = torch.tensor([6, 0, 4, 5])
    batch = padded([HISTORIES[u][:-1] for u in users], N)._replace(user=users)
    found = dense(prior(batch))
    for row, user in enumerate(users.tolist()):
        others = knn()
        others.fit(events_of([h if u % folds != user % folds else []
                              for u, h in enumerate(HISTORIES)]))  # fmt: skip
        one = Batch(*(part if part is None else part[row : row + 1] for part in batch))
        torch.testing.assert_close(found[row], expected(prior, others, one, 10)[0])
    assert not found[0].any()  # nobody else had 8 and 9: its label does not stand out
    assert dense(prior.eval()(batch))[0, 9] > 0


def test_each_prediction_has_the_numbers_of_its_prefix():
    prior = prior_of(HISTORIES, folds=2).train()
    users = torch.tensor([0, 3])
    whole = padded([[0, 1, 2], [5, 6]], N)._replace(user=users)
    steps = at_every_step(whole, [3, 2])
    parts = padded([[0], [0, 1], [0, 1, 2], [5], [5, 6]], N)
    parts = parts._replace(user=torch.tensor([0, 0, 0, 3, 3]))
    torch.testing.assert_close(dense(prior(steps)), dense(prior(parts)))


@pytest.fixture
def clicks():
    """Users who go around a circle of items, and a rare step elsewhere."""
    rng = np.random.default_rng(0)
    start = rng.integers(40, size=(150, 1))
    items = (start + np.arange(8) * rng.integers(1, 3, size=(150, 1))) % 40
    return pl.DataFrame(
        {"user": np.repeat(np.arange(150), 8), "item": items.ravel(),
         "time": np.tile(np.arange(8), 150)}
    )  # fmt: skip


TINY = {"model": "sasrec", "epochs": 1, "batch_size": 32, "length": 6, "model.dim": 8,
        "model.layers": 1, "metrics": ("ndcg@10",)}  # fmt: skip
PRIOR = {"model": "markov", "strength": 1.5}


@pytest.mark.parametrize("folds", [0, 3])
def test_a_run_keeps_its_prior(tmp_path, clicks, folds):
    run = softrec.fit(clicks, out=tmp_path / "run", prior={**PRIOR, "folds": folds}, **TINY)
    plain = softrec.fit(clicks, out=tmp_path / "plain", **TINY)
    assert run.test["ndcg@10"] > plain.test["ndcg@10"] + 0.2  # one epoch teaches a model nothing
    again = softrec.open_run(tmp_path / "run")
    assert again.evaluate()["ndcg@10"] == pytest.approx(run.test["ndcg@10"], abs=1e-9)
    first = again.recommender().recommend(users=[0, 1, 2], k=5)
    assert first.height == 15
    weights = again.encoder().state_dict()
    assert any(name.startswith("prior.whole") for name in weights)
    trained = {n.removeprefix("encoder."): w for n, w in weights.items() if n[:8] == "encoder."}
    same = [torch.equal(w, trained[n]) for n, w in plain.encoder().state_dict().items()]
    assert all(same) == (folds == 0)  # without folds only the ranking has it


def test_a_model_of_16_bits_has_its_prior(tmp_path, clicks):
    """NumPy, which reads the counted table, has no such numbers."""
    some = {**TINY, "precision": "bf16-true"}
    run = softrec.fit(clicks, out=tmp_path / "run", prior=PRIOR, **some)
    plain = softrec.fit(clicks, out=tmp_path / "plain", **some)
    assert run.test["ndcg@10"] > plain.test["ndcg@10"] + 0.2
    assert run.evaluate()["ndcg@10"] == pytest.approx(run.test["ndcg@10"], abs=1e-2)


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
@pytest.mark.parametrize(
    "more",
    [
        {"prior": {**PRIOR, "folds": 2}},
        {"target": "co-occurrence"},
        {"candidates": {"name": "mixed", "number": 5, "sampler": "popularity"}},
        {"target": {"name": "kd", "teacher": "teacher"}},
    ],
)
def test_what_is_counted_or_taught_has_the_precision_of_the_training(
    tmp_path, clicks, monkeypatch, precision, more
):
    monkeypatch.chdir(tmp_path)
    if "teacher" in str(more):
        softrec.fit(clicks, out="teacher", **TINY)
    run = softrec.fit(clicks, out="run", **{**TINY, "precision": precision, **more})
    assert run.test["ndcg@10"] > 0


@pytest.mark.parametrize("place", ["model", "models", "second"])
def test_smoothing_which_a_prior_does_not_read_is_refused(place):
    smoothed = {"name": "markov", "smoothing": 0.5}
    with refused(RecipeError):
        read_recipe({"data": {"source": "shop"}, "prior": {
            place: [smoothed] if place == "models" else smoothed}})  # fmt: skip


@pytest.mark.parametrize("model", ["comirec-sa", "timirec"])
def test_interests_are_those_of_the_model(tmp_path, clicks, model):
    """A prior is added to scores; the interests, their measures and `why` are of the encoder."""
    tiny = {n: v for n, v in TINY.items() if n != "model.layers"}
    own = {**tiny, "model": model, "model.interests": 2, "model.length": 6}
    run = softrec.fit(clicks, out=tmp_path / "run", prior=PRIOR, **own)
    plain = softrec.fit(clicks, out=tmp_path / "plain", **own)
    with_prior, without = (r.recommender() for r in (run, plain))
    assert with_prior.recommend([0, 1], k=4, why=True)["interest"].is_in([0, 1]).all()
    assert with_prior.interests([0, 1]).equals(without.interests([0, 1]))
    name = "interest_distance"
    assert run.facts["lists"][name] == pytest.approx(plain.facts["lists"][name])


def test_a_model_may_start_from_a_run_with_a_prior(tmp_path, clicks):
    softrec.fit(clicks, out=tmp_path / "run", prior=PRIOR, **TINY)
    for name, fields in (("with", {"prior": PRIOR}), ("without", {})):
        more = {**TINY, **fields, "training.start": str(tmp_path / "run")}
        assert softrec.fit(clicks, out=tmp_path / name, **more).test["ndcg@10"] > 0


def test_a_run_with_a_prior_is_no_teacher(tmp_path, clicks):
    softrec.fit(clicks, out=tmp_path / "run", prior=PRIOR, **TINY)
    with refused(RunError):
        softrec.fit(clicks, out=tmp_path / "student", target="kd", teacher=tmp_path / "run", **TINY)


def test_a_run_with_a_prior_is_exported_with_it(tmp_path, clicks):
    fields = {**PRIOR, "strengths": [0.5, 4.0]}
    run = softrec.fit(clicks, out=tmp_path / "run", prior=fields, **TINY)
    export = exported(run, tmp_path / "export")
    assert export.facts["prior"]["terms"][0]["strength"] == run.facts["prior"]["strength"]
    users = list(range(20))
    (term,) = export.prior.terms
    export.prior.terms = [term._replace(strength=0.0)]  # else the prior shows nothing
    assert not export.recommend(users, 5).equals(run.recommender().recommend(users, 5))


@pytest.mark.parametrize("fields", [
    {"prior": {"model": "popularity"}},
    {"prior": {"folds": 1}},
    {"prior": {"folds": 2, "models": ["rp3beta"]}},
    {"prior": {"models": ["markov", "popularity"]}},
    {"prior": {"model": "rp3beta-popularity"}},
    {"prior": PRIOR, "loss": "bpr"},
    {"prior": PRIOR, "evaluation.score": "cosine"},
    {"prior": {**PRIOR, "folds": 2}, "loss": "sl"},
    {"prior": {**PRIOR, "folds": 2}, "loss": "mixed", "score_temperature": 0.5},
    {"prior": {**PRIOR, "folds": 2}, "weights": "slatk", "loss": "mixed"},
    {"prior": PRIOR, "model": "item-knn"},
])  # fmt: skip
def test_what_a_recipe_refuses(tmp_path, clicks, fields):
    model = {n: v for n, v in TINY.items() if n not in ("model.dim", "model.layers", "epochs",
                                                        "batch_size")}  # fmt: skip
    with refused(RecipeError):
        softrec.fit(clicks, out=tmp_path / "run", **{**model, **fields})


# The best epoch is chosen with the prior; of one epoch it is the same without.
COSINES = {"model": "mf", "loss": "sl", "score_temperature": 0.2, "windows": "interactions",
           "epochs": 1, "batch_size": 32, "length": 6, "model.dim": 8,
           "metrics": ("ndcg@10",)}  # fmt: skip


def test_is_added_to_the_logits_of_cosines(tmp_path, clicks):
    """(cosine + o) / t has the logarithms of the prior at strength g; an export has the same."""
    run = softrec.fit(clicks, out=tmp_path / "run", prior=PRIOR, **COSINES)
    plain = softrec.fit(clicks, out=tmp_path / "plain", **COSINES)
    batch = padded([[0, 1, 2], [5, 6]], 40)._replace(user=torch.tensor([0, 3]))
    rows, inner = slice(0, 2), run.encoder()
    with torch.no_grad():
        scores, cosines = (
            ranked(r.encoder(), r.recipe).scores()(batch).fill(rows, torch.empty(2, 40))
            for r in (run, plain)
        )
    assert cosines.abs().max() <= 1 + 1e-6
    inner.prior.temperature = 1.0
    logarithms = dense(inner.prior(batch), 40)
    assert logarithms.any(1).all()
    torch.testing.assert_close((scores - cosines) / 0.2, logarithms, atol=1e-4, rtol=1e-4)
    assert export_run(run, tmp_path / "export").parity()["equal_but_ties"] == 1.0


def test_thresholds_of_weights_are_those_of_the_trained_scores(tmp_path, clicks):
    """Without folds the prior is in rankings alone, and SL@K trains as without it."""
    weights = {"name": "slatk", "rank": 3, "renew": 1}
    run, plain = (
        softrec.fit(clicks, out=tmp_path / name, weights=weights, **COSINES, **fields)
        for name, fields in (("run", {"prior": PRIOR}), ("plain", {}))
    )
    for name, value in plain.encoder().state_dict().items():
        assert torch.equal(run.encoder().state_dict()[f"encoder.{name}"], value)
    assert run.test != plain.test


def test_the_name_of_the_default_model_means_its_settings():
    default = PriorSettings()
    assert PriorSettings.model_validate({"model": "markov"}) == default
    assert default.model.settings == {"steps": 10, "recency": 0.8}
    single = PriorSettings.model_validate({"model": {"name": "markov"}})
    assert single.model.settings == {}


def test_the_strength_is_chosen_on_validation(tmp_path, clicks):
    tried = [0.0, 1.5, 0.5]
    fields = {"model": "markov", "strength": 0.5, "strengths": tried}
    run = softrec.fit(clicks, out=tmp_path / "run", prior=fields, **TINY)
    found = {row["strength"]: row["ndcg@10"] for row in run.facts["prior"]["tried"]}
    assert list(found) == tried
    for strength, metric in found.items():
        own = {"model": "markov", "strength": strength}
        alone = softrec.fit(clicks, out=tmp_path / f"{strength}", prior=own, **TINY)
        assert alone.valid["ndcg@10"] == pytest.approx(metric, abs=1e-9)
        if strength == run.facts["prior"]["strength"]:
            assert run.test == pytest.approx(alone.test)
            assert run.valid == pytest.approx(alone.valid)
    assert run.valid["ndcg@10"] == max(found.values()) > found[0.0]
    assert run.recipe.prior.strength == 0.5  # what was asked for
    again = softrec.open_run(tmp_path / "run")
    assert again.encoder().prior.strength == run.facts["prior"]["strength"]
    assert again.evaluate()["ndcg@10"] == pytest.approx(run.test["ndcg@10"], abs=1e-9)


MODELS = [{"name": "markov", "steps": 3, "recency": 0.9}, "rp3beta"]


@pytest.fixture(scope="module")
def of_several(tmp_path_factory):
    """A log in which the next item follows the last one but two, and a run with several priors."""
    draw = np.random.default_rng(0)
    items = draw.integers(0, 12, (200, 9))
    for step in range(3, 9):
        follows = draw.random(200) < 0.8
        items[:, step] = np.where(follows, (items[:, step - 3] + 5) % 12, items[:, step])
    log = pl.DataFrame({"user": np.repeat(np.arange(200), 9), "item": items.ravel()})
    fields = {"model": {"name": "markov"}, "models": MODELS, "strengths": [0.0, 0.5, 4.0]}
    tiny = {**TINY, "evaluation.mask_seen": False}
    run = softrec.fit(log, out=tmp_path_factory.mktemp("priors") / "run", prior=fields, **tiny)
    return log, tiny, run


def test_the_counted_model_is_chosen_on_validation(of_several, tmp_path):
    log, tiny, run = of_several
    chosen, tried = run.facts["prior"], run.facts["prior"]["tried"]
    assert [row["model"] for row in tried] == (
        ["markov"] * 3 + ["markov (steps 3, recency 0.9)"] * 2 + ["rp3beta"] * 2
    )
    assert (chosen["model"]["name"], chosen["model"]["steps"]) == ("markov", 3)
    assert run.valid["ndcg@10"] == max(row["ndcg@10"] for row in tried)
    own = {"model": MODELS[0], "strength": chosen["strength"]}
    alone = softrec.fit(log, out=tmp_path / "alone", prior=own, **tiny)
    assert alone.valid == pytest.approx(run.valid)
    assert alone.test == pytest.approx(run.test)
    assert run.recipe.prior.model.settings == {}  # what was asked for


def test_what_reads_a_run_has_the_counted_model_that_was_chosen(of_several, tmp_path):
    log, tiny, run = of_several
    again = softrec.open_run(run.folder)
    assert again.encoder().prior.whole.steps == 3
    assert again.evaluate()["ndcg@10"] == pytest.approx(run.test["ndcg@10"], abs=1e-9)
    assert export_run(run, tmp_path / "export").parity()["equal_but_ties"] == 1.0
    prior = run.recipe.prior.model_dump(mode="json")
    refitted = softrec.fit(log, out=tmp_path / "refit", prior=prior, refit="valid", **tiny)
    assert refitted.facts["prior"] == run.facts["prior"]
    assert refitted.encoder().prior.whole.steps == 3
    counts = [one.encoder().prior.whole.values.sum() for one in (run, refitted)]
    assert counts[0] < counts[1]


def test_another_model_must_be_better_by_more_than_a_standard_error():
    first = np.array([0.1, 0.5, 0.3, 0.2])
    little = first + np.array([0.5, -0.4, 0.0, 0.0])  # 0.025 better, standard error 0.185
    assert little.mean() > first.mean()
    assert not is_above(little, first)
    assert is_above(first + np.array([0.1, 0.2, 0.1, 0.15]), first)
    assert not is_above(first, first)
    assert not is_above(np.array([1.0]), np.array([0.0]))  # one case tells nothing


def test_a_refit_keeps_the_strength_that_was_chosen(tmp_path, clicks):
    prior = {"model": "markov", "strength": 0.5, "strengths": [0.0, 1.5]}
    old = softrec.fit(clicks, out=tmp_path / "old", prior=prior, **TINY)
    more = clicks.with_columns(item=(pl.col("item") + 1) % 40, time=pl.col("time") + 100)
    options = {"progress": False, "margin": 1, "floor": 0, "epochs": 1}
    new = softrec.update(old.folder, more, out=tmp_path / "new", refit=True, **options)
    assert new.facts["refit"]
    assert new.run.encoder().prior.strength == new.run.facts["prior"]["strength"] == 1.5
