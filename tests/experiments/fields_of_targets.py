"""Targets: the weight, and what the source answers."""

import copy
import re
import tempfile
from collections import Counter
from itertools import pairwise

import numpy as np
import polars as pl
import torch
from fields import row

from softrec.experiments.build.model import training_events
from softrec.experiments.runs import open_run
from softrec.recipe.specs.models import MODELS
from softrec.simulation import item_table, make_shop
from softrec.targets.build.contexts import context_vectors
from softrec.targets.build.cooccurrence import CooccurrenceSettings
from softrec.targets.build.csn import CsnSettings
from softrec.targets.build.distillation import DistillationSettings
from softrec.targets.build.item2vec import item_vectors
from softrec.targets.build.mean_teacher import MeanTeacherSettings
from softrec.targets.build.neighbours import context_means, nearest
from softrec.targets.build.propagation import propagate
from softrec.targets.build.sharing import InterestSharingSettings
from softrec.targets.build.text import TextNeighboursSettings
from softrec.targets.mass import MassSettings
from softrec.targets.mixture import MixtureSettings, PartSettings
from softrec.targets.objects import ObjectSettings
from softrec.targets.one_hot import OneHotSettings
from softrec.targets.smoothing import (
    PopularitySettings,
    PopularityTarget,
    UniformSettings,
    UniformTarget,
)
from softrec.types import Events


def weight(begun):
    return begun.objective.weight


def dense(begun):
    """The target of the first batch, (P, N)."""
    torch.manual_seed(0)
    target = begun.source(begun.batch)
    every = torch.arange(begun.encoder.n_items).expand(len(begun.batch.label), -1)
    return target.prob_of(every).double().numpy()


def close(values):
    return np.asarray(values)


for spec, name, factor in (
    (UniformSettings, "uniform", 1), (PopularitySettings, "pop+", 0.5),
    (CooccurrenceSettings, "co-occurrence", 1), (MeanTeacherSettings, "mean-teacher", 1),
    (TextNeighboursSettings, "text-neighbours", 1),
    (InterestSharingSettings, "interest-sharing", 1), (CsnSettings, "csn", 0.5),
    (DistillationSettings, "kd", 0.5), (MixtureSettings, "mixture", 1),
):  # fmt: skip
    fields: dict = {"name": name}
    if name in ("interest-sharing", "kd", "csn"):
        fields["teacher"] = "TEACHER A"
    if name == "mixture":
        fields["of"] = [{"weight": 1.0, "target": {"name": "uniform"}}]
    row(spec, "alpha", [0.2, 0.9], weight, lambda b, f=factor: f * b.recipe.target.alpha,
        base={"target": fields})  # fmt: skip
    row(spec, "mass", [None, "label-count"], lambda b: type(b.objective.weight).__name__,
        lambda b: "float" if b.recipe.target.mass is None else "Mass",
        base={"target": fields})  # fmt: skip
row(OneHotSettings, "mass", [None], weight, lambda b: 0.0, refused=("label-count",),
    base={"target": {"name": "one-hot"}})  # fmt: skip


def weighed(begun):
    """The weights of the first batch, in the first epoch and in the fourth."""
    found = []
    for epoch in (0, 3):
        begun.objective.in_epoch(epoch)
        found += begun.objective.weight(begun.batch).tolist()
    return found


def expected_weights(begun):
    spec, batch = begun.recipe.target, begun.batch
    data, mass = begun.batches.data, begun.recipe.target.mass
    labels, ends = [], []
    for context in range(data.n_contexts):
        _, _, stop = data.stretches(np.array([context]))
        labels.append(data.sequences.items[stop[0]])
        ends.append(data.sequences.items[stop[0] - 1])
    found = []
    for epoch in (0, 3):
        factor = mass.first + (mass.last - mass.first) * min(1, epoch / mass.epochs)
        for place, label in enumerate(batch.label.tolist()):
            at = batch.row[place] if batch.row is not None else place
            last = int(batch.history[at][batch.step[place]])
            n = {"constant": 0, "label-count": labels.count(label),
                 "context-count": ends.count(last)}[mass.by]  # fmt: skip
            found.append(spec.alpha * factor * mass.strength / (n + mass.strength))
    return found


MASS = {"by": "context-count", "first": 0.1}
for field, values in {
    "by": ["constant", "label-count", "context-count"], "strength": [2.0, 30.0],
    "first": [0.0, 0.5], "last": [0.2, 1.0], "epochs": [2, 5],
}.items():  # fmt: skip
    row(MassSettings, field, values, weighed, expected_weights, place=f"target.mass.{field}",
        base={"target": {"name": "uniform", "alpha": 0.8, "mass": MASS}})  # fmt: skip
row(OneHotSettings, "name", ["one-hot"], lambda b: (b.source, b.objective.weight),
    lambda b: (None, 0.0))  # fmt: skip
row(UniformSettings, "name", ["uniform"], lambda b: dense(b),
    lambda b: np.full((len(b.batch.label), 30), 1 / 30))  # fmt: skip


def popular(begun):
    """The popularity of the training part, as each scale has it."""
    spec, data = begun.recipe.target, begun.split.train.sequences
    counts = np.bincount(data.items, minlength=30).astype(float)
    with np.errstate(divide="ignore"):
        d = {"log": np.log(np.maximum(counts, 1)), "frequency": np.log(counts), "count": counts,
             "relative": counts / counts.sum()}[spec.scale] / spec.temperature  # fmt: skip
    e = np.exp(d - d.max())
    return np.tile(e / e.sum(), (len(begun.batch.label), 1))


for field, values in {
    "name": ["pop+"], "temperature": [0.5, 3.0], "scale": ["log", "frequency", "count", "relative"],
}.items():  # fmt: skip
    row(PopularitySettings, field, values, lambda b: dense(b), popular,
        base={"target": {"name": "pop+"}})  # fmt: skip


def together(begun):
    """The recency-weighted sums of rows of a counted table, each by the definition, (P, N)."""
    spec, split, batch = begun.recipe.target, begun.split, begun.batch
    whole, n_items = training_events(split.train), begun.encoder.n_items
    found = []
    for place, label in enumerate(batch.label.tolist()):
        at = batch.row[place] if batch.row is not None else place
        history = batch.history[at][: batch.step[place] + 1].tolist()[-spec.last :]
        model = MODELS[spec.model["name"]](
            n_items, **{n: v for n, v in spec.model.items() if n != "name"}
        )
        own = int(batch.user[at])
        lists = [
            whole.items[a:b]
            if not spec.folds or user % spec.folds != own % spec.folds
            else whole.items[:0]
            for user, (a, b) in enumerate(pairwise(whole.offsets))
        ]
        lengths = torch.tensor([0, *map(len, lists)])
        model.fit(Events(lengths.cumsum(0), torch.cat(lists)))
        table, n = model.table.toarray().astype(float), len(history)
        scores = sum(model.recency ** (n - 1 - t) * table[i] for t, i in enumerate(history))
        scores[label] = 0
        scores[np.argsort(-scores, kind="stable")[spec.k :]] = 0
        powers = np.where(scores > 0, scores ** (1 / spec.temperature), 0)
        found.append(powers / powers.sum() if powers.sum() else np.eye(n_items)[label])
    return np.array(found)


TOGETHER = {"target": {"name": "co-occurrence", "k": 30}}
for field, values in {
    "name": ["co-occurrence"], "k": [2, 30], "last": [1, 5], "temperature": [0.5, 3.0],
    "folds": [0, 2, 4], "model": ["item-knn", {"name": "item-knn", "recency": 0.3}, "markov",
                                  "rp3beta"],
}.items():  # fmt: skip
    row(CooccurrenceSettings, field, values, dense, together, base=TOGETHER)


FOLDER = tempfile.TemporaryDirectory()
SHOP = make_shop(n_items=30, n_categories=4, n_archetypes=4)  # that of conftest.py
VECTORS = f"{FOLDER.name}/vectors.parquet"
pl.DataFrame(
    {"id": SHOP.items.raw, "vector": np.random.default_rng(0).normal(size=(30, 3)).tolist()}
).write_parquet(VECTORS)


def similar(begun):
    """The cosines of the words of the titles, or of given vectors, by the definition, (P, N)."""
    spec, found = begun.recipe.target, []
    if spec.vectors is None:
        table = item_table(SHOP)
        texts = [" ".join(map(str, row)).lower() for row in table.select(spec.columns).rows()]
        words = [re.findall(r"\b\w\w+\b", text) for text in texts]
        df = Counter(word for own in words for word in set(own))
        kept = [word for word, n in df.items() if n <= spec.max_df * len(texts)]
        rows = np.array([[own.count(w) * (1 + np.log(31 / (1 + df[w]))) for w in kept]
                         for own in words])  # fmt: skip
    else:
        rows = np.array(pl.read_parquet(spec.vectors)["vector"].to_list())
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    for label in begun.batch.label.tolist():
        cosines = rows @ rows[label]
        cosines[label] = 0
        least = np.sort(cosines)[-min(spec.k, 29)]
        assert (cosines >= least - 1e-6).sum() == spec.k or least < 1e-6  # no ties at the edge
        powers = np.where((cosines >= least - 1e-9) & (cosines > 1e-6), cosines, 0)
        powers = powers ** (1 / spec.temperature)
        found.append(powers / powers.sum() if powers.sum() else np.eye(30)[label])
    return np.array(found)


SIMILAR = {"target": {"name": "text-neighbours", "k": 29}}
for field, values in {
    "name": ["text-neighbours"], "k": [12, 29], "temperature": [0.5, 3.0],
    "columns": [["title"], ["category"], ["title", "category"]], "max_df": [0.1, 1.0],
    "vectors": [None, VECTORS], "seed": [0],
}.items():  # fmt: skip
    own = {"target": SIMILAR["target"] | ({"vectors": VECTORS} if field in ("k", "seed") else {})}
    row(TextNeighboursSettings, field, values, dense, similar, base=own)


def averaged(begun):
    """What the average of three further states of the model predicts for the first batch."""
    spec, encoder = begun.recipe.target, copy.deepcopy(begun.encoder)
    average = [part.detach().clone() for part in encoder.parameters()]
    for step in (1, 2, 3):
        decay = min(spec.decay, step / (step + 9))
        average = [decay * a + (1 - decay) * step * p.detach() for a, p in
                   zip(average, encoder.parameters(), strict=True)]  # fmt: skip
    for part, value in zip(encoder.parameters(), average, strict=True):
        part.data = value
    with torch.no_grad():
        vectors = encoder.eval()(begun.batch)
        z = vectors.users @ vectors.items.vectors.T + vectors.items.bias
    return (z.double() / spec.temperature).softmax(1).numpy()


def followed(begun):
    """The target after three steps, of which each gives the model a multiple of its weights."""
    own = [part.detach().clone() for part in begun.encoder.parameters()]
    for step in (1, 2, 3):
        for part, value in zip(begun.encoder.parameters(), own, strict=True):
            part.data = step * value
        begun.objective.after_step()
    found = dense(begun)
    for part, value in zip(begun.encoder.parameters(), own, strict=True):
        part.data = value
    return found


TEACHING = {"target": {"name": "mean-teacher", "decay": 0.15}}
for field, values in {
    "name": ["mean-teacher"], "temperature": [0.5, 3.0], "decay": [0.0, 0.15, 0.9],
}.items():  # fmt: skip
    row(MeanTeacherSettings, field, values, followed, averaged, base=TEACHING)


def told(begun, folder):
    """What a teacher makes of the training contexts: (vectors, items), by its own code."""
    run, path = open_run(folder), begun.recipe  # the folder of the teacher stands in the recipe
    encoder, data = run.encoder(), begun.batches.data
    file = open_run(folder).folder / "vectors-for-test.npy"
    context_vectors(encoder, data, file, length=path.training.length)
    vectors = np.load(file)
    file.unlink()
    return vectors, encoder.items()


def shared_labels(begun):
    spec, data = begun.recipe.target, begun.batches.data
    labels = data.sequences.items[data.histories()[1]]
    vectors, _ = told(begun, spec.teacher)
    made = propagate(
        vectors, labels, clusters=spec.clusters, tau=spec.tau, damping=spec.damping,
        rounds=spec.rounds, keep=spec.keep, neighbours=spec.neighbours, seed=spec.seed,
    )  # fmt: skip
    return [made.items.tolist(), made.probs.tolist()]


def remembered(begun):
    return [begun.source.items.tolist(), begun.source.probs.tolist()]


SHARING = {"target": {"name": "interest-sharing", "teacher": "TEACHER A", "clusters": 6}}
for field, values in {
    "name": ["interest-sharing"], "teacher": ["TEACHER A", "TEACHER B"], "clusters": [1, 6],
    "tau": [0.5, 2.0], "damping": [0.2, 0.5], "rounds": [0, 1, 20, None], "keep": [3, 30],
    "neighbours": [None, 2, 5], "seed": [0, 1, 2],
}.items():  # fmt: skip
    row(InterestSharingSettings, field, values, remembered, shared_labels, base=SHARING)


def neighbours(begun):
    spec, data = begun.recipe.target, begun.batches.data
    if spec.teacher:
        vectors, _ = told(begun, spec.teacher)
    else:
        of_items = item_vectors(
            begun.split.train.sequences,
            30,
            dim=spec.dim,
            epochs=spec.epochs,
            window=spec.window,
            seed=spec.seed,
        )
        vectors = context_means(data.sequences.items, *data.histories(), of_items)
    example, _, _ = data.stretches(np.arange(data.n_contexts))
    return nearest(vectors, spec.k, owner=data.user[example], seed=spec.seed).tolist()


CSN = {"target": {"name": "csn", "dim": 4, "epochs": 2, "k": 3}}
for field, values in {
    "name": ["csn"], "k": [2, 3], "teacher": [None, "TEACHER A", "TEACHER B"], "dim": [3, 4],
    "epochs": [1, 4], "window": [None, 1], "seed": [0, 1],
}.items():  # fmt: skip
    row(CsnSettings, field, values, lambda b: b.source.neighbours.tolist(), neighbours,
        base=CSN)  # fmt: skip
row(CsnSettings, "temperature", [0.5, 1.0, 3.0], lambda b: b.source(b.batch).temperature,
    lambda b: b.recipe.target.temperature, base=CSN)  # fmt: skip


def predicted(begun):
    """What the teacher predicts for the first batch."""
    spec, batch = begun.recipe.target, begun.batch
    encoder = open_run(spec.teacher).encoder()
    with torch.no_grad():
        items = encoder.items()
        z = encoder(batch).users @ items.vectors.T + items.bias
    s = (z.double() / spec.temperature).softmax(1)
    if spec.top is not None:
        best, places = s.topk(spec.top, 1)
        s = torch.zeros_like(s).scatter(1, places, best) + (1 - best.sum(1, keepdim=True)) / 30
    return s.numpy()


KD = {"target": {"name": "kd", "teacher": "TEACHER A"}}
for field, values in {
    "temperature": [0.5, 1.0, 3.0], "teacher": ["TEACHER A", "TEACHER B"], "top": [None, 1, 4],
}.items():  # fmt: skip
    row(DistillationSettings, field, values, lambda b: dense(b), predicted, base=KD)
row(DistillationSettings, "name", ["kd"], lambda b: dense(b), predicted, base=KD,
    refused=("skd", "ckd"))  # fmt: skip


POPULAR = {"name": "pop+", "temperature": 2.0}


def mixed(begun):
    uniform = np.full((len(begun.batch.label), 30), 1 / 30)
    of = begun.recipe.target.of
    pop = begun.recipe.model_copy(update={"target": of[1].target})
    parts = uniform, popular(begun._replace(recipe=pop))
    return sum(part.weight * made for part, made in zip(of, parts, strict=True))


def shares(one):
    return [{"weight": one, "target": {"name": "uniform"}}, {"weight": 1 - one, "target": POPULAR}]


for spec, field in ((MixtureSettings, "of"), (PartSettings, "weight")):
    row(spec, field, [shares(0.25), shares(0.5)], lambda b: dense(b), mixed,
        place="target.of", base={"target": {"name": "mixture"}})  # fmt: skip
row(MixtureSettings, "name", ["mixture"], lambda b: dense(b), mixed,
    base={"target": {"name": "mixture", "of": shares(0.5)}})  # fmt: skip
ALONE = [[{"weight": 1.0, "target": target}] for target in (POPULAR, {"name": "uniform"})]
row(PartSettings, "target", ALONE, lambda b: type(b.source.sources[0]).__name__,
    lambda b: {"pop+": "PopularityTarget", "uniform": "UniformTarget"}[
        b.recipe.target.of[0].target.name
    ], place="target.of", base={"target": {"name": "mixture"}})  # fmt: skip


# What is seen of an object is the object itself; its other fields say what it was.
FIRST, SECOND = (UniformTarget(30), PopularityTarget(torch.eye(30)[0]))
for field, values in {"fingerprint": [FIRST, SECOND], "label": ["a", "b"], "kind": ["a.A", "b.B"],
                      "name": ["object"], "alpha": [0.2, 0.9],
                      "mass": [None, "label-count"]}.items():  # fmt: skip
    own = ObjectSettings.of(FIRST, "own") | {"alpha": 0.3}
    if field == "fingerprint":
        values = [ObjectSettings.of(source)["fingerprint"] for source in values]
    row(ObjectSettings, field, values,
        {"fingerprint": lambda b: dense(b).sum(0), "alpha": weight}.get(
            field, lambda b, f=field: str(getattr(b.recipe.target, f))),
        {"alpha": lambda b: b.recipe.target.alpha}.get(field), base={"target": own})  # fmt: skip
