"""Several interests of a user in the objective: which is trained, which is predicted."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from messages import refused
from softrec.candidates import InBatch, RowDraws, SharedUniform
from softrec.losses.distillation import interest_distillation
from softrec.losses.pairwise import bpr
from softrec.losses.reference import plain
from softrec.losses.softmax import decoupled, hard, mixed
from softrec.models.comirec import ComiRecSA
from softrec.models.comirec_dr import ComiRecDR
from softrec.models.mind import MIND
from softrec.models.sasrec import SASRec
from softrec.models.timirec import TiMiRec
from softrec.objective import Objective
from softrec.retrieval import rank_of
from softrec.scoring import Scored, Scoring
from softrec.targets.smoothing import PopularityTarget, UniformTarget
from softrec.testing.encoders import padded
from softrec.types import Batch, Encoder, ItemVectors, Products, Vectors

N, D, K, P = 11, 6, 3, 5
POPULAR = torch.arange(1.0, N + 1, dtype=torch.float64)
POPULAR /= POPULAR.sum()


class Table(Encoder):
    """Interests and items as free parameters."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.n_items = N
        self.interests_of = nn.Parameter(torch.randn(P, K, D, dtype=torch.float64))
        self.vectors = nn.Parameter(torch.randn(N, D, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(N, dtype=torch.float64))

    def forward(self, batch, items=None):
        return Vectors(self.interests_of, items or self.items())

    def items(self):
        return ItemVectors(self.vectors, self.bias)


class One(Table):
    """The same with one vector for each user, given from outside."""

    def __init__(self, users):
        super().__init__()
        self.one = nn.Parameter(users.detach().clone())

    def forward(self, batch, items=None):
        return Vectors(self.one, items or self.items())


BATCH = Batch(
    torch.full((P, 1), N), torch.tensor([3, 0, 10, 3, 7]), torch.arange(P), torch.arange(P)
)
OBJECTIVES = {
    "hard": Objective(hard()),
    "smoothed": Objective(mixed(), UniformTarget(N), 0.3),
    "decoupled": Objective(decoupled(0.4), PopularityTarget(POPULAR), 0.5),
    "plain": Objective(mixed(), UniformTarget(N), 0.3, shared=plain),
    "sampled": Objective(mixed(), UniformTarget(N), 0.3, SharedUniform(N, 6)),
    "each row": Objective(hard(), candidates=RowDraws(N, 4)),
    "in batch": Objective(hard(), candidates=InBatch(POPULAR)),
    "bpr": Objective(bpr, candidates=RowDraws(N, 1)),
    "cosine": Objective(hard(), scoring=Scoring("cosine", 0.2)),
    "l2": Objective(hard(), l2=0.1),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_interest_that_scores_the_label_highest_is_trained(name):
    objective, encoder = OBJECTIVES[name], Table()
    with torch.no_grad():
        encoder.interests_of.mul_(torch.tensor([1.0, 3.0, 9.0])[:, None])
    vectors, own = encoder.interests_of, encoder.vectors[BATCH.label]
    if name == "cosine":
        vectors, own = (nn.functional.normalize(x, dim=-1) for x in (vectors, own))
    best = (vectors * own[:, None]).sum(-1).argmax(1)
    assert len(best.unique()) > 1
    if name == "cosine":  # a longer interest is not a better one
        products = (encoder.interests_of * encoder.vectors[BATCH.label][:, None]).sum(-1)
        assert (products.argmax(1) != best).any()
    chosen = encoder.interests_of[torch.arange(P), best]
    alone = One(chosen)
    torch.manual_seed(1)
    value = objective(encoder, BATCH)
    torch.manual_seed(1)
    expected = objective(alone, BATCH)
    torch.testing.assert_close(value.total, expected.total)
    value.total.backward()
    expected.total.backward()
    gradient = torch.zeros_like(encoder.interests_of)
    gradient[torch.arange(P), best] = alone.one.grad
    torch.testing.assert_close(encoder.interests_of.grad, gradient)
    torch.testing.assert_close(encoder.vectors.grad, alone.vectors.grad)


def test_an_item_is_ranked_by_its_best_interest():
    encoder = Table()
    scores = (encoder.interests_of @ encoder.vectors.T).amax(1) + encoder.bias
    mark = scores.gather(1, BATCH.label[:, None])
    expected = (scores >= mark).sum(1)
    assert rank_of(Products(encoder.interests_of, encoder.items()), BATCH.label).equal(expected)


def test_distances_of_several_interests_compare():
    """The nearest interest ranks an item, and is the one that its label trains."""
    encoder, scoring = Table(), Scoring("euclidean", 0.5)
    users, vectors = (
        v / v.norm(dim=-1, keepdim=True).clamp(min=1)
        for v in (encoder.interests_of, encoder.vectors)
    )
    distances = (users[:, :, None] - vectors).square().sum(-1)  # (P, K, N)
    scored = Scored(encoder, scoring)
    found, items = scored(BATCH).users, scored.items()
    table = (found @ items.vectors.T).amax(1) + items.bias
    torch.testing.assert_close(table, (encoder.bias - distances.amin(1)) / 0.5)
    nearest = distances[torch.arange(P), :, BATCH.label].argmin(1)
    picked = scoring.picked(encoder.interests_of, encoder.items(), BATCH.label)
    torch.testing.assert_close(picked, encoder.interests_of[torch.arange(P), nearest])


HISTORIES = padded([[1, 2, 3], [4], [5, 6], [0, 9, 8, 7], [2, 2]], N)._replace(label=BATCH.label)


def timirec(**settings):
    torch.manual_seed(0)
    return TiMiRec(N, dim=D, interests=K, length=6, **settings).double().eval()


@pytest.mark.parametrize("form", ["kl", "ce"])
@pytest.mark.parametrize("detach", [True, False])
def test_the_prediction_is_learned_from_the_label(form, detach):
    model, temperature = timirec(), 0.5
    part = partial(interest_distillation, temperature=temperature, form=form, detach=detach)
    value = Objective(hard(), interest_part=part)(model, HISTORIES)
    vectors, logits = model(HISTORIES).interests
    label = model.items().vectors[HISTORIES.label]
    teacher = torch.stack(
        [nn.functional.cosine_similarity(vectors[:, k], label) for k in range(K)], 1
    )
    p, q = ((x / temperature).softmax(1) for x in (teacher, logits))
    cost = -(p * q.log()).sum(1) + (0 if form == "ce" else (p * p.log()).sum(1))
    recommending = Objective(hard())(model, HISTORIES).total
    torch.testing.assert_close(value.parts["interest"], temperature**2 * cost.detach())
    torch.testing.assert_close(value.total, recommending + temperature**2 * cost.mean())


@pytest.mark.parametrize("detach", [True, False])
def test_distillation_reaches_the_predictor_and_the_extractor_only_without_stop_gradient(detach):
    """With the user vectors cut off, what remains is the gradient of the distillation."""
    model = timirec()
    part = partial(interest_distillation, temperature=1.0, detach=detach)
    with_part = Objective(hard(), interest_part=part)(model, HISTORIES).total
    without = Objective(hard())(model, HISTORIES).total
    model.zero_grad()
    (with_part - without).backward()
    reached = {
        part: any(float(p.grad.abs().max()) > 1e-9 for p in getattr(model, part).parameters()
                  if p.grad is not None)
        for part in ("predictor", "extractor")
    }  # fmt: skip
    assert reached == {"predictor": True, "extractor": not detach}


def test_one_interest_is_predicted_without_loss():
    torch.manual_seed(0)
    model = TiMiRec(N, dim=D, interests=1, length=6).eval()
    part = partial(interest_distillation, temperature=0.5)
    value = Objective(hard(), interest_part=part)(model, HISTORIES)
    assert float(value.parts["interest"].abs().max()) < 1e-6


def test_only_some_models_predict_interests():
    part = partial(interest_distillation, temperature=0.5)
    with refused(TypeError):
        Objective(hard(), interest_part=part)(SASRec(N, dim=D, heads=1, layers=1), HISTORIES)


@pytest.mark.slow
@pytest.mark.parametrize("make", [ComiRecSA, ComiRecDR, MIND], ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains_every_model_of_interests(make, name):
    torch.manual_seed(0)
    model = make(N, dim=D, interests=2, length=6)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        torch.manual_seed(1)  # the same candidates in every step
        loss = OBJECTIVES[name](model, HISTORIES).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0] - 0.05
