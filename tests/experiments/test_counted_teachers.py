"""A counted model as a teacher: its best items by softmax; what needs vectors refuses."""

import numpy as np
import pytest
import torch

from messages import refused
from softrec.data import splits
from softrec.data.batches import examples, padded_histories
from softrec.data.interactions import Interactions, Sequences
from softrec.errors import RecipeError, RunError
from softrec.experiments.build.objective import build
from softrec.experiments.runs import open_run
from softrec.experiments.train import fit_recipe, resolved
from softrec.recipe.options import recipe_of
from softrec.recipe.recipe import read_recipe
from softrec.testing.scorers import table
from softrec.types import Batch

N, LENGTH = 13, 3


def log_of():
    draw = np.random.default_rng(4)
    lists = [(draw.integers(0, N) + np.arange(draw.integers(4, 8))) % N for _ in range(30)]
    return Interactions.from_sequences(Sequences.of(lists))


SPLIT = splits.leave_last_out(log_of())


def recipe(target, model="gru4rec", **training):
    return read_recipe({
        "data": {"source": "log.csv"}, "model": {"name": model, "dim": 4}, "target": target,
        "evaluation": {"metrics": ["ndcg@5"], "mask_seen": False},
        "training": {"epochs": 1, "monitor": "ndcg@5", "length": LENGTH, **training},
    })  # fmt: skip


def teacher(name="item-knn", **settings):
    return {"model": {"name": name, "tune": False, **settings}, "training": {"monitor": "ndcg@5"},
            "evaluation": {"metrics": ["ndcg@5"], "mask_seen": False}}  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["item-knn", "session-knn", "popularity"])
@pytest.mark.parametrize("windows", ["positions", "last", "prefixes"])
def test_the_target_is_the_softmax_of_the_scores(name, windows, limit):
    """With all items kept, by a table made of each context apart; blocks are of a few rows."""
    limit(encoded=7, scores=3 * N * 4)
    made = resolved(
        recipe({"name": "kd", "teacher": teacher(name), "temperature": 0.5}, windows=windows), SPLIT
    )
    _, objective, batches = build(made, SPLIT)
    scorer = open_run(made.target.teacher).model()
    data = examples(SPLIT.train.sequences, windows, LENGTH)
    _, start, stop = data.stretches(np.arange(data.n_contexts))
    for batch in batches:
        target = objective.source(batch)
        step = None if batch.step is None else batch.step.numpy()
        for row, context in enumerate(data.contexts(batch.example.numpy(), step)):
            some = np.array([context])
            history, _ = padded_histories(data.sequences, start[some], stop[some], N)
            zero = torch.tensor([0])
            alone = Batch(history, zero, zero, batch.prediction_user[row : row + 1])
            expected = (table(scorer, alone) / 0.5).softmax(1)[0]
            found = torch.stack([
                target.prob_of(torch.full((len(batch.label),), item))[row] for item in range(N)
            ])  # fmt: skip
            torch.testing.assert_close(found, expected)


def test_few_items_leave_the_rest_even(tmp_path):
    made = resolved(recipe({"name": "kd", "teacher": teacher(), "top": 2}), SPLIT)
    _, objective, batches = build(made, SPLIT)
    batch = next(iter(batches))
    target = objective.source(batch)
    probs = torch.stack(
        [target.prob_of(torch.full((len(batch.label),), item)) for item in range(N)], 1
    )
    torch.testing.assert_close(probs.sum(1), torch.ones(len(probs)))
    sorted_probs = probs.sort(1, descending=True).values
    torch.testing.assert_close(sorted_probs[:, 2:], sorted_probs[:, 2:3].expand(-1, N - 2))


def test_only_lists_are_kept(tmp_path, monkeypatch):
    run = fit_recipe(recipe({"name": "kd", "teacher": teacher(), "top": 4}), tmp_path / "run",
                     split=SPLIT)  # fmt: skip
    assert run.test["ndcg@5"] >= 0
    (folder,) = (tmp_path / "cache" / "artifacts").iterdir()
    assert folder.name == "scorer-top"
    arrays = [np.load(path) for path in folder.rglob("*.npy")]
    assert {array.shape[1] for array in arrays} == {4}


def test_other_settings_of_scoring_are_another_teacher(tmp_path):
    """The weights of both are the same, and the targets are not."""
    found = []
    for recency in (0.2, 0.9):
        made = resolved(recipe({"name": "kd", "teacher": teacher(recency=recency)}), SPLIT)
        run = open_run(made.target.teacher)
        found.append(run.weights_fingerprint)
    assert found[0] != found[1]


def test_ckd_accepts_and_skd_refuses(tmp_path):
    made = recipe({"name": "ckd", "teacher": teacher()})
    assert fit_recipe(made, tmp_path / "run", split=SPLIT).facts["epochs"] == 1
    with refused(RecipeError):
        recipe({"name": "skd", "teacher": teacher()})


@pytest.mark.parametrize("name", ["csn", "interest-sharing"])
def test_targets_of_vectors_refuse(name, tmp_path):
    run = fit_recipe(
        read_recipe({**teacher(), "data": {"source": "log.csv"}}), tmp_path / "knn",
        split=SPLIT,
    )  # fmt: skip
    with refused(RunError):
        fit_recipe(recipe({"name": name, "teacher": str(run.folder)}), tmp_path / "run",
                   split=SPLIT)  # fmt: skip


def test_weights_cannot_begin_from_counts(tmp_path):
    knn = read_recipe({**teacher(), "data": {"source": "log.csv"}})
    run = fit_recipe(knn, tmp_path / "knn", split=SPLIT)
    with refused(RunError):
        fit_recipe(recipe({"name": "one-hot"}, start=str(run.folder)), tmp_path / "run",
                   split=SPLIT)  # fmt: skip
    with refused(RecipeError):
        recipe({"name": "one-hot"}, start=teacher())


@pytest.mark.parametrize(("text", "settings"), [
    ("item-knn", {}), ("item-knn(k=5, tune=false)", {"k": 5, "tune": False}), ("ease", {}),
])  # fmt: skip
def test_a_counted_teacher_by_its_name(text, settings):
    """The name is a recipe of it, which is counted first; in a mixture, too."""
    made = recipe_of({"data": {"source": "log.csv"}}, {"target": f"kd(teacher={text})"})
    (stage,) = made.stages().values()
    name = text.partition("(")[0]
    assert (stage.model.name, stage.model.model_dump(exclude={"name", "preset"})) == (
        name,
        settings,
    )
    part = {"weight": 1.0, "target": {"name": "kd", "teacher": text}}
    mixed = recipe_of(
        {"data": {"source": "log.csv"}, "target": {"name": "mixture", "of": [part]}}, {}
    )
    assert list(mixed.stages().values()) == [stage]


def test_a_folder_of_this_name_is_the_teacher(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ease").mkdir()
    made = recipe_of({"data": {"source": "log.csv"}}, {"target": "kd(teacher=ease)"})
    assert made.target.teacher == str(tmp_path / "ease")


def test_one_command_counts_and_distils(tmp_path):
    made = recipe({"name": "kd", "teacher": {"model": {"name": "rp3beta"}}})
    named = recipe_of({**made.model_dump(mode="json", exclude={"target"})},
                      {"target": "kd(teacher=rp3beta,top=3)"})  # fmt: skip
    made = resolved(named, SPLIT)
    assert open_run(made.target.teacher).recipe.model.name == "rp3beta"
    assert fit_recipe(made, tmp_path / "run", split=SPLIT).test["ndcg@5"] >= 0
