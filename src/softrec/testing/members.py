"""The contracts of losses without a definition to compare with, candidates, metrics, data sets."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softrec.candidates import Candidates, CandidateSource
from softrec.data.sources import Source
from softrec.evaluation.metrics import Metric, Ranks
from softrec.losses.reference import plain
from softrec.losses.settings import Pairs
from softrec.losses.softmax import Loss, loss_of
from softrec.losses.streaming import streamed
from softrec.testing.briefly import check_values
from softrec.testing.checking import require, require_close
from softrec.testing.losses import ODDS, extreme_case, outcome_of, random_case
from softrec.types import Batch, WeightSource

SPLITS = ("leave-last-out", "time", "session-time", "user-ratio", "given")


def check_softmax(parts: Loss, weight: float) -> None:
    """Check a softmax loss without its definition; with the definition use `check_loss`.

    It checks that there is one finite value per example at ordinary and at extreme logits, that
    examples do not depend on each other, that the reference and the streamed pass agree in value
    and gradient, and that without a soft target a higher score of the label is better.

    Args:
        parts: named losses with their coefficients.
        weight: of the soft target.

    Raises:
        AssertionError: if the loss breaks a rule; the message names it.
    """
    check_values(loss_of(parts), weight)
    case = random_case(3)
    expected = outcome_of(case, parts, weight, plain).all
    for name, tensor in outcome_of(case, parts, weight, streamed).all.items():
        require_close(tensor, expected[name], f"{name} of the streamed pass", rtol=1e-8, atol=1e-8)
    for odds in ODDS:
        for name, tensor in outcome_of(extreme_case(odds), parts, weight, plain).all.items():
            require(bool(torch.isfinite(tensor).all()), f"{name} at log-odds {odds} is not finite")
    few = replace(case, users=case.users[:4], label=case.label[:4], probs=case.probs[:4])
    found = outcome_of(few, parts, weight, plain).values
    require_close(found, expected["value"][:4], "the value of an example without the others")
    if not weight:
        rows = [outcome_of(extreme_case(odds), parts, weight, plain).values for odds in ODDS]
        for worse, better in pairwise(rows):
            require(bool((worse >= better).all()), "a higher score of the label is no better")


def check_pairs(loss: Pairs) -> None:
    """Check a pairwise loss, (label (P,), others (P, M), count (P, M)) -> (P,).

    It checks that there is one finite value and gradient per row, that rows do not depend on each
    other, that the order of the negatives does not matter, and that a negative with count 0 is left
    out.

    Raises:
        AssertionError: if the loss breaks a rule; the message names it.
    """
    generator = torch.Generator().manual_seed(5)
    label = torch.randn(6, generator=generator, dtype=torch.float64).requires_grad_()
    others = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    count = torch.randint(0, 3, (6, 5), generator=generator).double()
    count[:, 0] = 1
    values = loss(label, others, count)
    require(values.shape == label.shape, f"expected values (6,), got {tuple(values.shape)}")
    require(bool(torch.isfinite(values).all()), "a value is not finite")
    (gradient,) = torch.autograd.grad(values.sum(), label)
    require(bool(torch.isfinite(gradient).all()), "a gradient in the label's score is not finite")
    require(bool((gradient != 0).any()), "the label's score changes nothing")
    label = label.detach()
    values = values.detach()
    require_close(loss(label[:2], others[:2], count[:2]), values[:2], "rows without the others")
    order = torch.randperm(5, generator=generator)
    require_close(loss(label, others[:, order], count[:, order]), values, "others in another order")
    moved = torch.where(count == 0, others + 3, others)
    require_close(loss(label, moved, count), values, "others of count 0 with other scores")


def check_candidates(source: CandidateSource, batch: Batch, n_items: int) -> None:
    """Check the candidates that a source returns for a batch.

    It checks shapes and types, that items are in the catalogue, that candidates common to all rows
    are distinct and ascending, that counts are finite and not negative, that a row's own label is
    not counted among candidates sampled for that row, and that samples depend on torch's random
    state only.

    Raises:
        AssertionError: if the source breaks a rule; the message names it.
    """
    torch.manual_seed(1)
    drawn = source(batch)
    kind = "None" if drawn is None else type(drawn).__name__
    require(
        isinstance(drawn, Candidates),
        f"called with a batch they give {kind}, expected softrec.candidates.Candidates",
    )
    items, counts, correction, hits, masked = drawn
    rows = len(batch.label)
    for name, part in {"items": items, "counts": counts}.items():
        require(isinstance(part, Tensor), f"{name} are {type(part).__name__}, expected a tensor")
    require(items.numel() > 0, "there are no items; a label is scored against one at least")
    require(items.dtype == torch.int64, f"items are {items.dtype}, expected int64")
    require(
        items.dim() == 1 or (items.dim() == 2 and len(items) == rows),
        f"items have the shape {tuple(items.shape)}, expected (M,) or ({rows}, M)",
    )
    inside = bool(((items >= 0) & (items < n_items)).all())
    require(inside, f"items are numbered 0 .. {n_items - 1}, got {items.min()} .. {items.max()}")
    if items.dim() == 1:
        require(bool((items.diff() > 0).all()), "shared items must be distinct and ascending")
    for name, part in {"counts": counts, "correction": correction}.items():
        if part is not None:
            shapes = [items.shape, (1, *items.shape[1:])][: items.dim()]
            fits = part.shape in shapes
            require(fits, f"{name} have another shape than the items")
            used = part if name == "counts" else part.expand_as(items)[counts.expand_as(items) > 0]
            require(bool(torch.isfinite(used).all()), f"{name} are not finite")
    require(bool((counts >= 0).all()), "counts are negative")
    if items.dim() == 2:
        own = (items == batch.label[:, None]) & (counts > 0)
        require(not bool(own.any()), "a row's own label is counted among its candidates")
    require(hits is None or hits.shape == (rows,), f"expected hits of the shape ({rows},)")
    if masked is not None:
        row, place = masked
        fits = bool(((row < rows) & (place < len(items)) & (row >= 0) & (place >= 0)).all())
        require(fits, "masked are pairs (row, place among the items)")
    torch.manual_seed(1)
    again = source(batch)
    for one, other in zip((items, counts), (again.items, again.counts), strict=True):
        same = one.shape == other.shape and bool((one == other).all())
        require(same, "the same torch.manual_seed draws other candidates, so no run can resume")


def check_weights(source: WeightSource, batch: Batch) -> None:
    """Check the weights that a source gives the examples of a batch.

    It checks that there is one finite weight per example, that none is negative and not all are 0,
    also where scores are extreme, that some rows weigh what they weigh among all, and that the same
    batch is weighed the same again.

    Raises:
        AssertionError: if the source breaks a rule; the message names it.
    """
    p = len(batch.label)
    weigh, every = source(batch), slice(0, p)
    for size in (0.0, 1.0, 100.0):
        logit = size * torch.linspace(-1, 1, p, device=batch.label.device)
        found = weigh(logit, every)
        require(found.shape == (p,), f"expected weights ({p},), got {tuple(found.shape)}")
        require(bool(torch.isfinite(found).all()), "a weight is not finite")
        require(bool((found >= 0).all()), "a weight is negative")
        require(bool((found > 0).any()), "all weights are 0")
        some = slice(1, p)
        require_close(weigh(logit[some], some), found[some], "the weights of some rows")
        require_close(source(batch)(logit, every), found, "the weights of the same batch again")


def check_metric(metric: Metric) -> None:
    """Check a metric, (ranks, k) -> one value per case.

    It checks that there is one finite value per case, that it depends neither on the other cases
    nor on the order of the ranks, and that no ranking has a higher value than the best one, because
    the epoch with the largest value is chosen.

    Raises:
        AssertionError: if the metric breaks a rule; the message names it.
    """
    case = np.array([0, 1, 1, 2, 3, 3, 3])
    rank = np.array([1, 2, 9, 30, 1, 2, 3])
    relevant = np.array([1, 2, 1, 3])
    for k in (1, 5, 20):
        values = np.asarray(metric(Ranks(case, rank, relevant), k))
        require(values.shape == (4,), f"expected one value for each of 4 cases, got {values.shape}")
        require(bool(np.isfinite(values).all()), f"a value at {k} is not finite")
        order = np.array([6, 3, 0, 5, 2, 4, 1])
        moved = np.asarray(metric(Ranks(case[order], rank[order], relevant), k))
        require(np.allclose(moved, values), f"at {k} the order of the ranks matters")
        alone = metric(Ranks(np.zeros(2, int), rank[1:3], relevant[1:2]), k)
        require(np.allclose(alone, values[1:2]), f"at {k} a case depends on the others")
        best = np.asarray(metric(Ranks(case, np.array([1, 1, 2, 1, 1, 2, 3]), relevant), k))
        require(bool((best >= values - 1e-12).all()), f"at {k} the best ranking is not the best")


def check_source(source: Source, name: str) -> None:
    """Check the description of a data set. Its reader is not called, because it needs the files.

    Raises:
        AssertionError: if something is missing or wrong.
    """
    require(source.name == name, f"it is registered as {name!r}, and its name is {source.name!r}")
    require(callable(source.read), "read must be a function of the paths of the files")
    require(bool(source.files), "it has no files")
    names = [file.name for file in source.files]
    require(len(set(names)) == len(names), f"two of its files have one name: {names}")
    for file in source.files:
        ways: Any = file.url or file.how or file.local
        require(bool(ways), f"nothing says where {file.name} is found: url, how or local")
        kind = (file.checksum or "md5:").partition(":")[0]
        require(kind in ("md5", "sha256"), f"the checksum of {file.name} is not md5: or sha256:")
    for said in ("title", "licence", "citation"):
        require(bool(getattr(source, said)), f"it has no {said}")
    split = source.split.get("split")
    require(split in SPLITS, f"its split is {split!r}, expected one of {', '.join(SPLITS)}")
