"""The divergence of interests: known answers, an oracle in float64, and where it is told."""

import numpy as np
import polars as pl
import pytest
import torch
from scipy.spatial import distance

import softrec
from softrec.data.batches import case_batches
from softrec.data.interactions import Sequences
from softrec.data.splits import Cases
from softrec.evaluation.asked import Asked
from softrec.evaluation.interests import ListedInterests, interest_distance, interest_divergence
from softrec.evaluation.protocol import seen_of
from softrec.retrieval import top_k
from softrec.types import Interests, ItemVectors, Products

TINY = {"epochs": 1, "batch_size": 32, "length": 5, "progress": False,
        "model.dim": 6, "model.interests": 3}  # fmt: skip


def test_the_same_item_has_none_and_opposite_ones_a_known_amount():
    """cos 1 and -1 for one, -1 and 1 for the other: p = sigmoid(2), q = 1 - p."""
    interests = torch.tensor([[[3.0, 0.0], [-5.0, 0.0]]]).double()
    one, other = torch.tensor([[2.0, 0.0]]).double(), torch.tensor([[-1.0, 0.0]]).double()
    assert interest_divergence(interests, one, 7 * one).item() == 0
    p = 1 / (1 + np.exp(-2))
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    assert interest_divergence(interests, one, other).item() == pytest.approx(np.log(2) - entropy)


def test_equal_interests_have_none():
    same = torch.randn(4, 1, 5).expand(4, 3, 5)
    found = interest_divergence(same, torch.randn(4, 5), torch.randn(4, 5))
    assert found.abs().max() < 1e-7
    assert interest_distance(same).abs().max() < 1e-5


def test_distance_is_the_mean_over_pairs():
    vectors = torch.randn(6, 4, 3).double()
    wanted = [distance.pdist(own.numpy(), "sqeuclidean").mean() for own in vectors]
    np.testing.assert_allclose(interest_distance(vectors), wanted)


# --- the case study of Fig. 4: the best matching interest, and the predicted one ---


def case_study(logits, relevant):
    """A user of cartoons, items 0 and 1, and movies, 2 and 3; the interest in cartoons is longer.

    Item 0 was seen.
    """
    items = torch.tensor([[3.0, 0.1], [2.0, 0.0], [0.0, 2.0], [0.1, 1.0]])
    interests = Interests(torch.tensor([[[5.0, 0.2], [0.1, 2.0]]]), torch.tensor([logits]))
    scores = Products(interests.mean(), ItemVectors(items), interests)
    cases = Cases(np.zeros(1, dtype=int), Sequences.of([[0]]), Sequences.of([relevant]))
    listed = ListedInterests(2, 4, cases)
    best = top_k(scores, 2, seen_of(cases, slice(0, 1), torch.device("cpu")))
    listed.add(best, slice(0, 1), scores)
    return listed.measures()


def test_the_predicted_interest_is_right_where_the_best_matching_one_is_not():
    """As in Fig. 4: a movie comes, the predictor says so, and a cartoon would match best."""
    found = case_study([-5.0, 5.0], [3])
    assert found["interest_accuracy"] == found["interest_agreement"] == 1.0
    assert found["interest_agreement_best_match"] == 0.0


def test_a_wrong_prediction_is_one():
    found = case_study([5.0, -5.0], [3])
    assert found["interest_accuracy"] == found["interest_agreement"] == 0.0
    assert case_study([5.0, -5.0], [1])["interest_agreement_best_match"] == 1.0
    half = case_study([-5.0, 5.0], [1, 2])  # one of each
    assert half["interest_accuracy"] == half["interest_agreement"] == 0.5


def test_models_that_predict_no_interest_have_the_agreement_alone():
    items = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    scores = Products(torch.eye(2)[None], ItemVectors(items))
    cases = Cases(np.zeros(1, dtype=int), Sequences.of([[]]), Sequences.of([[1]]))
    listed = ListedInterests(1, 2, cases)
    listed.add(top_k(scores, 1), slice(0, 1), scores)
    assert listed.measures().keys() == {
        "interest_divergence", "interest_distance", "interest_agreement",
    }  # fmt: skip


def log_frame() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    items = rng.permuted(np.tile(np.arange(20), (30, 1)), axis=1)[:, :8]
    return pl.DataFrame({"user": np.repeat(np.arange(30), 8), "item": items.ravel()})


def by_hand(run):
    """Return divergence and distance of each test case, from vectors in float64 and scipy."""
    cases = Asked.of(run.split(), run.mask_seen).cases("test")
    encoder = run.encoder().double()
    ((_, batch),) = case_batches(cases, run.recipe.training.length, 20, 1024)
    with torch.no_grad():
        vectors = encoder(batch)
    items = vectors.items.vectors.detach().numpy()
    interests = vectors.users if vectors.interests is None else vectors.interests.vectors
    interests, users = interests.numpy(), vectors.users.numpy().reshape(30, -1, items.shape[1])
    if run.recipe.loss.score == "euclidean":
        short, own = (
            each / np.maximum(1, np.linalg.norm(each, axis=-1, keepdims=True))
            for each in (users, items)
        )
        scores = -((short[:, :, None] - own) ** 2).sum(-1).min(1)
    else:
        scores = (users @ items.T).max(1)
    found = []
    for case in range(len(cases)):
        scores[case, cases.history[case]] = -np.inf
        relevant, first = cases.relevant[case][0], scores[case].argmax()
        matched = (interests[case] @ items.T).max(0)
        matched[cases.history[case]] = -np.inf
        near = [
            distance.cdist(interests[case], items[[i]], "cosine")[:, 0].argmin()
            for i in (relevant, first, matched.argmax())
        ]
        likely = None if vectors.interests is None else vectors.interests.logits[case].argmax()
        weights = [
            np.exp(1 - distance.cdist(interests[case], items[[i]], "cosine")[:, 0])
            for i in (relevant, first)
        ]
        p, q = (each / each.sum() for each in weights)
        found.append((distance.jensenshannon(p, q) ** 2,
                      distance.pdist(interests[case], "sqeuclidean").mean(),
                      near[1] == near[0], likely == near[0], near[2] == near[0]))  # fmt: skip
    return np.array(found, dtype=float)


@pytest.mark.parametrize(
    ("model", "loss"),
    [("comirec-sa", "mixed"), ("timirec", "mixed"), ("comirec-sa", "cml")],
    ids=["best interest", "predicted interests", "distances"],
)
def test_runs_tell_what_vectors_give(tmp_path, model, loss):
    run = softrec.fit(log_frame(), out=tmp_path / "run", model=model, loss=loss,
                      candidates="sampled", number=5, **TINY)  # fmt: skip
    wanted = by_hand(run).mean(axis=0)
    assert run.lists["interest_divergence"] == pytest.approx(wanted[0], rel=1e-3)
    assert run.lists["interest_divergence"] > 1e-6
    assert run.lists["interest_agreement"] == pytest.approx(wanted[2])
    if loss == "mixed":
        assert run.lists["interest_distance"] == pytest.approx(wanted[1], rel=1e-3)
    assert ("interest_accuracy" in run.lists) == (model == "timirec")
    if model == "timirec":
        assert run.lists["interest_accuracy"] == pytest.approx(wanted[3])
        assert run.lists["interest_agreement_best_match"] == pytest.approx(wanted[4])


def test_it_stands_in_a_report_beside_models_without_interests(tmp_path):
    found = softrec.compare(
        log_frame(), out=tmp_path / "both", models="comirec-sa,mf", targets="one-hot", seeds=2,
        baselines=False, **{k: v for k, v in TINY.items() if k != "model.interests"},
    )  # fmt: skip
    several, one = found.results.variants
    assert len(several.lists["interest_divergence"].per_seed) == 2
    assert "interest_divergence" not in one.lists
    page = (tmp_path / "both" / "report.html").read_text()
    assert "Interest divergence, of models with several interests" in page
