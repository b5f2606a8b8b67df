"""Soft targets that come of a trained run or of the log, from a recipe to a step."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from messages import refused
from softrec.cli import main as cli
from softrec.errors import RunError
from softrec.experiments.build import objective as objectives
from softrec.experiments.build import targets as sources
from softrec.experiments.build.data import load_split
from softrec.experiments.store import artifacts
from softrec.experiments.train import fit_recipe, open_run
from softrec.recipe.recipe import merged, read_recipe
from softrec.scoring import Scoring
from softrec.targets.build import csn
from softrec.targets.build.contexts import NeighbourSource, RememberedSource, TeacherSource
from softrec.targets.build.neighbours import nearest
from softrec.targets.build.sharing import CutWarning
from softrec.targets.mixture import MixtureSource
from softrec.testing import oracles

SHOP = {"n_items": 30, "n_categories": 4, "n_archetypes": 4, "n_users": 40, "max_length": 12}
BASE = {
    "data": {"source": "shop", "cold_items": "keep", "shop": SHOP},
    "model": {"name": "gru4rec", "dim": 8},
    "training": {"epochs": 1, "batch_size": 64, "length": 5, "lr": 0.05, "accelerator": "cpu"},
}
SASREC = {"model": {"name": "sasrec", "dim": 8, "heads": 1, "layers": 1}}


def recipe(changes=None):
    fields = merged(BASE, {})
    for section, below in (changes or {}).items():
        kept = {} if section == "model" else fields.get(section, {})
        fields[section] = {**kept, **below}
    return read_recipe(fields)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def split():
    return load_split(recipe().data)


@pytest.fixture(scope="module")
def base(tmp_path_factory, split):
    """A trained GRU4Rec: the teacher of all."""
    return fit_recipe(recipe(), tmp_path_factory.mktemp("runs") / "base", split=split)


@pytest.fixture
def made(monkeypatch):
    """The kinds of artifacts in the order in which they were made."""
    kinds = []

    def counted(kind, facts, make):
        def noted(folder):
            make(folder)
            kinds.append(kind)

        return artifacts.artifact(kind, facts, noted)

    monkeypatch.setattr(sources, "artifact", counted)
    return kinds


def towards(base, name, **settings):
    return {"target": {"name": name, "teacher": str(base.folder), **settings}}


def built(split, changes):
    """Return encoder, objective and the first batch."""
    encoder, objective, batches = objectives.build(recipe(changes), split)
    return encoder, objective, next(iter(batches))


def stepped(split, changes):
    """Take the loss and its gradient once; return the source."""
    encoder, objective, batch = built(split, changes)
    value = objective(encoder, batch).total
    value.backward()
    assert value.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())
    assert sum(p.grad.abs().sum() for p in encoder.parameters() if p.grad is not None) > 0
    return objective.source


def teachers_table(base, split, batch, temperature=1.0):
    """Return the teacher's prediction at each place of a batch, (P, N): by the teacher itself."""
    encoder = base.encoder()
    with torch.no_grad():
        logits = oracles.logits(encoder(batch).users, encoder.items())
    return (logits / temperature).softmax(1)


# --- distillation ---


@pytest.mark.parametrize(
    ("name", "model"), [("kd", {}), ("kd", SASREC), ("skd", {}), ("ckd", SASREC)]
)
def test_a_student_is_told_what_its_teacher_predicts(base, split, name, model):
    changes = model | towards(base, name, temperature=2.0)
    assert isinstance(stepped(split, changes), TeacherSource)
    _, objective, batch = built(split, changes)
    found = oracles.dense(objective.source(batch), len(batch.label), SHOP["n_items"])
    expected = teachers_table(base, split, batch, temperature=2.0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)
    assert objective.weight == 0.2


@pytest.mark.parametrize(
    ("name", "model"),
    [
        (
            "skd",
            SASREC,
        ),
        ("ckd", {}),
    ],
)
def test_a_teacher_of_the_wrong_architecture(base, split, name, model, made):
    with refused(RunError):
        built(split, model | towards(base, name))
    assert not made


def test_a_teacher_predicts_as_it_was_trained(split, tmp_path):
    angles = {"loss": {"name": "sl", "score_temperature": 0.2}}
    teacher = fit_recipe(recipe(angles), tmp_path / "sl", split=split)
    _, objective, batch = built(split, towards(teacher, "kd"))
    encoder = teacher.encoder()
    with torch.no_grad():
        users = torch.nn.functional.normalize(encoder(batch).users, dim=1)
        items = encoder.items()
        cosines = users @ torch.nn.functional.normalize(items.vectors, dim=1).T
        cosines = cosines if items.bias is None else cosines + items.bias
    target = objective.source(batch)
    every = torch.arange(encoder.n_items).expand(len(users), -1)
    torch.testing.assert_close(
        target.prob_of(every), (cosines / 0.2).softmax(1), rtol=1e-4, atol=1e-6
    )


def test_the_best_of_a_teacher_alone(base, split, made):
    source = stepped(split, towards(base, "kd", top=4))
    assert isinstance(source, RememberedSource)
    assert made == ["teacher-vectors", "teacher-top"]
    _, objective, batch = built(split, towards(base, "kd", top=4))
    found = oracles.dense(objective.source(batch), len(batch.label), SHOP["n_items"])
    whole = teachers_table(base, split, batch)
    shares, items = whole.topk(4, dim=1)
    rest = (1 - shares.sum(1, keepdim=True)) / SHOP["n_items"]
    expected = torch.zeros_like(whole).scatter(1, items, shares) + rest
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


def test_more_than_all_items_are_all_items(base, split):
    _, objective, batch = built(split, towards(base, "kd", top=1000))
    found = oracles.dense(objective.source(batch), len(batch.label), SHOP["n_items"])
    torch.testing.assert_close(found, teachers_table(base, split, batch), atol=1e-5, rtol=1e-3)


# --- neighbours and shared labels ---


def test_neighbours_by_a_teacher(base, split, made, cache):
    source = stepped(split, towards(base, "csn", k=3))
    assert isinstance(source, NeighbourSource)
    assert made == ["teacher-vectors", "neighbours"]
    vectors = torch.from_numpy(np.load(next(cache.rglob("vectors.npy"))))
    cosines = torch.nn.functional.normalize(vectors, dim=1)
    cosines = cosines @ cosines.T
    user = users_of(source)
    best = cosines.masked_fill(user[:, None] == user, -torch.inf).topk(3, dim=1).values
    chosen = cosines.gather(1, torch.from_numpy(source.neighbours.astype(np.int64)))
    torch.testing.assert_close(chosen, best, atol=1e-5, rtol=0)


def test_neighbours_are_predicted_as_the_model_is_trained(base, split, monkeypatch):
    """By its scores and on its side of the padding; the seed is that of the search."""
    asked = []

    def noted(*given, seed, **options):
        asked.append(seed)
        return nearest(*given, seed=seed, **options)

    monkeypatch.setattr(csn, "nearest", noted)
    changes = towards(base, "csn", k=3, seed=5)
    changes |= {"loss": {"name": "mixed", "score": "cosine", "score_temperature": 0.2},
                "training": {"padding_side": "left"}}  # fmt: skip
    _, objective, _ = built(split, changes)
    source = objective.source
    assert source.scoring == objective.scoring == Scoring("cosine", 0.2)
    assert source.side == "left"
    assert asked == [5]


def users_of(source):
    """The user of each training context, by the place of its label in the log."""
    data = source.contexts.data
    _, stop = data.histories()
    user = np.searchsorted(data.sequences.offsets, stop, side="right") - 1
    return torch.from_numpy(user)


@pytest.mark.parametrize("windows", ["last", "positions", "prefixes", "sliding"])
@pytest.mark.parametrize("teacher", [False, True])
def test_nobody_is_their_own_neighbour(base, split, windows, teacher):
    """Another stretch of one's own sequence may hold the label in its history."""
    settings = {"name": "csn", "k": 3, "dim": 4, "epochs": 1}
    changes = towards(base, "csn", k=3) if teacher else {"target": settings}
    _, objective, _ = built(split, changes | {"training": {"windows": windows}})
    source = objective.source
    user = users_of(source)
    neighbours = torch.from_numpy(np.asarray(source.neighbours, dtype=np.int64))
    assert not (user[neighbours] == user[:, None]).any()


def test_neighbours_by_item2vec(split, made):
    settings = {"name": "csn", "k": 3, "dim": 4, "epochs": 1}
    source = stepped(split, {"target": settings})
    assert isinstance(source, NeighbourSource)
    assert source.neighbours.shape[1] == 3
    assert made == ["neighbours"]
    stepped(split, {"target": settings})
    assert made == ["neighbours"]
    stepped(split, {"target": settings | {"dim": 5}})
    assert made == ["neighbours", "neighbours"]


@pytest.mark.parametrize("balance", [0.7, "red-line"])
def test_shared_labels_with_the_decoupled_loss(base, split, made, balance):
    changes = towards(base, "interest-sharing", clusters=2, rounds=3, keep=25)
    changes["loss"] = {"name": "decoupled", "balance": balance}
    changes["training"] = {"windows": "last"}
    source = stepped(split, changes)
    assert isinstance(source, RememberedSource)
    assert made == ["teacher-vectors", "interest-sharing"]
    np.testing.assert_allclose(np.asarray(source.probs).sum(1), 1, atol=1e-5)
    data = source.contexts.data
    labels = data.sequences.items[data.histories()[1]]
    own = ((source.items == labels[:, None]) * source.probs).sum(1)
    assert (own >= 0.5 - 1e-5).all()  # 1 - damping stays


def test_the_red_line_by_definition(base, split):
    changes = towards(base, "interest-sharing", clusters=2, rounds=3)
    changes["loss"] = {"name": "decoupled", "balance": "red-line"}
    changes["training"] = {"windows": "last"}
    _, objective, batch = built(split, changes)
    assert len(batch.label) == SHOP["n_users"]  # all examples in one batch
    share = float(objective.source(batch).prob_of(batch.label).mean())
    balance = [coefficient for _, coefficient in objective.loss.values()]
    expected = 1 / (1 + 0.3 * (1 - share))
    assert sorted(balance) == pytest.approx(sorted([expected, 1 - expected]))


def test_a_mixture_of_both(base, split):
    parts = [
        {"weight": 0.5, "target": towards(base, "kd")["target"]},
        {"weight": 0.5, "target": {"name": "pop+"}},
    ]
    source = stepped(split, {"target": {"name": "mixture", "of": parts}})
    assert isinstance(source, MixtureSource)


@pytest.mark.parametrize("candidates", [{"name": "sampled", "number": 9}, {"name": "in-batch"}])
def test_a_teacher_beside_candidates(base, split, candidates):
    stepped(split, towards(base, "kd") | {"candidates": candidates})


# --- what is made is found again ---


def test_a_second_build_makes_nothing_anew(base, split, made):
    for _ in range(2):
        built(split, towards(base, "kd"))
    assert made == ["teacher-vectors"]
    built(split, towards(base, "csn", k=2))  # the vectors are there, the neighbours are not
    assert made == ["teacher-vectors", "neighbours"]


@pytest.mark.parametrize("other", [{"windows": "last"}, {"length": 4}])
def test_other_contexts_are_remembered_apart(base, split, made, other):
    built(split, towards(base, "kd"))
    built(split, towards(base, "kd") | {"training": other})
    assert made == ["teacher-vectors"] * 2


def test_what_contexts_do_not_depend_on_makes_nothing_anew(base, split, made):
    built(split, towards(base, "kd"))
    other = {"training": {"batch_size": 7, "lr": 1.0, "padding_side": "left", "epochs": 9}}
    built(split, towards(base, "kd", temperature=3.0, alpha=0.9) | other | SASREC)
    assert made == ["teacher-vectors"]


def test_an_interrupted_making_leaves_nothing(base, split, made, monkeypatch):
    whole = sources.context_vectors

    def interrupted(encoder, data, path, **settings):
        whole(encoder, data, path, **settings)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sources, "context_vectors", interrupted)
        with pytest.raises(KeyboardInterrupt):
            built(split, towards(base, "kd"))
    assert not made
    stepped(split, towards(base, "kd"))
    assert made == ["teacher-vectors"]


def at_other_times(split, factor):
    """The same events in the same order, at times `factor` apart."""
    parts = {
        part: replace(log, frame=log.frame.with_columns(
            ((pl.int_range(pl.len()) + 10_000 * place) * factor).cast(pl.Int64).alias("time")))
        for place, (part, log) in enumerate(
            (name, getattr(split, name)) for name in ("train", "valid", "test"))
    }  # fmt: skip
    return replace(split, **parts)


def test_other_times_are_other_data(split, tmp_path, made):
    """A model that reads times makes other vectors of the same items at other times."""
    slow, fast = at_other_times(split, 3600), at_other_times(split, 1)
    tisasrec = {"model": {"name": "tisasrec", "dim": 8, "heads": 1, "layers": 1}}
    teachers = {}
    for name, log in (("slow", slow), ("fast", fast)):
        teachers[name] = fit_recipe(recipe(tisasrec), tmp_path / name, split=log)
        built(log, towards(teachers[name], "kd"))
    assert made == ["teacher-vectors"] * 2
    with refused(RunError):
        built(fast, towards(teachers["slow"], "kd"))


# --- what is cut off is said ---


def test_a_run_says_how_much_of_the_shared_labels_is_kept(base, split, tmp_path, recwarn):
    target = {"clusters": 2, "rounds": 3, "tau": 10.0, "neighbours": 25}
    for keep, told in ((2, True), (30, False)):
        changes = towards(base, "interest-sharing", keep=keep, **target)
        run = fit_recipe(recipe(changes), tmp_path / str(keep), split=split)
        facts = run.facts["target"]
        assert facts["clusters"] == facts["sparse_clusters"] == 2
        assert (facts["mass_kept"] < 0.95) == told
        assert facts["mean_label_prob"] >= 0.5 - 1e-5
        texts = [str(w.message) for w in recwarn.list if w.category is CutWarning]
        share = f"keeps {facts['mass_kept']:.1%} of the propagated labels"
        assert [share in text and "2 of 2 clusters" in text for text in texts] == [True] * told
        recwarn.clear()


def test_a_mixture_says_it_of_its_parts(base, split):
    shared = towards(base, "interest-sharing", clusters=2, rounds=3)["target"]
    parts = [{"weight": 0.5, "target": {"name": "pop+"}}, {"weight": 0.5, "target": shared}]
    _, objective, _ = built(split, {"target": {"name": "mixture", "of": parts}})
    assert list(sources.about(objective.source)) == ["part 2"]
    assert sources.about(objective.source)["part 2"]["mass_kept"] == pytest.approx(1)
    assert sources.about(None) == {}


# --- teachers that do not fit ---


@pytest.mark.parametrize("name", ["kd", "csn", "interest-sharing"])
@pytest.mark.parametrize(
    "shop",
    [
        SHOP | {"n_items": 31},
        SHOP | {"n_users": 39},
        SHOP | {"seed": 1},
    ],
    ids=["items", "users", "events"],
)
def test_a_teacher_from_other_data(base, name, shop, made):
    other = load_split(recipe({"data": {"shop": shop}}).data)
    with refused(RunError):
        built(other, towards(base, name))
    assert not made


def test_no_such_teacher(split, tmp_path):
    with refused(RunError):
        built(split, {"target": {"name": "kd", "teacher": str(tmp_path / "gone")}})


# --- whole runs ---


def test_a_whole_run_towards_a_teacher(base, split, tmp_path, made):
    run = fit_recipe(recipe(towards(base, "skd")), tmp_path / "student", split=split)
    assert run.facts["soft_weight"] == 0.2
    assert open_run(tmp_path / "student").recipe.target.teacher == str(base.folder)
    assert made == ["teacher-vectors"]
    assert run.recommender().recommend(split.train.users.raw.to_list()[:1], 3)["item"].len() == 3


def test_from_the_command_line(base, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(base.folder.parent)
    sizes = "{" + ", ".join(f"{name}: {size}" for name, size in SHOP.items()) + "}"
    options = ["--model", "gru4rec", "--set", "model.dim=8", "--epochs", "1", "--length", "5",
               "--cold-items", "keep", "--set", f"data.shop={sizes}"]  # fmt: skip
    with pytest.raises(SystemExit) as done:
        cli.main(["fit", "shop", "--target", "kd", "--teacher", "base", "--out",
                  str(tmp_path / "student"), *options])  # fmt: skip
    assert done.value.code == 0, capsys.readouterr().err
    assert "gru4rec with target kd" in capsys.readouterr().out
    assert open_run(tmp_path / "student").recipe.target.teacher == str(base.folder)
