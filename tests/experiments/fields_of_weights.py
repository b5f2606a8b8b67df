"""Weights of examples: what each field makes of the first batch."""

import numpy as np
import torch
from fields import row

from softrec import weights

SL = {"loss": {"name": "sl", "score_temperature": 0.5}}
SLATK = SL | {"weights": {"name": "slatk", "rank": 4}}


def weighed(begun):
    """The weights of the first batch, and which gradient they have together."""
    encoder, batch = begun.encoder.eval(), begun.batch
    begun.objective.begin_epoch(encoder, 0)
    weigh = begun.objective.weights(batch)
    logit = logits(begun).gather(1, batch.label[:, None])[:, 0].detach().requires_grad_()
    found = weigh(logit, slice(0, len(logit)))
    slope = torch.autograd.grad(found.sum(), logit)[0] if found.requires_grad else logit * 0
    return np.concatenate([found.detach().numpy(), slope.detach().numpy()])


def logits(begun):
    spec = begun.recipe.loss
    users, (items, bias, _), *_ = begun.encoder.eval()(begun.batch)
    cosines = torch.cosine_similarity(users[:, None], items[None], dim=-1)
    return ((cosines + bias) / spec.score_temperature).detach()


def expected(begun):
    spec, z = begun.recipe.weights, logits(begun).double() * begun.recipe.loss.score_temperature
    border = z.sort(1, descending=True).values[:, spec.rank - 1]
    own = z.gather(1, begun.batch.label[:, None])[:, 0]
    weight = 1 / (1 + torch.exp((border - own) / spec.weight_temperature))
    slope = weight * (1 - weight) / spec.weight_temperature * spec.gradient
    slope = slope * begun.recipe.loss.score_temperature
    return np.concatenate([weight.numpy(), slope.numpy()])


def renewed(begun):
    """In which epochs the border is computed again."""
    found = []
    for epoch in range(7):
        before = begun.objective.weights.thresholds.values.clone()
        begun.objective.begin_epoch(begun.encoder.eval(), epoch)
        found.append(not torch.equal(before, begun.objective.weights.thresholds.values))
        with torch.no_grad():
            for part in begun.encoder.parameters():
                part.add_(0.01 * torch.randn_like(part))
    return found


def stored(begun):
    weigh = begun.objective.weights(begun.batch)
    return weigh(begun.batch.label.float(), slice(None)).numpy()


def by_popularity(begun):
    spec = begun.recipe.weights
    state, counts = begun.batches.state_dict(), np.zeros(30)
    for batch in begun.batches:
        np.add.at(counts, batch.label.numpy(), 1)
    begun.batches.load_state_dict(state)
    raw = np.maximum(counts, 1) ** -spec.power
    for clip in (np.inf, spec.clip):
        raw = np.minimum(raw, clip)
        raw = raw / ((raw * counts).sum() / counts.sum())
        raw = np.minimum(raw, spec.clip) if clip == np.inf else raw
    return raw[begun.batch.label.numpy()]


def by_age(begun):
    """Up to a factor: the age of each label, found in the log by its user and place."""
    spec, batch, data = begun.recipe.weights, begun.batch, begun.batches.data
    ages = []
    for example, step in zip(batch.example.tolist(), batch.step.tolist(), strict=True):
        place = data.start[example] + step + 1
        user = data.user[example]
        later = data.sequences.offsets[user + 1] - 1 - place
        ages.append(later)
    raw = 0.5 ** (np.array(ages) / spec.half_life)
    return raw / raw[0]


def by_number(begun):
    """The number of each label's event, found in the log by its user and place."""
    spec, batch, data = begun.recipe.weights, begun.batch, begun.batches.data
    numbers = begun.split.train.ordered["weight"].to_numpy()
    found = []
    for example, step in zip(batch.example.tolist(), batch.step.tolist(), strict=True):
        found.append(numbers[data.start[example] + step + 1])
    found = np.array(found, dtype=float)
    raw = spec.least + (found if spec.scale == "linear" else np.log(1 + found))
    return raw / raw[0]


def relative(begun):
    found = stored(begun)
    return found / found[0]


row(weights.EqualSettings, "name", ["equal"], lambda b: b.objective.weights, lambda b: None)
row(weights.SlatkSettings, "name", ["slatk"], weighed, expected, base=SLATK, within=1e-4)
for name, values in {
    "rank": [1, 7],
    "weight_temperature": [0.3, 2.0],
    "gradient": [True, False],
}.items():
    row(weights.SlatkSettings, name, values, weighed, expected, base=SLATK, within=1e-4)
row(weights.SlatkSettings, "renew", [1, 3], renewed,
    lambda b: [e % b.recipe.weights.renew == 0 for e in range(7)], base=SLATK)  # fmt: skip
RARE = {"weights": {"name": "inverse-propensity"}}
row(weights.InversePropensitySettings, "name", ["inverse-propensity"], stored, by_popularity)
row(weights.InversePropensitySettings, "power", [0.0, 0.5, 1.0], stored, by_popularity, base=RARE)
row(weights.InversePropensitySettings, "clip", [1.5, 3.0], stored, by_popularity,
    base={"weights": {"name": "inverse-propensity", "power": 1.0}})  # fmt: skip
RECENT = {"weights": {"name": "recency", "by": "events", "half_life": 2.0}}
row(weights.RecencySettings, "name", ["recency"], relative, by_age, base=RECENT)
row(weights.RecencySettings, "by", ["events"], relative, by_age, base=RECENT,
    refused=("time",))  # fmt: skip  # the log has none: see tests/weights
row(weights.RecencySettings, "half_life", [0.5, 3.0], relative, by_age, base=RECENT)
SURE = {"weights": {"name": "confidence", "least": 0.5}}
row(weights.ConfidenceSettings, "name", ["confidence"], relative, by_number, base=SURE)
row(weights.ConfidenceSettings, "scale", ["linear", "log"], relative, by_number, base=SURE)
row(weights.ConfidenceSettings, "least", [0.1, 3.0], relative, by_number, base=SURE)
