"""Candidates: what is drawn for the first batch."""

from copy import copy

import numpy as np
import torch
from fields import row

from softrec import candidates

POPULAR = {"name": "pop+", "temperature": 2.0}


def drawn(begun):
    torch.manual_seed(0)
    return begun.objective.candidates(begun.batch)


def spread(begun):
    """How often each item is drawn, over many draws: as likely as the recipe says."""
    torch.manual_seed(0)
    found = torch.zeros(30, dtype=torch.float64)
    for _ in range(40):
        items, copies, *_ = begun.objective.candidates(begun.batch)
        found.index_add_(0, items.flatten(), copies.expand_as(items).flatten().double())
    return (found / found.sum()).numpy()


def likely(begun):
    counts = begun.split.train.item_counts
    rank = np.empty(30)
    rank[np.argsort(-counts, kind="stable")] = np.arange(30)
    return {
        "uniform": np.full(30, 1 / 30), "popularity": counts / counts.sum(),
        "log-uniform": np.log((rank + 2) / (rank + 1)) / np.log(31),
    }[begun.recipe.candidates.sampler]  # fmt: skip


def sampled(**fields):
    return {"candidates": {"name": "sampled", "number": 12} | fields}


def corrected(begun):
    """log E_j of the first candidate, if it is taken off."""
    _, _, correction, *_ = drawn(begun)
    if correction is None:
        return None
    return float(-correction.flatten()[0])


def expected_correction(begun):
    spec = begun.recipe.candidates
    if spec.correction is False or (spec.correction is None and begun.recipe.loss.name == "bce"):
        return None
    first = int(drawn(begun).items.flatten()[0])
    return float(np.log(12 * likely(begun)[first]))


def seen(begun):
    """Whether an item that the row's user took is drawn."""
    items, copies, *_ = drawn(begun)
    sequences = begun.batches.data.sequences
    users = begun.batch.user[begun.batch.row].tolist()
    return any(
        set(row[count > 0].tolist()) & set(sequences[user].tolist())
        for row, count, user in zip(items, copies, users, strict=True)
    )


def false_negatives(begun):
    """Which share of what is drawn over many draws the rows' users took, and the correction."""
    torch.manual_seed(0)
    sequences, batch = begun.batches.data.sequences, begun.batch
    own = [set(sequences[user].tolist()) for user in batch.user[batch.row].tolist()]
    shares = []
    for _ in range(40):
        items, _, correction, *_ = begun.objective.candidates(batch)
        shares += [
            np.mean([i in k for i in row]) for row, k in zip(items.tolist(), own, strict=True)
        ]
    return [float(np.mean(shares)), float(correction is None)]


def expected_false(begun):
    rate = begun.recipe.candidates.false_negatives
    sequences, batch = begun.batches.data.sequences, begun.batch
    counts = [len(set(sequences[user].tolist())) for user in batch.user[batch.row].tolist()]
    if rate is None:  # any item but the label, which the user took
        return [float(np.mean([(n - 1) / 29 for n in counts])), 0.0]
    return [float(np.mean([rate * n / (30 - n + rate * n) for n in counts])), 1.0]


def missing_mass(begun):
    """The difference to the loss of restricted candidates: the target's other items."""
    restricted = copy(begun.objective)
    restricted.exact = False
    encoder, batch = begun.encoder.double().eval(), begun.batch
    values = []
    for objective in (begun.objective, restricted):
        torch.manual_seed(0)
        values.append(objective(encoder, batch).total.item())
    return abs(values[0] - values[1]) > 1e-6


def number(begun):
    """How many items are drawn for a batch; all of them, if none are."""
    return 30 if begun.objective.candidates is None else len(drawn(begun).items)


def affordable(begun):
    """All 30 items, or a quarter of what the three products of width 4 may cost."""
    budget, labels = begun.recipe.candidates.budget * 1e9, len(begun.batch.label)
    return 30 if 3 * 4 * labels * 30 <= budget else int(budget / 4 / (3 * 4 * labels))


SAMPLED, IN_BATCH = candidates.SampledSettings, candidates.InBatchSettings
row(candidates.FullSettings, "name", ["full"], lambda b: b.objective.candidates, lambda b: None)
row(candidates.AutoSettings, "name", ["auto"], lambda b: b.objective.candidates, lambda b: None,
    base={"candidates": {"name": "auto"}})  # fmt: skip
row(candidates.AutoSettings, "budget", [4.0, 3e-5, 1e-5], number, affordable,
    base={"candidates": {"name": "auto"}})  # fmt: skip
row(SAMPLED, "name", ["sampled"], lambda b: len(drawn(b).items), lambda b: 12, base=sampled())
row(SAMPLED, "number", [3, 9], lambda b: len(drawn(b).items),
    lambda b: b.recipe.candidates.number, base=sampled())  # fmt: skip
row(SAMPLED, "ratio", [0.1, 0.5], lambda b: len(drawn(b).items),
    lambda b: round(30 * b.recipe.candidates.ratio),
    base={"candidates": {"name": "sampled"}})  # fmt: skip
for per_row in (False, True):
    row(SAMPLED, "sampler", ["uniform", "popularity", "log-uniform"], spread, likely,
        base=sampled(per_row=per_row, number=29), within=0.02)  # fmt: skip
row(SAMPLED, "per_row", [False, True], lambda b: drawn(b).items.dim(),
    lambda b: 1 + b.recipe.candidates.per_row, base=sampled())  # fmt: skip
row(SAMPLED, "mask_positives", [False, True], seen,
    lambda b: not b.recipe.candidates.mask_positives, base=sampled(per_row=True))  # fmt: skip
row(SAMPLED, "false_negatives", [None, 0.0, 1.0, 5.0], false_negatives, expected_false,
    base=sampled(per_row=True, number=29), within=0.03)  # fmt: skip
for loss, values in (("mixed", [None, True, False]), ("bce", [None]), ("bce", [False])):
    row(SAMPLED, "correction", values, corrected, expected_correction,
        base=sampled(sampler="popularity") | {"loss": {"name": loss}})  # fmt: skip
for spec, base in ((SAMPLED, sampled()), (IN_BATCH, {"candidates": {"name": "in-batch"}})):
    row(spec, "soft", ["restricted", "exact"], missing_mass,
        lambda b: b.recipe.candidates.soft == "exact", base=base | {"target": POPULAR})  # fmt: skip
MIXED = candidates.MixedDrawsSettings


def beside(begun):
    """How many items are drawn besides the labels of the batch, with their copies."""
    return int(drawn(begun).counts.sum()) - len(begun.batch.label)


def mixed(**fields):
    return {"candidates": {"name": "mixed", "number": 12} | fields}


def spread_beside(begun):
    """The distribution of what is drawn besides the labels."""
    labels = np.bincount(begun.batch.label.numpy(), minlength=30)
    torch.manual_seed(0)
    found = np.zeros(30)
    for _ in range(200):
        items, copies, *_ = begun.objective.candidates(begun.batch)
        found += np.bincount(items.numpy(), copies.numpy(), minlength=30) - labels
    return found / found.sum()


def expected_mixed(begun):
    if begun.recipe.candidates.correction is False:
        return None
    labels = np.concatenate([batch.label.numpy() for batch in begun.batches])
    first = int(drawn(begun).items[0])
    share = (labels == first).mean()
    rate = (len(begun.batch.label) - 1) * share + 12 * likely(begun)[first]
    return float(np.log(rate))


row(MIXED, "name", ["mixed"], lambda b: set(b.batch.label.tolist()) <= set(drawn(b).items.tolist()),
    lambda b: True, base=mixed())  # fmt: skip
row(MIXED, "number", [3, 9], beside, lambda b: b.recipe.candidates.number, base=mixed())
row(MIXED, "sampler", ["uniform", "popularity", "log-uniform"], spread_beside, likely,
    base=mixed(number=29), within=0.02)  # fmt: skip
row(MIXED, "correction", [None, True, False], corrected, expected_mixed, base=mixed())
row(MIXED, "soft", ["restricted", "exact"], missing_mass,
    lambda b: b.recipe.candidates.soft == "exact", base=mixed() | {"target": POPULAR})  # fmt: skip
BATCH = {"candidates": {"name": "in-batch"}, "training.batch_size": 3}
row(IN_BATCH, "name", ["in-batch"], lambda b: drawn(b).items.tolist(),
    lambda b: sorted(set(b.batch.label.tolist())), base=BATCH)  # fmt: skip
row(IN_BATCH, "correction", [None, True, False], lambda b: drawn(b).correction is None,
    lambda b: b.recipe.candidates.correction is False, base=BATCH)  # fmt: skip
row(IN_BATCH, "mask_hits", [True, False], lambda b: drawn(b).hits is None,
    lambda b: b.recipe.candidates.mask_hits, base=BATCH)  # fmt: skip
row(IN_BATCH, "mask_positives", [True, False], lambda b: drawn(b).masked is None,
    lambda b: not b.recipe.candidates.mask_positives, base=BATCH)  # fmt: skip


row(candidates.ShownSettings, "name", ["shown"], lambda b: drawn(b).items.tolist(),
    lambda b: np.flatnonzero(b.split.train.item_counts).tolist())  # fmt: skip
