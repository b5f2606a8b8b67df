"""Nothing that is trained on knows the held-out parts: they may be anything, it stays the same.

Two splits share their training part. In the one, people go on as before; in the other, all of them
turn to a few items that hardly occur in training. Whatever is built of the training part alone is
bit for bit the same on both.
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import Split
from softrec.data.vocabulary import Vocabulary
from softrec.experiments.build.model import build_model
from softrec.experiments.build.objective import build
from softrec.experiments.evaluator import Evaluator
from softrec.experiments.train import fit_recipe, open_run
from softrec.recipe.recipe import merged, read_recipe
from softrec.targets.build import csn

N_ITEMS, N_USERS = 14, 12
BASE = {
    "data": {"source": "shop", "cold_items": "keep"},
    "model": {"name": "gru4rec", "dim": 4, "dropout": 0.0},
    "training": {"length": 4, "batch_size": 8, "epochs": 1, "accelerator": "cpu"},
}
RARE = (11, 12, 13)
GRAPH = {"training": {"windows": "interactions", "length": 1}}
TARGETS = {
    "pop+": {"target": {"name": "pop+", "scale": "frequency"}},
    "csn by item2vec": {"target": {"name": "csn", "dim": 4, "epochs": 2, "k": 3}},
    "csn by a teacher": {"target": {"name": "csn", "teacher": "TEACHER", "k": 3}},
    "co-occurrence": {"target": {"name": "co-occurrence", "k": 20}},
    "kd": {"target": {"name": "kd", "teacher": "TEACHER"}},
    "the best of kd": {"target": {"name": "kd", "teacher": "TEACHER", "top": 3}},
    "interest-sharing": {"target": {"name": "interest-sharing", "teacher": "TEACHER",
                                    "clusters": 2}},
}  # fmt: skip
CANDIDATES = {
    "popularity": {"name": "sampled", "number": 6, "sampler": "popularity"},
    "log-uniform": {"name": "sampled", "number": 6, "sampler": "log-uniform"},
    "popularity for each row": {"name": "sampled", "number": 6, "sampler": "popularity",
                                "per_row": True},
    "items not taken": {"name": "sampled", "number": 6, "per_row": True, "mask_positives": True},
    "in-batch": {"name": "in-batch"},
    "in-batch without positives": {"name": "in-batch", "mask_positives": True},
}  # fmt: skip


def log_of(lists, times):
    log = Interactions.from_sequences(Sequences.of(lists), times=np.asarray(times))
    return replace(log, items=Vocabulary(pl.Series("raw", np.arange(N_ITEMS))))


def split_of(held_out):
    """The training part, and parts whose items `held_out` draws, (U, n)."""
    draw = np.random.default_rng(5)
    lists = [draw.integers(0, 11, size=draw.integers(4, 9)).tolist() for _ in range(N_USERS)]
    lists[0] += list(RARE)  # no item is unheard of
    trained = sum(map(len, lists))
    parts = [log_of(lists, np.arange(trained) * 60)]
    for place in (0, 2):
        items = [row[place : place + 2].tolist() for row in held_out]
        parts.append(log_of(items, trained * 60 + np.arange(2 * N_USERS) * 60 + place))
    return Split(*parts, "given")


SAME = split_of(np.random.default_rng(6).integers(0, 11, size=(N_USERS, 4)))
OTHER = split_of(np.random.default_rng(7).choice(RARE, size=(N_USERS, 4)))


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """A teacher on each split, of one epoch, which no validation can choose among."""
    folders = {}
    for name, split in (("same", SAME), ("other", OTHER)):
        out = tmp_path_factory.mktemp("teachers") / name
        folders[name] = fit_recipe(read_recipe(BASE), out, split=split).folder
    return folders


@pytest.fixture
def both(teachers, tmp_path, monkeypatch):
    """Return a function of changes to `BASE`: what `see` sees on each of the two splits."""

    def seen(changes, see):
        found = []
        for name, split in (("same", SAME), ("other", OTHER)):
            monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / name))
            fields = merged(BASE, {})
            for section, below in changes.items():
                below = {k: str(teachers[name]) if v == "TEACHER" else v for k, v in below.items()}
                fields[section] = below if section == "model" else fields.get(section, {}) | below
            encoder, objective, batches = build(read_recipe(fields), split)
            encoder.eval()
            torch.manual_seed(0)
            found.append(see(encoder, objective, list(batches)))
        return found

    return seen


def numbers(value):
    """All tensors in nested tuples."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [number for part in value for number in numbers(part)]
    return []


def assert_same(found):
    one, other = (numbers(part) for part in found)
    assert len(one) == len(other) > 0
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_the_splits_are_unlike():
    assert SAME.train.frame.equals(OTHER.train.frame)
    whole = [split.whole().item_counts / len(split.whole()) for split in (SAME, OTHER)]
    assert abs(whole[0] - whole[1]).sum() > 0.5


@pytest.mark.parametrize("windows", ["last", "positions", "prefixes", "sliding", "interactions"])
def test_training_examples(both, windows):
    assert_same(
        both({"training": {"windows": windows}}, lambda encoder, objective, batches: batches)
    )


@pytest.mark.slow
@pytest.mark.parametrize("windows", ["last", "positions", "prefixes"])
@pytest.mark.parametrize("name", TARGETS)
def test_soft_targets(both, name, windows):
    every = torch.arange(N_ITEMS)

    def answers(encoder, objective, batches):
        return [objective.source(b).prob_of(every.expand(len(b.label), -1)) for b in batches]

    assert_same(both(TARGETS[name] | {"training": {"windows": windows}}, answers))


@pytest.mark.parametrize("name", CANDIDATES)
def test_candidates(both, name):
    changes = {"candidates": CANDIDATES[name], "loss": {"name": "mixed"}}
    assert_same(both(changes, lambda encoder, objective, batches: [
        objective.candidates(batch) for batch in batches]))  # fmt: skip


@pytest.mark.parametrize("name", ["mf", "lightgcn", "ngcf"])
def test_models_of_users_and_graphs(both, name):
    def vectors(encoder, objective, batches):
        return [encoder.items(), *(encoder(batch).users for batch in batches)]

    assert_same(both({"model": {"name": name, "dim": 4}} | GRAPH, vectors))


@pytest.mark.parametrize("name", ["lightgcn", "ngcf"])
def test_an_opened_run_reads_the_graph_it_was_trained_on(name, tmp_path):
    fields = merged(BASE, {"model": {"name": name, "dim": 4}, **{
        f"training.{key}": value for key, value in GRAPH["training"].items()}})  # fmt: skip
    recipe = read_recipe(fields)
    run = fit_recipe(recipe, tmp_path / "run", split=OTHER)
    opened = open_run(run.folder).encoder()
    expected = build_model(recipe.model, OTHER.train, 1, seed=0).eval()
    expected.load_state_dict(opened.state_dict())
    assert_same([opened.items(), expected.items()])


# --- what is remembered of a context does not know its label ---


@pytest.mark.parametrize("windows", ["last", "positions", "prefixes", "sliding"])
def test_the_mean_of_item2vec_leaves_the_label_out(windows, tmp_path, monkeypatch):
    """With a vector of its own for each item, the mean says which items were read."""
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path))
    monkeypatch.setattr(csn, "item_vectors", lambda *_, **__: np.eye(N_ITEMS, dtype="f4"))
    read = []

    def noted(vectors, *_, **__):
        read.append(np.array(vectors))
        return np.zeros((len(vectors), 1), np.int32)

    monkeypatch.setattr(csn, "nearest", noted)
    fields = merged(BASE, TARGETS["csn by item2vec"] | {"training.windows": windows})
    _, objective, batches = build(read_recipe(fields), SAME)
    seen = 0
    for batch in batches:
        rows = objective.source.contexts.numbers(batch)
        for place, row in enumerate(rows):
            line = place if batch.row is None else int(batch.row[place])
            history = batch.history[line][batch.history[line] < N_ITEMS]
            history = history if batch.step is None else history[: int(batch.step[place]) + 1]
            expected = np.bincount(history, minlength=N_ITEMS) / len(history)
            np.testing.assert_allclose(read[0][row], expected, atol=1e-6)
            seen += 1
    assert seen == len(read[0])


# --- drawn negatives of the judge, who does know all parts ---


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("split", [SAME, OTHER], ids=["same", "other"])
def test_no_negative_of_the_judge_was_ever_taken(split, part):
    fields = merged(BASE, {"evaluation": {"negatives": 3, "mask_seen": True}})
    judge = Evaluator(read_recipe(fields), replace(split, relevant="last"), part)
    taken = [set(items.tolist()) for items in split.whole().sequences]
    for user, drawn in zip(judge.cases.user, np.asarray(judge.negatives), strict=True):
        assert not taken[user] & set(drawn.tolist())


PRESETS = {
    "sets": {
        "model": {"name": "mf", "dim": 8},
        "loss": {"name": "sl", "score_temperature": 0.3},
        "weights": {"name": "slatk", "rank": 5, "weight_temperature": 4.0, "renew": 1},
        "prior": {"model": "item-knn", "strength": 0.5, "strengths": [0.0, 1.0, 4.0],
                  "models": ["rp3beta"]},
        "trials": {"epochs": 2, "settings": [{"loss.score_temperature": 0.3},
                                             {"loss.score_temperature": 0.6}]},
        "training": {"windows": "interactions", "lr": 0.05},
    },
    "sessions": {
        "model": {"name": "sasrec", "dim": 8, "layers": 1, "heads": 1},
        "prior": {"model": "markov", "strength": 0.5, "strengths": [0.0, 1.0, 4.0],
                  "models": [{"name": "markov", "steps": 1, "recency": 0.2}, "rp3beta"]},
        "trials": {"epochs": 2, "settings": [{"training.lr": 0.05}, {"training.lr": 0.0001}]},
    },
}  # fmt: skip
"""As the recipes of the preset `best`, small."""


@pytest.mark.parametrize("name", PRESETS)
def test_no_choice_and_no_weight_of_a_preset_knows_the_test(tmp_path, monkeypatch, name):
    """Trials, epoch and strength are chosen, and the model is fitted once more, before the test."""
    fields = merged(merged(BASE, PRESETS[name]), {
        "training.epochs": 4, "training.patience": 2, "training.refit": "valid",
        "evaluation.mask_seen": False,
    })  # fmt: skip
    found = []
    for told, other in (("same", SAME), ("other", OTHER)):
        monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache" / told))
        split = replace(SAME, test=other.test)
        found.append(fit_recipe(read_recipe(fields), tmp_path / told, split=split))
    one, other = found
    assert one.recipe == other.recipe
    assert one.valid == other.valid
    for fact in ("trials", "curve"):
        rows = [[{n: v for n, v in row.items() if "seconds" not in n} for row in run.facts[fact]]
                for run in found]  # fmt: skip
        assert rows[0] == rows[1]
    assert one.facts["prior"] == other.facts["prior"]
    states = [load_file(run.folder / "model.safetensors") for run in found]
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert one.test != other.test
