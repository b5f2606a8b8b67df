"""A refit: once more with held-out events, from the same first weights, for as many epochs."""

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

import softrec
from kills import killed
from messages import refused
from softrec.data.interactions import Interactions
from softrec.data.refit import for_refit
from softrec.errors import RecipeError, RunError
from softrec.experiments import refit, train
from softrec.experiments.build.data import load_split, split_of
from softrec.experiments.build.model import build_model, training_events
from softrec.experiments.build.objective import build
from softrec.experiments.evaluator import Evaluator
from softrec.experiments.refit import refitted
from softrec.experiments.train import fit_recipe, resolved
from softrec.models.counted.sparse import TableScorer
from softrec.progress import telling
from softrec.recipe.recipe import merged, read_recipe
from softrec.recipe.specs.prior import as_chosen
from softrec.targets.smoothing import PopularityTarget
from softrec.training.loop import train as trained

USERS, ITEMS = 60, 30


def clicks(users=USERS, first=0, seed=0, begin=0):
    """Users who mostly step to the next item, with times."""
    draw = np.random.default_rng(seed)
    items = (draw.integers(ITEMS, size=(users, 1)) + np.arange(8)) % ITEMS
    noise = draw.integers(ITEMS, size=items.shape)
    items = np.where(draw.random(items.shape) < 0.4, noise, items)
    return pl.DataFrame({
        "user": np.repeat(np.arange(users) + first, 8), "item": items.ravel(),
        "time": begin + np.tile(np.arange(8), users),
    })  # fmt: skip


LOG = Interactions.read(clicks())
BASE = {
    "data": {"source": "memory:clicks"},
    "model": {"name": "gru4rec", "dim": 8, "dropout": 0.2},
    "training": {"epochs": 6, "patience": 2, "batch_size": 16, "length": 6, "lr": 0.03,
                 "accelerator": "cpu"},
    "evaluation": {"metrics": ["ndcg@10"], "mask_seen": True},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def recipe_of(changes=(), on="none"):
    own = dict(changes)
    counted = own.get("model", {}).get("name") in ("popularity", "item-knn", "markov")
    base = {**BASE, "training": {"length": 6}} if counted else BASE
    return read_recipe(merged(base, own | {"training.refit": on}))


def fitted(folder, changes=(), on="none", **options):
    return fit_recipe(recipe_of(changes, on), folder, log=LOG, **options)


def weights(run):
    return load_file(run.folder / "model.safetensors")


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


LINES: dict[str, list[str]] = {"none": [], "valid": [], "all": []}
"""What was said while each of `runs` was trained."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("runs"), {}
    for on, lines in LINES.items():
        with telling(write=lines.append):
            found[on] = fitted(folder / on, on=on)
    return found


def by_hand(run, on, folder):
    """The weights of a training of as many epochs on the larger part, of which the last is kept."""
    larger = for_refit(run.split(), on)
    spec, epochs = run.recipe.training, run.facts["best_epoch"]
    encoder, objective, batches = build(run.recipe, larger)
    rising = iter(range(100))
    folder.mkdir()
    result = trained(
        encoder, objective, batches, lambda _: {"ndcg@10": float(next(rising))}, folder,
        epochs=epochs, lr=spec.lr, patience=100,
    )  # fmt: skip
    assert len(result.curve) == result.best_epoch == epochs
    return encoder


@pytest.mark.parametrize("on", ["valid", "all"])
def test_it_is_the_training_by_hand_on_the_larger_part(runs, tmp_path, on):
    assert 1 < runs["none"].facts["best_epoch"] < runs["none"].facts["epochs"]
    assert same(dict(by_hand(runs["none"], on, tmp_path / "by").state_dict()), weights(runs[on]))
    assert len(runs[on].trained_on) == {"valid": 7 * USERS, "all": 8 * USERS}[on]
    epochs = [line for line in LINES[on] if line.startswith("refit, epoch")]
    assert len(epochs) == runs["none"].facts["best_epoch"]


def test_what_was_chosen_is_what_validation_chose_and_the_test_is_of_the_refit(runs):
    plain, valid, everything = runs.values()
    for run in (valid, everything):
        for name in ("valid", "best_epoch", "epochs", "seconds_per_epoch"):
            if name != "seconds_per_epoch":
                assert run.facts[name] == plain.facts[name]
        assert [row["valid/ndcg@10"] for row in run.facts["curve"]] == [
            row["valid/ndcg@10"] for row in plain.facts["curve"]
        ]
        assert run.facts["seconds"] > sum(
            row["seconds/train"] + row["seconds/validate"] for row in run.facts["curve"]
        )
        assert not (run.folder / "refit").exists()
        assert run.facts["data"] == plain.facts["data"]
    assert everything.test == plain.test
    assert everything.per_user.equals(plain.per_user)
    assert valid.test != plain.test
    judge = Evaluator(valid.recipe, valid.split(), "test")
    assert judge.means(valid.model()) == valid.test == valid.evaluate("test")
    assert valid.per_user.equals(judge.per_user(valid.model()))
    assert valid.lists == judge.with_lists(valid.model())[1]


def test_a_run_says_so_and_cannot_be_judged_by_what_it_knows(runs):
    plain, valid, everything = runs.values()
    assert [run.refit for run in runs.values()] == ["none", "valid", "all"]
    assert "once more" not in repr(plain)
    best = valid.facts["best_epoch"]
    assert f"on training and validation events to epoch {best}, and tested so" in repr(valid)
    assert f"on all events to epoch {best}, after the test" in repr(everything)
    for run, part in ((valid, "valid"), (everything, "valid"), (everything, "test")):
        with refused(RunError):
            run.evaluate(part)


def test_all_statistics_are_of_the_larger_part(tmp_path, own_members):
    found = []

    @softrec.register("seen")
    def seen(training, alpha: float = 0.3):
        found.append({
            "items": training.item_counts, "labels": training.label_counts,
            "events": training.events, "facts": training.facts,
        })  # fmt: skip
        return PopularityTarget(training.item_counts / training.item_counts.sum())

    run = fitted(tmp_path / "run", {"target": {"name": "seen"}}, "valid")
    split = run.split()
    first, second = found
    for seen_, parts in ((first, [split.train]), (second, [split.train, split.valid])):
        counts = sum(part.item_counts for part in parts)
        assert seen_["items"].tolist() == counts.tolist()
        assert seen_["labels"].sum() == counts.sum() - USERS  # all but the first of each user
        assert seen_["events"].shape[1] == counts.sum()
    assert first["facts"] != second["facts"]  # else artifacts of the smaller part are found


MEMBERS = {
    "weights of popularity": {"weights": {"name": "inverse-propensity"}},
    "weights of recency": {"weights": {"name": "recency"}},
    "mass by counts": {"target": {"name": "pop+", "mass": {"by": "label-count"}}},
    "co-occurrence": {"target": {"name": "co-occurrence", "alpha": 0.3}},
    "sampled by popularity": {
        "candidates": {"name": "sampled", "number": 5, "sampler": "popularity"}
    },
    "thresholds": {"weights": {"name": "slatk"}, "loss": {"name": "sl"}},
    "adjustment": {"loss": {"name": "mixed", "logit_adjustment": 0.5}},
    "a graph": {"model": {"name": "lightgcn", "dim": 8, "layers": 1},
                "training.windows": "interactions"},
}  # fmt: skip


@pytest.mark.parametrize("name", MEMBERS)
def test_what_reads_counts_reads_those_of_the_larger_part(tmp_path, name):
    changes = MEMBERS[name] | {"training.epochs": 2}
    run = fitted(tmp_path / "run", changes, "valid")
    assert same(dict(by_hand(run, "valid", tmp_path / "by").state_dict()), weights(run))
    model = softrec.open_run(run.folder).encoder()
    assert Evaluator(run.recipe, run.split(), "test").means(model) == run.test
    if name == "a graph":
        pairs = run.trained_on.frame.select("user", "item").n_unique()
        assert model.graph.degrees().sum() == 2 * pairs


AGAIN = {
    "cosine": {"training.schedule": "cosine", "training.warmup": 3, "training.epochs": 30},
    "plateau": {"training.schedule": "plateau", "training.plateau": 1, "training.patience": 25,
                "training.epochs": 25, "training.lr": 0.1},
    "average": {"training.ema": 0.9},
    "prior": {"prior": {"model": "markov", "strengths": [0.0, 1.0]}},
    "steps": {"training.optimizer": "adamw", "training.clip": 0.5, "training.weight_decay": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("name", AGAIN)
def test_on_the_same_events_it_gives_the_judged_weights_again(tmp_path, name):
    """The rates are those of a training of all epochs, and are halved where validation did so."""
    run = fitted(tmp_path / "run", AGAIN[name])
    split = run.split()
    alike = type(split)(split.train, split.train.where(np.zeros(len(split.train), bool)),
                        split.test, split.name)  # fmt: skip
    assert run.facts["best_epoch"] < run.facts["epochs"]
    found = refitted(run.recipe, alike, "valid", run.facts, tmp_path)
    assert same({n: t.contiguous() for n, t in found.model.state_dict().items()}, weights(run))


KILLS = {
    "second epoch": (refit.Replay, "means", 2),
    "last epoch": (refit.Replay, "means", 0),  # by the number of epochs
    "test": (Evaluator, "with_lists", 1),
    "weights": (train, "save_weights", 1),
    "end": (train, "forget", 1),
}
"""What is called where a kill is tried, and in which call."""


@pytest.mark.parametrize("place", KILLS)
@pytest.mark.parametrize("on", ["valid", "all"])
def test_a_kill_loses_nothing(runs, tmp_path, place, on):
    changes = {"training.checkpoint_steps": 4}
    holder, name, last = KILLS[place]
    last = last or runs["none"].facts["best_epoch"]
    last += on == "all" and place == "weights"  # the first are those of the judged training
    with killed(holder, name, last):
        fitted(tmp_path / "run", changes, on)
    told = []
    with telling(write=told.append):
        run = fitted(tmp_path / "run", changes, on)
    assert same(weights(run), weights(runs[on]))
    assert run.test == runs[on].test
    assert not any(line.startswith("epoch 1 of") for line in told)  # the judged training is kept
    assert any("refit: going on" in line for line in told) is place.endswith("epoch")
    assert not (run.folder / "refit").exists()


@pytest.mark.parametrize("name", ["popularity", "item-knn"])
def test_a_counted_model_is_counted_again_with_the_settings_that_were_chosen(tmp_path, name):
    changes = {"model": {"name": name}}
    plain = fitted(tmp_path / "plain", changes)
    run = fitted(tmp_path / "run", changes, "valid")
    assert run.facts["settings"] == plain.facts["settings"]
    assert run.valid == plain.valid
    split = run.split()
    log = for_refit(split, "valid").train
    assert len(log) == len(split.train) + len(split.valid)
    model = build_model(run.model_settings, log, 6, seed=0)
    model.fit(training_events(log))
    assert Evaluator(run.recipe, split, "test").means(model.eval()) == run.test != plain.test
    assert "counted once more on training and validation events" in repr(run)


PRIORS = {
    "markov": {"model": "markov"},
    "another": {"model": "item-knn", "models": ["markov"]},
}


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_stays_as_it_was_chosen_and_counts_the_larger_part(tmp_path, name):
    prior = PRIORS[name] | {"strength": 0.5, "strengths": [0.0, 1.5]}
    plain, run = (fitted(tmp_path / on, {"prior": prior}, on) for on in ("none", "valid"))
    assert run.facts["prior"] == plain.facts["prior"]
    encoder = run.encoder()
    assert encoder.prior.strength == 1.5
    assert Evaluator(run.recipe, run.split(), "test").means(encoder) == run.test
    chosen = as_chosen(run.recipe.prior, run.facts).model
    assert chosen.name == "markov"
    log = for_refit(run.split(), "valid").train
    alone = build_model(chosen, log, 6, seed=0)
    assert isinstance(alone, TableScorer)
    alone.fit(training_events(log))
    kept = {n: t for n, t in encoder.state_dict().items() if n.startswith("prior.")}
    for name, table in alone.state_dict().items():
        found = next(t for n, t in kept.items() if n.endswith(name))
        assert torch.equal(found, table)


TEACHER = {"model": {"name": "gru4rec", "dim": 4}, "training": BASE["training"] | {"epochs": 1},
           "evaluation": BASE["evaluation"]}  # fmt: skip


@pytest.mark.parametrize("name", ["gru4rec", "item-knn"])
def test_the_teacher_is_the_same_and_answers_for_the_larger_part(tmp_path, name):
    teacher = TEACHER
    if name == "item-knn":
        teacher = {"model": {"name": name, "tune": False}, "evaluation": BASE["evaluation"]}
    changes = {"target": {"name": "kd", "teacher": teacher}, "training.epochs": 2}
    run = fitted(tmp_path / "run", changes, "valid")
    (stage,) = run.facts["stages"].values()
    assert softrec.open_run(stage).refit == "none"
    ready = resolved(run.recipe, run.split())
    larger = for_refit(run.split(), "valid")
    encoder, objective, batches = build(ready, larger)
    (tmp_path / "by").mkdir()
    rising, epochs = iter(range(9)), run.facts["best_epoch"]
    trained(encoder, objective, batches, lambda _: {"ndcg@10": float(next(rising))},
            tmp_path / "by", epochs=epochs, lr=0.03)  # fmt: skip
    assert same(dict(encoder.state_dict()), weights(run))


def test_a_run_that_knows_the_validation_part_is_no_teacher(tmp_path, runs):
    target = {"name": "kd", "teacher": str(runs["valid"].folder)}
    with refused(RunError):
        fitted(tmp_path / "run", {"target": target})
    assert not (tmp_path / "run.part").exists()
    stage = merged(TEACHER, {"training.refit": "valid"})
    with refused(RecipeError):
        recipe_of({"target": {"name": "kd", "teacher": stage}})


def test_who_begins_with_a_run_that_knows_the_validation_part_is_told(tmp_path, runs):
    for on, told in (("none", 0), ("valid", 1), ("all", 2)):
        lines = []
        with telling(write=lines.append):
            fitted(tmp_path / on, {"training.start": str(runs[on].folder),
                                   "training.epochs": 1}, "valid")  # fmt: skip
        assert sum("are among those that" in line for line in lines) == told
        assert any(f"{USERS} of {USERS} validation events" in line for line in lines) is (told > 0)


def test_a_cold_start_has_no_refit():
    recipe_of({"data.first_items": 2})
    with refused(RecipeError):
        recipe_of({"data.first_items": 2}, "valid")


@pytest.mark.parametrize("how", ["noise", "order", "session", "disk"])
def test_other_splits_know_what_they_were_trained_on(tmp_path, how):
    frame, data = clicks(), {}
    if how == "session":
        frame = frame.with_columns(time=pl.col("time") + 10 * (pl.col("user") % 50))
        data = {"split": "session-time", "valid_fraction": 0.2, "test_fraction": 0.2}
    if how == "disk":
        frame.write_parquet(tmp_path / "log.parquet")
        data = {"source": str(tmp_path / "log.parquet"), "on_disk": True}
    data |= {"noise": {"false_positives": 0.3}, "order": {"order": "shuffled"}}.get(how, {})
    changes = {f"data.{name}": value for name, value in data.items()} | {"training.epochs": 2}
    changes |= {"evaluation.mask_seen": False}
    recipe = recipe_of(changes, "valid")
    log = Interactions.read(frame)
    split = load_split(recipe.data) if how == "disk" else split_of(log, recipe.data)
    run = softrec.open_run(fit_recipe(recipe, tmp_path / "run", split=split).folder)
    expected = for_refit(split, "valid").train.sequences
    found = run.trained_on.sequences
    assert found.items.tolist() == expected.items.tolist()
    assert found.offsets.tolist() == expected.offsets.tolist()
    assert len(found.items) > len(split.train)
    assert run.evaluate("test") == pytest.approx(run.test, abs=1e-12)
    if how == "disk":
        memory = fit_recipe(recipe_of({"data.source": str(tmp_path / "log.parquet"),
                                       "training.epochs": 2, "evaluation.mask_seen": False},
                                      "valid"), tmp_path / "memory")  # fmt: skip
        assert memory.test == run.test
        assert same(weights(memory), weights(run))


def test_all_rows_of_a_comparison_get_the_same_events(tmp_path):
    options = {"epochs": 1, "length": 6, "model": BASE["model"], "accelerator": "cpu",
               "metrics": "ndcg@10", "refit": "valid", "progress": False}  # fmt: skip
    found = softrec.compare(clicks(), out=tmp_path / "compared", targets="one-hot,uniform",
                            seeds=1, models="gru4rec", **options | {"model": None})  # fmt: skip
    folders = sorted((found.folder / "runs").iterdir())
    own = [softrec.open_run(folder) for folder in folders]
    assert len(own) > 5
    assert {run.refit for run in own} == {"valid"}
    note = "each row is fitted once more with the validation part"
    assert sum(note in line for line in found.results.notes) == 1
    assert note in (found.folder / "report.md").read_text()
    with refused(RecipeError):
        softrec.compare(clicks(), out=tmp_path / "all", targets="one-hot,uniform",
                        **options | {"refit": "all", "model": None})  # fmt: skip


def test_an_update_goes_on_with_the_recipe_but_asks_for_all_anew(tmp_path, runs):
    new = clicks(seed=1, begin=100)
    options = {"progress": False, "margin": 1, "floor": 0, "epochs": 2}
    for on, after in (("all", "none"), ("valid", "valid")):
        found = softrec.update(runs[on].folder, new, out=tmp_path / on, **options)
        assert found.accepted
        assert found.facts["refit"] is False
        assert found.run.refit == found.run.recipe.training.refit == after
        gate = found.facts["gate"]["metrics"]["ndcg@10"]
        assert found.run.test["ndcg@10"] == pytest.approx(gate["new"])
    again = softrec.update(runs["valid"].folder, new, out=tmp_path / "again", refit=True, **options)
    assert again.run.refit == "all"
    assert again.run.valid == found.run.valid
    users = [0, 3]
    assert len(again.run.recommender().recommend(users, 4)) == 8


def test_trials_of_a_search_are_not_fitted_again_and_the_winner_is(tmp_path):
    told = []
    with telling(write=told.append):
        found = softrec.tune(clicks(), out=tmp_path / "study", trials=2, seeds=1,
                             space="lr=0.01,0.03", refit="valid", epochs=2, length=6,
                             model=BASE["model"], accelerator="cpu",
                             metrics="ndcg@10")  # fmt: skip
    (run,) = found.runs
    assert run.refit == "valid"
    assert sum("refit: gru4rec once more" in line for line in told) == 1
