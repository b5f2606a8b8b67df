"""Every target x loss x candidate set, on two backbones: one oracle over whole tables, float64."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional as F

from pairs import every
from softrec.candidates import (
    InBatch,
    MixedDraws,
    RowDraws,
    SharedDraws,
    SharedUniform,
    log_uniform,
)
from softrec.losses import pairwise
from softrec.losses.bilateral import bsl_reweight, grouped_label, negative_side, sl
from softrec.losses.contrastive import infonce_plus
from softrec.losses.debiased import debiased_softmax
from softrec.losses.reference import plain
from softrec.losses.softmax import decoupled, hard, mixed
from softrec.losses.streaming import streamed
from softrec.models.gru4rec import GRU4Rec
from softrec.models.lightgcn import LightGCN
from softrec.models.mf import MF
from softrec.objective import Objective
from softrec.scoring import Scoring
from softrec.targets.dense import DenseTarget
from softrec.targets.mixture import MixtureTarget
from softrec.targets.smoothing import PopularityTarget, UniformTarget, popularity
from softrec.targets.sparse import SparseTarget
from softrec.targets.teacher import TeacherTarget, TopTarget
from softrec.types import Batch, ItemVectors, Target

N, P, WEIGHT = 11, 7, 0.4
COUNTS = torch.tensor([9.0, 1, 4, 2, 7, 1, 3, 5, 2, 8, 6], dtype=torch.float64)
POPULAR = COUNTS / COUNTS.sum()
BATCH = Batch(
    history=torch.tensor(
        [[1, 2, 3], [4, N, N], [5, 6, N], [7, 8, 9], [0, 1, N], [2, N, N], [9, 4, 6]]
    ),
    label=torch.tensor([4, 5, 4, 0, 10, 3, 4]),
    example=torch.arange(P),
    user=torch.tensor([0, 1, 0, 2, 3, 1, 0]),
)  # fmt: skip


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass(frozen=True)
class OnlyTwoAnswers(Target):
    """A target of somebody's own: no `within`, no `spread`."""

    probs: torch.Tensor

    def prob_of(self, items):
        return self.probs.gather(1, items.view(P, -1)).view(items.shape)

    def mean_item(self, vectors):
        return self.probs.to(vectors) @ vectors


SPARSE = SparseTarget(
    torch.randint(N, (P, 4), generator=torch.Generator().manual_seed(3)),
    numbers(P, 4, seed=4).softmax(1),
)
TEACHER = TeacherTarget(numbers(P, 3, seed=5), ItemVectors(numbers(N, 3, seed=6), numbers(N)), 2.0)
TARGETS = {
    "uniform": UniformTarget(N),
    "popularity": PopularityTarget(popularity(COUNTS).double()),
    "sparse": SPARSE,
    "dense": DenseTarget(numbers(P, N, seed=7).softmax(1)),
    "own": OnlyTwoAnswers(numbers(P, N, seed=8).softmax(1)),
    "teacher": TEACHER,
    "top": TopTarget.of(SPARSE.items.sort(1).values, 0.6 * SPARSE.probs, N),
    "mixture": MixtureTarget((UniformTarget(N), SPARSE, TEACHER), (0.2, 0.5, 0.3)),
}
SHARED = ("uniform", "popularity")
CANDIDATES = {
    "full": None,
    "shared uniform": SharedUniform(N, 6),
    "shared popular": SharedDraws(POPULAR, 8),
    "shared log-uniform, uncorrected": SharedDraws(log_uniform(COUNTS), 8, corrected=False),
    "uniform for each row": RowDraws(N, 5),
    "popular for each row": RowDraws(N, 9, POPULAR),
    "in-batch": InBatch(POPULAR),
    "mixed": MixedDraws(SharedUniform(N, 4, corrected=False), POPULAR),
    "in-batch, hits stay": InBatch(mask_hits=False),
    "in-batch, hits stay, corrected": InBatch(POPULAR, mask_hits=False),
}
LOSSES = {
    "hard": hard(),
    "mixed": mixed(),
    "decoupled": decoupled(0.7),
    "sl": {"sl": (sl, 1.0)},
    "bsl": {"bsl": (bsl_reweight(1.2), 1.0)},
    "infonce+": {"infonce+": (infonce_plus(1.2, 0.5), 1.0)},
    "debiased": {"debiased": (debiased_softmax(0.05, 4.0, -1.0), 1.0)},
}
PAIRS = {
    "bpr": pairwise.bpr,
    "weighted bpr": pairwise.softmax_weighted_bpr,
    "bce": pairwise.bce,
    "gbce": pairwise.gbce(0.75, 0.5),
    "mse": pairwise.mse,
    "ccl": pairwise.ccl(0.4, 2.0),
    "cml": pairwise.hinge(0.5),
}


def encoder_of(name):
    torch.manual_seed(1)
    if name == "mf":
        return MF(N, n_users=4, dim=3, output_bias=True).double()
    return GRU4Rec(N, dim=3, dropout=0.0).double()


# --- the oracle: tables over all items ---


def tables(chosen):
    """Return how often each item counts, and its correction, (P, N) each."""
    copies = torch.zeros(P, N, dtype=torch.float64)
    correction = torch.zeros(P, N, dtype=torch.float64)
    rows = torch.arange(P)
    if chosen is None:
        copies += 1
        copies[rows, BATCH.label] = 0
        return copies, correction
    items = chosen.items.expand(P, -1)
    count = chosen.counts.double().expand(P, -1)
    copies.scatter_add_(1, items, count)
    if chosen.correction is not None:
        correction.scatter_(1, items, chosen.correction.double().expand(P, -1))
    if chosen.items.dim() == 1:
        copies[rows, BATCH.label] = 0.0 if chosen.hits is None else chosen.hits.double()
    if chosen.masked is not None:
        row, place = chosen.masked
        copies[row, chosen.items[place]] = 0
    return copies, correction


def score_table(encoder, scoring):
    users, items = encoder(BATCH).users, encoder.items()
    vectors = items.vectors
    if scoring.kind == "cosine":
        users, vectors = F.normalize(users, dim=1), F.normalize(vectors, dim=1)
    if scoring.kind == "euclidean":
        users, vectors = (v / v.norm(dim=1, keepdim=True).clamp(min=1) for v in (users, vectors))
        z = -(users[:, None] - vectors[None]).square().sum(2)
    else:
        z = users @ vectors.T
    return (z + (0 if items.bias is None else items.bias)) / scoring.temperature


def restricted(target, copies, exact):
    every = torch.arange(N).expand(P, N)
    s = torch.stack([target.prob_of(every[:, i]) for i in range(N)], 1).double()
    if exact:
        return s
    kept = copies > 0
    kept[torch.arange(P), BATCH.label] = True
    s = s * kept
    total = s.sum(1, keepdim=True)
    one_hot = F.one_hot(BATCH.label, N).double()
    return torch.where(total > 0, s / total.clamp(min=1e-300), one_hot)


def oracle(name, z, copies, correction, s):
    rows = torch.arange(P)
    z_y = z[rows, BATCH.label]
    mass = (copies * correction.exp() * z.exp()).sum(1)
    rest, lse = mass.log(), (mass + z_y.exp()).log()
    one_hot = F.one_hot(BATCH.label, N).double()
    q = one_hot if s is None else (1 - WEIGHT) * one_hot + WEIGHT * s
    mean = (q * z).sum(1)
    if name == "hard":
        value = lse - z_y
    elif name == "mixed":
        value = lse - mean
    elif name == "sl":
        value = rest - mean
    elif name == "bsl":
        value = 1.2 * rest - mean
    elif name == "infonce+":
        value = 1.2 * (mass + 0.5 * z_y.exp()).log() - mean
    elif name == "debiased":
        left = ((mass - 0.05 * 4 * z_y.exp()) / 0.95).clamp(min=4 / math.e)
        value = (left + z_y.exp()).log() - mean
    else:
        q_y, s_y, p_y = q[rows, BATCH.label], s[rows, BATCH.label], (z_y - lse).exp()
        binary = -q_y * p_y.log() - (1 - q_y) * (mass / (mass + z_y.exp())).log()
        others = s * (1 - one_hot)
        share = others / (1 - s_y)[:, None].clamp(min=1e-12)
        value = 0.7 * binary + 0.3 * torch.where(
            s_y < 1 - 1e-12, rest - (share * z).sum(1), torch.zeros_like(rest)
        )
    return torch.where(copies.sum(1) > 0, value, torch.zeros_like(value))


def oracle_of_pairs(name, z, copies):
    values = []
    for row in range(P):
        f = z[row, BATCH.label[row]]
        g = torch.repeat_interleave(z[row], copies[row].long())
        m = len(g)
        if m == 0:
            values.append(0 * f)
            continue
        values.append(
            {
                "bpr": -(f - g).sigmoid().log().mean(),
                "weighted bpr": -(g.softmax(0) * (f - g).sigmoid()).sum().log(),
                "bce": -f.sigmoid().log() - (-g).sigmoid().log().mean(),
                "gbce": -(
                    (0.5 * (0.75 * (1 - 2) + 2)) * f.sigmoid().log() + (-g).sigmoid().log().sum()
                )
                / (1 + m),
                "mse": 0.5 * (f - 1) ** 2 + 0.5 * (g**2).sum(),
                "ccl": 1 - f + 2.0 / m * (g - 0.4).clamp(min=0).sum(),
                "cml": (0.5 + g - f).clamp(min=0).sum(),
            }[name]
        )
    return torch.stack(values)


def gradients(total, encoder):
    return torch.autograd.grad(total, list(encoder.parameters()), allow_unused=True)


def compare(objective, encoder, expected):
    torch.manual_seed(5)
    value = objective(encoder, BATCH)
    assert value.total.item() == pytest.approx(expected.mean().item(), rel=1e-6, abs=1e-6)
    wanted, got = gradients(expected.mean(), encoder), gradients(value.total, encoder)
    names = [name for name, _ in encoder.named_parameters()]
    for name, a, b in zip(names, wanted, got, strict=True):
        if a is None or b is None:
            assert a is None or not a.any(), name
            assert b is None or not b.any(), name
            continue
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def drawn(candidates):
    torch.manual_seed(5)
    return None if candidates is None else candidates(BATCH)


PASSES = {"streamed": streamed, "plain": plain}
BACKBONES = ("mf", "gru4rec")


def nothing_to_decouple(case):
    """Refused by the objective."""
    return case["loss"] == "decoupled" and case["target"] == "one-hot"


@pytest.mark.slow
@every(
    loss=LOSSES,
    target=["one-hot", *TARGETS],
    candidates=CANDIDATES,
    backbone=BACKBONES,
    shared=PASSES,
    unless=nothing_to_decouple,
)
def test_softmax_losses(loss, target, candidates, backbone, shared):
    encoder, scoring = encoder_of(backbone), Scoring()
    soft = TARGETS.get(target)
    source = None if soft is None else lambda batch: soft
    copies, correction = tables(drawn(CANDIDATES[candidates]))
    s = None if soft is None else restricted(soft, copies, exact=False)
    expected = oracle(loss, score_table(encoder, scoring), copies, correction, s)
    objective = Objective(
        LOSSES[loss],
        source,
        WEIGHT if soft is not None else 0.0,
        CANDIDATES[candidates],
        scoring,
        shared=PASSES[shared],
    )
    compare(objective, encoder, expected)


@every(loss=["mixed", "decoupled", "sl"], target=SHARED, candidates=CANDIDATES, shared=PASSES)
def test_exact_expectations_under_sampling(loss, target, candidates, shared):
    encoder, scoring = encoder_of("gru4rec"), Scoring()
    copies, correction = tables(drawn(CANDIDATES[candidates]))
    s = restricted(TARGETS[target], copies, exact=True)
    expected = oracle(loss, score_table(encoder, scoring), copies, correction, s)
    objective = Objective(
        LOSSES[loss],
        lambda batch: TARGETS[target],
        WEIGHT,
        CANDIDATES[candidates],
        scoring,
        exact=True,
        shared=PASSES[shared],
    )
    compare(objective, encoder, expected)


@pytest.mark.slow
@every(
    kind=["inner", "euclidean"],
    loss=PAIRS,
    candidates=CANDIDATES,
    backbone=BACKBONES,
    shared=PASSES,
)
def test_losses_on_pairs(kind, loss, candidates, backbone, shared):
    encoder, scoring = encoder_of(backbone), Scoring(kind)
    copies, _ = tables(drawn(CANDIDATES[candidates]))
    expected = oracle_of_pairs(loss, score_table(encoder, scoring), copies)
    objective = Objective(
        PAIRS[loss], candidates=CANDIDATES[candidates], scoring=scoring, shared=PASSES[shared]
    )
    compare(objective, encoder, expected)


@pytest.mark.slow
@every(kind=["cosine", "euclidean"], target=TARGETS, candidates=CANDIDATES, shared=PASSES)
def test_scorings(kind, target, candidates, shared):
    encoder, scoring = encoder_of("mf"), Scoring(kind, 0.2)
    copies, correction = tables(drawn(CANDIDATES[candidates]))
    s = restricted(TARGETS[target], copies, exact=False)
    expected = oracle("mixed", score_table(encoder, scoring), copies, correction, s)
    objective = Objective(
        mixed(), lambda batch: TARGETS[target], WEIGHT, CANDIDATES[candidates], scoring,
        shared=PASSES[shared],
    )  # fmt: skip
    compare(objective, encoder, expected)


@every(
    loss=LOSSES,
    target=["one-hot", "popularity", "sparse"],
    candidates=CANDIDATES,
    shared=PASSES,
    unless=nothing_to_decouple,
)
def test_losses_on_distances(loss, target, candidates, shared):
    """Not all of them cancel what the items of a user share: bsl does not."""
    encoder, scoring, soft = encoder_of("mf"), Scoring("euclidean", 0.5), TARGETS.get(target)
    copies, correction = tables(drawn(CANDIDATES[candidates]))
    s = None if soft is None else restricted(soft, copies, exact=False)
    expected = oracle(loss, score_table(encoder, scoring), copies, correction, s)
    source = None if soft is None else lambda batch: soft
    weight = 0.0 if soft is None else WEIGHT
    objective = Objective(
        LOSSES[loss], source, weight, CANDIDATES[candidates], scoring, shared=PASSES[shared]
    )
    compare(objective, encoder, expected)


@pytest.mark.parametrize("shared", PASSES)
@pytest.mark.parametrize("loss", ["hard", "sl", "bpr"])
def test_positives_of_the_same_user_can_be_left_out(loss, shared):
    encoder = encoder_of("gru4rec")
    source = InBatch(POPULAR, mask_positives=True)
    chosen = drawn(source)
    copies, correction = tables(chosen)
    for row in range(P):
        known = set(BATCH.history[row].tolist())
        known |= {
            int(y) for y, u in zip(BATCH.label, BATCH.user, strict=True) if u == BATCH.user[row]
        }
        left = set(copies[row].nonzero()[:, 0].tolist())
        assert left == set(BATCH.label.tolist()) - known - {int(BATCH.label[row])}
    z = score_table(encoder, Scoring())
    pairs = loss in PAIRS
    expected = (
        oracle_of_pairs(loss, z, copies) if pairs else oracle(loss, z, copies, correction, None)
    )
    compare(
        Objective((PAIRS if pairs else LOSSES)[loss], candidates=source, shared=PASSES[shared]),
        encoder,
        expected,
    )


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
@pytest.mark.parametrize("candidates", CANDIDATES)
def test_bilateral_losses_group_the_positives_of_a_user(candidates, kind):
    encoder, scoring = encoder_of("mf"), Scoring(kind, 0.2)
    copies, correction = tables(drawn(CANDIDATES[candidates]))
    z = score_table(encoder, scoring)
    z_y = z[torch.arange(P), BATCH.label]
    mass = (copies * correction.exp() * z.exp()).sum(1)
    groups = torch.stack([-z_y[BATCH.user == user].exp().mean().log() for user in BATCH.user])
    expected = groups + 1.1 * mass.log()
    objective = Objective(
        {"negative": (negative_side(1.1), 1.0)}, candidates=CANDIDATES[candidates],
        scoring=scoring, label_part=(grouped_label, 1.0),
    )  # fmt: skip
    compare(objective, encoder, expected)


def squares_by_hand(users, vectors, chosen):
    """Of each row: the user, the label, and the others as often as they count; row by row."""
    copies, _ = tables(chosen)
    squares = users.square().sum() + vectors[BATCH.label].square().sum()
    return squares + (copies @ vectors.square().sum(1)).sum()


@pytest.mark.parametrize(
    "source",
    [*CANDIDATES.values(), InBatch(mask_hits=False, mask_positives=True)],
    ids=[*CANDIDATES, "in-batch, hits stay, positives masked"],
)
def test_squares_of_the_vectors_used(source):
    encoder = encoder_of("mf")
    squares = squares_by_hand(encoder(BATCH).users, encoder.items().vectors, drawn(source))
    torch.manual_seed(5)
    with_l2 = Objective(candidates=source, l2=0.3)(encoder, BATCH).total
    torch.manual_seed(5)
    without = Objective(candidates=source)(encoder, BATCH).total
    torch.testing.assert_close(with_l2 - without, 0.3 / (2 * P) * squares)


@pytest.mark.parametrize("source", [None, InBatch(), RowDraws(N, 5)])
def test_squares_of_a_graph_model_are_those_of_its_tables(source):
    edges = torch.tensor([[0, 1, 2, 3, 0], [4, 5, 0, 10, 3]])
    torch.manual_seed(1)
    encoder = LightGCN(N, n_users=4, edges=edges, dim=3).double()
    users, vectors = encoder.user_table.weight[BATCH.user], encoder.item_table.weight
    squares = squares_by_hand(users, vectors, drawn(source))
    values = []
    for l2 in (0.3, 0.0):
        torch.manual_seed(5)
        values.append(Objective(candidates=source, l2=l2)(encoder, BATCH).total)
    torch.testing.assert_close(values[0] - values[1], 0.3 / (2 * P) * squares)


# --- what sampling does to the value ---


@pytest.mark.parametrize("target", ["one-hot", *TARGETS])
@pytest.mark.parametrize("loss", ["hard", "mixed", "decoupled", "sl"])
def test_a_sample_of_everything_is_the_full_catalogue(loss, target):
    if loss == "decoupled" and target == "one-hot":
        pytest.skip("refused: nothing to decouple")
    encoder, soft = encoder_of("gru4rec"), TARGETS.get(target)
    source, weight = (None, 0.0) if soft is None else (lambda batch: soft, WEIGHT)
    full = Objective(LOSSES[loss], source, weight)(encoder, BATCH)
    sampled = Objective(LOSSES[loss], source, weight, SharedUniform(N, N))(encoder, BATCH)
    torch.testing.assert_close(sampled.total, full.total)


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [SharedUniform(N, 4), SharedDraws(POPULAR, 6), RowDraws(N, 5), RowDraws(N, 5, POPULAR)],
    ids=["shared uniform", "shared popular", "row uniform", "row popular"],
)
def test_the_partition_is_right_in_the_mean(source):
    """mean of exp(R~) over draws is exp(R): within five standard errors."""
    encoder = encoder_of("gru4rec")
    z = score_table(encoder, Scoring()).detach()
    exact = z.exp().sum(1) - z.exp()[torch.arange(P), BATCH.label]
    torch.manual_seed(0)
    draws = []
    for _ in range(3000):
        copies, correction = tables(source(BATCH))
        draws.append((copies * correction.exp() * z.exp()).sum(1))
    found = torch.stack(draws)
    error = found.std(0) / len(draws) ** 0.5
    assert ((found.mean(0) - exact).abs() < 5 * error).all()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["one-hot", "uniform", "sparse", "teacher"])
def test_the_sampled_value_converges_to_the_full_one(target):
    """The mean distance to the full loss falls with the number of draws, to nothing."""
    encoder, soft = encoder_of("gru4rec"), TARGETS.get(target)
    source, weight = (None, 0.0) if soft is None else (lambda batch: soft, WEIGHT)
    full = Objective(mixed(), source, weight)(encoder, BATCH).total.item()
    distances = []
    for number in (10, 200, 20_000):
        torch.manual_seed(0)
        sampled = Objective(mixed(), source, weight, RowDraws(N, number))
        values = [sampled(encoder, BATCH).total.item() for _ in range(5)]
        distances.append(sum(abs(value - full) for value in values) / len(values))
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 0.02


def test_a_batch_of_one_has_nothing_to_be_told_from():
    encoder = encoder_of("mf")
    one = Batch(*(part[:1] for part in BATCH[:4]))
    value = Objective(candidates=InBatch())(encoder, one)
    assert value.total.item() == 0
    assert not any(g.any() for g in gradients(value.total, encoder) if g is not None)
