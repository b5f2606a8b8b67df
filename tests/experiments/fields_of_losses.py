"""Losses: each is worked out over all items, in float64."""

from copy import copy

import torch
from fields import row
from torch.nn import functional as F

from softrec.losses import (
    bilateral,
    border,
    contrastive,
    debiased,
    pairwise,
    pairwise_softmax,
    softmax_settings,
)
from softrec.losses.adjustment import AdjustedSettings
from softrec.losses.settings import LOSSES


def scores(begun):
    """Return (z_y, z of the other items, bias left in), scored as the recipe says."""
    spec, batch, encoder = begun.recipe.loss, begun.batch, begun.encoder.double().eval()
    users, (items, bias, _), *_ = encoder(batch)
    if spec.score == "cosine":
        z = torch.cosine_similarity(users[:, None], items[None], dim=-1)
    elif spec.score == "euclidean":
        inside = [x / x.norm(dim=1, keepdim=True).clamp(min=1) for x in (users, items)]
        z = -(inside[0][:, None] - inside[1][None]).square().sum(-1)
    else:
        z = users @ items.T
    z = (z + bias) / spec.score_temperature
    if getattr(spec, "logit_adjustment", 0):
        counts = label_counts(begun) + spec.adjustment_smoothing
        z = z + spec.logit_adjustment * (counts / counts.sum()).log()
    label = F.one_hot(batch.label, len(items)).bool()
    return z[label], z[~label].view(len(z), -1)


def label_counts(begun):
    """How often each item is a label of an epoch."""
    state, counts = begun.batches.state_dict(), torch.zeros(30, dtype=torch.float64)
    for batch in begun.batches:
        counts += batch.label.bincount(minlength=30)
    begun.batches.load_state_dict(state)
    return counts


def debiased_of(y, rest, n, spec):
    """Cross-entropy after taking the labels among n negatives out of the sum."""
    lowest = {"cosine": -1, "euclidean": -4}[spec.score] if spec.lowest is None else spec.lowest
    left = (rest.exp() - spec.prior * n * y.exp()) / (1 - spec.prior)
    least = torch.full_like(left, n) * torch.tensor(lowest / spec.score_temperature).exp()
    return torch.log1p(torch.maximum(left, least) / y.exp())


def talos_of(y, z, begun):
    """Talos below the K-th largest score of all items, known since the epoch began."""
    spec = begun.recipe.loss
    least = torch.cat([y[:, None], z], 1).sort(1, descending=True).values[:, spec.rank - 1]
    own, others = (x.sigmoid() ** (1 / spec.sharpness_temperature)
                   for x in (y - least, z - least[:, None]))  # fmt: skip
    mass = others.sum(1) + (own if spec.denominator == "all" else 0)
    return (mass / own).log()


def expected_loss(begun):
    spec, batch = begun.recipe.loss, begun.batch
    y, z = scores(begun)
    rest = z.logsumexp(1)
    odds = y - rest
    user = batch.user[batch.row]
    group = (user[:, None] == user).double()

    def grouped(sharpness):
        """-log of the mean of exp over the rows of the same user."""
        return -((group @ (sharpness * y).exp()) / group.sum(1)).log()

    n = z.shape[1]
    rate = min(1.0, getattr(begun.objective.candidates, "number", n) / n)
    name = spec.mode if spec.name == "bsl" else spec.name
    tau = getattr(spec, "positive_temperature", None)
    sigma = {"relu": lambda x: x, "tanh": torch.tanh, "atan": torch.atan}
    losses_of = {
        "mixed": lambda: F.softplus(-odds),
        "sl": lambda: rest - y,
        "single": lambda: rest - y,
        "reweight": lambda: spec.exponent * rest - y,
        "multi": lambda: grouped(1) + spec.exponent * rest,
        "bilateral": lambda: (
            tau * grouped(spec.score_temperature / tau) + spec.score_temperature * rest
        ),
        "bpr": lambda: F.softplus(z - y[:, None]).mean(1),
        "weighted-bpr": lambda: -(z.softmax(1) * (y[:, None] - z).sigmoid()).sum(1).log(),
        "bce": lambda: F.softplus(-y) + F.softplus(z).mean(1),
        "bce-sum": lambda: F.softplus(-y) + F.softplus(z).sum(1),
        "mse": lambda: ((y - 1) ** 2 + (z**2).sum(1)) / 2,
        "gbce": lambda: (
            ((1 - spec.calibration * (1 - rate)) * F.softplus(-y) + F.softplus(z).sum(1)) / (1 + n)
        ),
        "ccl": lambda: 1 - y + spec.negative_weight * (z - spec.margin).relu().mean(1),
        "debiased": lambda: debiased_of(y, rest, n, spec),
        "psl": lambda: (
            ((1 + sigma[spec.surrogate](z - y[:, None])).clamp(min=1e-6))
            .pow(1 / spec.sharpness_temperature)
            .sum(1)
            .log()
        ),
        "talos": lambda: talos_of(y, z, begun),
        "infonce+": lambda: (
            spec.weight_of_all * (spec.epsilon * y.exp() + z.exp().sum(1)).log() - y
        ),
        "cml": lambda: (spec.margin + z - y[:, None]).relu().sum(1),
    }
    return losses_of[name]().mean().item()


def expected_soft_loss(begun):
    """As `expected_loss`, towards uniform with weight 0.3."""
    y, z = scores(begun)
    rest, n = z.logsumexp(1), z.shape[1] + 1
    s_y, a = 1 / n, 0.3
    q_y = 1 - a + a * s_y
    binary = -q_y * F.logsigmoid(y - rest) - (1 - q_y) * F.logsigmoid(rest - y)
    among = rest - z.mean(1)
    balance = getattr(begun.recipe.loss, "balance", None)
    if balance is None:
        return (binary + (1 - q_y) * among).mean().item()
    if balance == "red-line":
        balance = 1 / (1 + a * (1 - s_y))
    return (balance * binary + (1 - balance) * among).mean().item()


def total(begun):
    begun.objective.begin_epoch(begun.encoder.double().eval(), 0)
    return begun.value().total.item()


def added(begun):
    """What the field adds to the loss."""
    without = copy(begun.objective)
    without.l2 = 0.0
    encoder, batch = begun.encoder.double().eval(), begun.batch
    return (begun.objective(encoder, batch).total - without(encoder, batch).total).item()


UNIFORM = {"target": {"name": "uniform", "alpha": 0.3}}
NEEDED = {"debiased": {"lowest": -2.0}}  # inner products have no smallest one
for name, spec in LOSSES.items():
    soft = spec is softmax_settings.DecoupledSettings
    expect, target = (expected_soft_loss, UNIFORM) if soft else (expected_loss, {})
    base = target | {"loss": {"name": name} | NEEDED.get(name, {})}
    kinds = ["inner", "cosine", "euclidean"]
    row(spec, "score", kinds, total, expect, base=base)
    row(spec, "score_temperature", [0.5, 2.0], total, expect, base=base)
    row(spec, "l2", [0.0, 0.5, 1.0], added, None, base=base)
    row(spec, "name", [name], total, expect, base=target)
    if issubclass(spec, softmax_settings.LearntSettings):
        row(spec, "learn_temperature", [True, False],
            lambda b: b.encoder.log_temperature is not None,
            lambda b: b.recipe.loss.learn_temperature, base=base)  # fmt: skip
        learnt = base["loss"] | {"learn_temperature": True}
        row(spec, "score_temperature", [0.5, 2.0], total, expect, base=target | {"loss": learnt})
    if issubclass(spec, AdjustedSettings):
        adjusted = target | {"loss": {"name": name, "logit_adjustment": 0.7}}
        row(spec, "logit_adjustment", [0.0, 1.0, -0.5], total, expect, base=base)
        row(spec, "adjustment_smoothing", [0.5, 20.0], total, expect, base=adjusted)
row(softmax_settings.MixedSettings, "name", ["mixed"], total, expected_soft_loss, base=UNIFORM)
row(softmax_settings.DecoupledSettings, "balance", [0.2, 0.7, "red-line"], total,
    expected_soft_loss, base=UNIFORM | {"loss": {"name": "decoupled"}})  # fmt: skip
for mode, values in {
    "exponent": ("reweight", "multi"), "positive_temperature": ("bilateral",),
    "score_temperature": ("bilateral", "multi", "single"),
}.items():  # fmt: skip
    for kind in values:
        base = {"loss": {"name": "bsl", "mode": kind}}
        row(bilateral.BslSettings, mode, [0.3, 2.0], total, expected_loss, base=base)
row(bilateral.BslSettings, "mode", ["reweight", "multi", "single", "bilateral"], total,
    expected_loss, base={"loss": {"name": "bsl", "exponent": 1.3}})  # fmt: skip
FEW = {"candidates": {"name": "sampled", "number": 30}}
row(pairwise.GbceSettings, "calibration", [0.0, 0.5, 1.0],
    lambda begun: begun.objective.loss.loss.keywords,
    lambda begun: {"exponent": 1 - begun.recipe.loss.calibration * (1 - 10 / 29)},
    base={"loss": {"name": "gbce"}, "candidates": {"name": "sampled", "number": 10}})  # fmt: skip
PSL = {"loss": {"name": "psl"}}
row(
    pairwise_softmax.PslSettings,
    "surrogate",
    ["relu", "tanh", "atan"],
    total,
    expected_loss,
    base=PSL,
)
row(
    pairwise_softmax.PslSettings,
    "sharpness_temperature",
    [0.1, 0.5],
    total,
    expected_loss,
    base=PSL,
)
PLUS = {"loss": {"name": "infonce+", "epsilon": 0.5}}
row(contrastive.InfoncePlusSettings, "weight_of_all", [0.9, 1.2], total, expected_loss, base=PLUS)
row(contrastive.InfoncePlusSettings, "epsilon", [0.0, 0.3, 1.0], total, expected_loss,
    base={"loss": {"name": "infonce+"}})  # fmt: skip
CCL = {"loss": {"name": "ccl"}}
row(pairwise.CclSettings, "margin", [-0.5, 0.0, 0.3], total, expected_loss, base=CCL)
row(pairwise.CclSettings, "negative_weight", [2.0, 150.0], total, expected_loss,
    base={"loss": {"name": "ccl", "margin": 0.1}})  # fmt: skip
row(
    pairwise.CmlSettings,
    "margin",
    [0.2, 0.5, 1.0],
    total,
    expected_loss,
    base={"loss": {"name": "cml"}},
)
DEBIASED = {"loss": {"name": "debiased"}}
row(debiased.DebiasedSettings, "prior", [0.0, 0.001, 0.5], total, expected_loss, base=DEBIASED)
row(debiased.DebiasedSettings, "lowest", [None, -0.5, 0.5], total, expected_loss,
    base={"loss": {"name": "debiased", "prior": 0.9}})  # fmt: skip
row(debiased.DebiasedSettings, "name", ["debiased"],
    lambda begun: begun.objective.loss["debiased"][0].keywords["negatives"], lambda _: 10.0,
    base=DEBIASED | {"candidates": {"name": "sampled", "number": 10, "correction": False}},
)  # fmt: skip
TALOS = {"loss": {"name": "talos", "rank": 4, "sharpness_temperature": 0.5}}
for name, values in {"rank": [1, 9], "sharpness_temperature": [0.2, 0.9],
                     "denominator": ["all", "negatives"]}.items():  # fmt: skip
    row(border.TalosSettings, name, values, total, expected_loss, base=TALOS, within=1e-4)
row(border.TalosSettings, "renew", [1, 3], lambda b: b.objective.border.every,
    lambda b: b.recipe.loss.renew, base=TALOS)  # fmt: skip
