"""The prior on the logits: what is built of each field."""

from fields import row

from softrec.experiments.priors import choose_prior
from softrec.recipe.specs.models import MODELS
from softrec.recipe.specs.prior import PriorSettings

PRIOR = {"prior": {"model": "item-knn", "last": 3, "folds": 2}}


def attribute(name):
    return (lambda b: getattr(b.encoder.prior, name), lambda b: getattr(b.recipe.prior, name))


def kind_of(scorer):
    return None if scorer is None else [type(scorer).__name__, scorer.recency]


def made_of(spec):
    return None if spec is None else kind_of(MODELS[spec.name](30, **spec.settings))


def counted(begun):
    """How many events each fold's counts are of: the events of the other users."""
    others = begun.encoder.prior.others
    return [] if others is None else [len(scorer.values) for scorer in others.scorers]


def chosen(begun):
    valid = begun.module.validate.__self__
    return choose_prior(begun.encoder, begun.recipe, begun.split.train, valid)


models = ["item-knn", {"name": "item-knn", "recency": 0.5}, "markov", "rp3beta"]
row(PriorSettings, "model", models,
    lambda b: kind_of(b.encoder.prior.whole), lambda b: made_of(b.recipe.prior.model))  # fmt: skip
for name, values in (("strength", [0.5, 2.0]), ("floor", [1e-4, 0.1]), ("last", [1, 4]),
                     ("items", [2, 30]), ("folds", [0, 2, 3])):  # fmt: skip
    row(PriorSettings, name, values, *attribute(name), base=PRIOR)
row(PriorSettings, "folds", [0, 2, 5], lambda b: len(counted(b)), lambda b: b.recipe.prior.folds,
    base=PRIOR)  # fmt: skip
row(PriorSettings, "strength", [0.5, 2.0],
    lambda b: b.encoder.train().prior(b.batch).values.max().item(), base=PRIOR)  # fmt: skip
row(PriorSettings, "strengths", [[0.5], [2.0, 0.0, 0.5]],
    lambda b: [one["strength"] for one in chosen(b).facts["tried"]],
    lambda b: list(b.recipe.prior.strengths), base=PRIOR)  # fmt: skip
row(PriorSettings, "models", [["markov"], ["rp3beta", {"name": "markov", "steps": 2}]],
    lambda b: [one["model"].partition(" ")[0] for one in chosen(b).facts["tried"]],
    lambda b: ["item-knn", *(model.name for model in b.recipe.prior.models)],
    base={"prior": {"model": "item-knn", "last": 3}})  # fmt: skip
ALONE = {"prior": {"model": "item-knn", "last": 3}}
row(PriorSettings, "second", [None, "markov", {"name": "rp3beta", "recency": 0.5}],
    lambda b: kind_of(b.encoder.prior.second), lambda b: made_of(b.recipe.prior.second),
    base=ALONE)  # fmt: skip
row(PriorSettings, "second_strength", [0.5, 3.0], *attribute("second_strength"),
    base={"prior": {**ALONE["prior"], "second": "markov"}})  # fmt: skip
row(PriorSettings, "pairs", [False, True],
    lambda b: any("second" in one for one in chosen(b).facts["tried"]),
    lambda b: b.recipe.prior.pairs,
    base={"prior": {**ALONE["prior"], "models": ["markov"]}})  # fmt: skip
