"""Trainings, rankings and random states of two processes are those of one."""

from itertools import count

import numpy as np
import pytest
import torch
from processes import results

from softrec import parallel
from softrec.candidates import InBatch, MixedDraws, SharedDraws, SharedUniform
from softrec.candidates.shown import Shown
from softrec.data.batches import TrainingBatches, examples
from softrec.data.interactions import Sequences
from softrec.data.splits import Cases
from softrec.evaluation.interests import ListedInterests
from softrec.evaluation.listed import Listed
from softrec.evaluation.protocol import rank_cases
from softrec.limits import limited
from softrec.losses.softmax import mixed
from softrec.models.comirec import ComiRecSA
from softrec.models.counted.item_knn import ItemKNN
from softrec.models.mf import MF
from softrec.models.prior import Prior, WithPrior
from softrec.models.sasrec import SASRec
from softrec.objective import Objective
from softrec.parallel import by_first, by_itself, gathered, in_turn
from softrec.scoring import Scoring
from softrec.targets.smoothing import UniformTarget
from softrec.training.checkpoints import RESUME
from softrec.training.loop import train
from softrec.training.optimizers import mark_sparse
from softrec.types import Batch, Events
from softrec.weights import OfContexts, OfLabels, Thresholds
from softrec.weights.slatk import SlatkWeights

N, HAD = 33, 30  # nobody had the last three items
USERS, SIZE = 41, 8  # 41 examples: five batches of 8 in an epoch, and one of 1
EPOCHS = 8


def log():
    draw = np.random.default_rng(0)
    lengths = draw.integers(3, 9, USERS)
    begin = draw.integers(0, HAD, USERS)
    return Sequences.of([(b + np.arange(n) * 7) % HAD for b, n in zip(begin, lengths, strict=True)])


def batches_of(windows):
    return TrainingBatches(examples(log(), windows, 6), SIZE, N, seed=3)


def popular():
    counts = torch.arange(1.0, N + 1, dtype=torch.float64)
    return counts / counts.sum()


def mixed_draws():
    return MixedDraws(SharedUniform(N, 9, corrected=False), popular())


def shown():
    """All items but those that nobody had."""
    return Shown(torch.from_numpy(log().items).long().unique())


KINDS = {
    "full": ("positions", lambda: None, "adam"),
    "in-batch": ("last", lambda: InBatch(popular(), mask_positives=True), "adam"),
    "shared": ("positions", lambda: SharedDraws(popular(), 9), "adam"),
    "sparse": ("last", lambda: SharedUniform(N, 9), "sparse-adam"),
    "clipped": ("positions", lambda: None, "clipped"),
    "averaged": ("positions", lambda: None, "averaged"),
    "mixed candidates": ("positions", mixed_draws, "adam"),
    "shown": ("positions", shown, "adam"),
    "slatk": ("positions", lambda: None, "adam"),
    "inverse propensity": ("positions", lambda: SharedUniform(N, 9), "adam"),
    "recency": ("positions", lambda: None, "adam"),
    "prior": ("positions", lambda: None, "adam"),
}
OPTIMIZERS = {
    "adam": {}, "sparse-adam": {"optimizer": "sparse-adam"}, "clipped": {"clip": 0.5},
    "averaged": {"ema": 0.9},
}  # fmt: skip


def weights_of(kind, data):
    """The weights of the examples of a kind; thresholds are renewed in every third epoch."""
    if kind == "slatk":
        thresholds = Thresholds(data, USERS, "history", Scoring(), rank=5, every=3)
        return SlatkWeights(thresholds.double(), 2.0, gradient=True)
    if kind == "inverse propensity":
        return OfLabels(torch.linspace(0.5, 2, N))
    if kind == "recency":
        return OfContexts(torch.linspace(0.5, 2, data.n_contexts), data)
    return None


def with_prior(encoder):
    rows = log()
    prior = Prior(lambda: ItemKNN(N, k=N, recency=0.5), folds=2, popularity=0.7, half_life=0.3)
    items = torch.from_numpy(rows.items).long()
    prior.fit(Events(torch.from_numpy(rows.offsets), items, torch.arange(len(items)).remainder(37)))
    return WithPrior(encoder, prior)


def trained(kind, folder, *, epochs=EPOCHS, dropout=0.0, listener=None):
    """Return the weights of a training, and its curve without the times."""
    folder.mkdir(parents=True, exist_ok=True)
    windows, candidates, optimizer = KINDS[kind]
    batches = batches_of(windows)
    torch.manual_seed(1)
    encoder = SASRec(N, dim=8, length=6, dropout=dropout) if kind != "sparse" else MF(
        N, n_users=USERS, dim=8, output_bias=True
    )  # fmt: skip
    if optimizer == "sparse-adam":
        mark_sparse(encoder)
    if kind == "prior":
        encoder = with_prior(encoder)
    soft = (mixed(), UniformTarget(N), 0.2) if kind in ("full", "shown", "recency") else ()
    objective = Objective(*soft, candidates=candidates(), weights=weights_of(kind, batches.data))
    got = train(
        encoder, objective, batches, lambda _: {"ndcg@10": 0.5}, folder,
        epochs=epochs, lr=0.01, patience=100, precision="64-true", accelerator="cpu",
        checkpoint_steps=7, listener=listener, **OPTIMIZERS[optimizer],
    )  # fmt: skip
    last = torch.load(folder / RESUME, weights_only=True)["state_dict"]
    rows = [{n: v for n, v in row.items() if not n.startswith("sec")} for row in got.curve]
    return last, rows


def far(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def every_training(folder):
    found = {}
    for kind in KINDS:
        weights, curve = trained(kind, folder / "two" / kind)
        if parallel.rank() == 0:
            with by_itself():
                alone = trained(kind, folder / "one" / kind)
            losses = [
                abs(a["train/loss"] - b["train/loss"]) for a, b in zip(curve, alone[1], strict=True)
            ]
            found[kind] = (far(weights, alone[0]), max(losses))
    return found


class StoppedError(Exception):
    """Stands for the end of a process."""


class Stopping:
    """Ends a training after some epochs."""

    def __init__(self, epochs):
        self.epochs = epochs

    def resumed(self, epoch):
        pass

    def epoch(self, curve):
        if len(curve) >= self.epochs:
            raise StoppedError


def stopped(kind, folder, dropout=0.0):
    with pytest.raises(StoppedError):
        trained(kind, folder, dropout=dropout, listener=Stopping(3))


def every_resume(folder):
    """Trainings that stop after three of eight epochs and go on with as many processes, or not."""
    found = {}
    whole, _ = trained("full", folder / "whole", dropout=0.3)
    stopped("full", folder / "same", dropout=0.3)
    found["same"] = far(trained("full", folder / "same", dropout=0.3)[0], whole)
    shared, _ = trained("shared", folder / "shared")
    stopped("shared", folder / "fewer")
    parallel.everyone(0)
    if parallel.rank() == 0:
        with by_itself():
            found["fewer"] = far(trained("shared", folder / "fewer")[0], shared)
            stopped("shared", folder / "more")
    parallel.everyone(0)
    found["more"] = far(trained("shared", folder / "more")[0], shared)
    return found


def states(batch):
    return torch.rand(2), SharedUniform(N, 5)(batch).items


def every_number(folder):
    """What the processes draw, gather and make."""
    rank = parallel.rank()
    made = count()
    first = by_first(lambda: next(made) + 10)
    turns = in_turn(lambda: (next(made), rank))
    rows = torch.arange(2.0 + rank, dtype=torch.float64, requires_grad=True)
    whole, own = gathered(rows * (rank + 1))
    (whole.square().sum() * (rank + 1)).backward()
    from softrec.training.random_states import get_rng, start_rng

    torch.manual_seed(4)
    start_rng(None)
    some = torch.zeros(1, dtype=torch.int64)
    kept = get_rng()
    drawn = states(Batch(some[:, None], some, some, some))
    start_rng(kept)
    again = states(Batch(some[:, None], some, some, some))
    return {
        "first": first, "turns": turns, "whole": whole.tolist(), "own": own,
        "gradient": rows.grad.tolist(), "drawn": drawn, "again": again,
        "rankings": every_ranking(),
    }  # fmt: skip


def every_ranking():
    draw = np.random.default_rng(1)
    histories = [draw.permutation(N)[:4] for _ in range(23)]
    several = [draw.permutation(N)[: 1 + c % 3] for c in range(23)]
    found = {}
    torch.manual_seed(2)
    model = ComiRecSA(N, dim=6, length=6, interests=2)
    with limited(encoded=5):
        for name, relevant in {"single": [s[:1] for s in several], "several": several}.items():
            cases = Cases(np.arange(23), Sequences.of(histories), Sequences.of(relevant))
            for kind in (Listed, ListedInterests):
                extra = (cases, False) if kind is ListedInterests else ()
                pair = []
                for alone in (False, True):
                    listed = kind(5, N, *extra)
                    with by_itself() if alone else limited():
                        ranks = rank_cases(
                            model, cases, length=6, k=5, mask_seen=False, listed=listed
                        )
                    pair.append((ranks.rank, listed.counts, getattr(listed, "found", {})))
                found[name, kind.__name__] = pair
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    return results(2, everything, folder, folder)


def everything(folder):
    return every_number(folder), every_training(folder), every_resume(folder)


def test_fifty_steps_of_two_are_those_of_one(made):
    (_, trainings, _), _ = made
    assert trainings.keys() == KINDS.keys()
    for kind, (weights, losses) in trainings.items():
        assert weights < 1e-8, kind
        assert losses < 1e-9, kind


def test_a_training_goes_on_with_any_number_of_processes(made):
    (_, _, resumed), _ = made
    assert resumed["same"] == 0.0
    assert resumed["fewer"] < 1e-9
    assert resumed["more"] < 1e-9


def test_one_makes_for_all(made):
    (first, *_), (other, *_) = made
    assert first["first"] == other["first"] == 10
    assert first["turns"] == (1, 0)
    assert other["turns"] == (0, 1)


def test_rows_are_gathered_with_their_gradients(made):
    (first, *_), (other, *_) = made
    assert first["whole"] == other["whole"] == [0.0, 1.0, 0.0, 2.0, 4.0]
    assert (first["own"], other["own"]) == (slice(0, 2), slice(2, 5))
    # d/dx of 3 sum (k x)^2 is 6 k^2 x, for the second process with k = 2
    assert first["gradient"] == [0.0, 6.0]
    assert other["gradient"] == [0.0, 24.0, 48.0]


def test_dropout_differs_and_candidates_do_not(made):
    (first, *_), (other, *_) = made
    assert not torch.equal(first["drawn"][0], other["drawn"][0])
    assert torch.equal(first["drawn"][1], other["drawn"][1])
    torch.manual_seed(4)
    assert torch.equal(torch.rand(2), first["drawn"][0]), "the first one goes on as if alone"
    for one in (first, other):
        assert torch.equal(one["drawn"][0], one["again"][0])


def test_rankings_are_equal_to_the_last_digit(made):
    for one, *_ in made:
        for pair in one["rankings"].values():
            (ranks, counts, found), (ranks_alone, counts_alone, found_alone) = pair
            assert np.array_equal(ranks, ranks_alone)
            assert np.array_equal(counts, counts_alone)
            assert counts.sum() == 23 * 5
            assert found.keys() == found_alone.keys()
            for name, values in found.items():
                assert np.array_equal(values, found_alone[name])


@pytest.mark.parametrize("windows", ["last", "positions"])
def test_batches_are_parted_without_overlap_or_loss(windows):
    whole = list(batches_of(windows))
    for of in (2, 3, 5):
        parts = []
        for number in range(of):
            batches = batches_of(windows)
            batches.part = number, of
            parts.append(list(batches))
        for batch, *own in zip(whole, *parts, strict=True):
            if len(batch.user) < of:
                assert all(torch.equal(part.label, batch.label) for part in own)
                assert all(part.total is None for part in own)
                continue
            assert torch.equal(torch.cat([part.label for part in own]), batch.label)
            assert torch.equal(torch.cat([part.user for part in own]), batch.user)
            assert {part.total for part in own} == {len(batch.label)}
            assert max(len(part.user) for part in own) <= min(len(part.user) for part in own) + 1
