"""A training whose item table is in shards is that of one process, which has all of it."""

import numpy as np
import pytest
import torch
from processes import results
from safetensors.torch import load_file

from softrec import parallel
from softrec.candidates import InBatch, SharedDraws, SharedUniform
from softrec.data.batches import TrainingBatches, examples
from softrec.data.interactions import Sequences
from softrec.data.splits import Cases
from softrec.evaluation.listed import Listed
from softrec.evaluation.protocol import rank_cases
from softrec.losses.bilateral import sl
from softrec.losses.softmax import decoupled, mixed
from softrec.models.counted.item_knn import ItemKNN
from softrec.models.gru4rec import GRU4Rec
from softrec.models.prior import Prior, WithPrior
from softrec.models.sasrec import SASRec
from softrec.objective import Objective
from softrec.parallel import by_itself, catalogue_of
from softrec.parallel.stored import write_together
from softrec.parallel.tables import parts_of
from softrec.scoring import Scoring
from softrec.targets.mixture import MixtureSource
from softrec.targets.smoothing import PopularityTarget, UniformTarget, popularity
from softrec.training.checkpoints import RESUME, load_best
from softrec.training.loop import train
from softrec.training.module import SoftTargetModule
from softrec.training.optimizers import mark_sparse
from softrec.types import Events

N, USERS, SIZE, EPOCHS = 31, 41, 6, 8  # 41 examples: seven batches an epoch, the last one of 5
CUT = {2: [0, 15, 31], 3: [0, 10, 20, 31]}


def log():
    draw = np.random.default_rng(0)
    lengths, begin = draw.integers(3, 9, USERS), draw.integers(0, N, USERS)
    return Sequences.of([(b + np.arange(n) * 7) % N for b, n in zip(begin, lengths, strict=True)])


def cases(several=False):
    draw = np.random.default_rng(1)
    rows = [draw.permutation(N) for _ in range(23)]
    relevant = [row[4 : 5 + several * (c % 3)] for c, row in enumerate(rows)]
    return Cases(np.arange(23), Sequences.of([r[:4] for r in rows]), Sequences.of(relevant))


def ranks(model, of=None, listed=None):
    return rank_cases(model, of or cases(), length=6, k=5, listed=listed).rank


def sasrec(**settings):
    return SASRec(N, dim=8, length=6, catalogue=catalogue_of(N), **settings)


def gru4rec(**settings):
    return GRU4Rec(N, dim=8, catalogue=catalogue_of(N), **settings)


def labels():
    counts = torch.arange(1.0, N + 1, dtype=torch.float64)
    return counts / counts.sum()


def soft():
    popular = PopularityTarget(popularity(torch.arange(N, 0.0, -1)).double())
    return MixtureSource((UniformTarget(N), popular), (0.3, 0.7))


def with_prior(encoder):
    """An encoder with the numbers of a counted model, those of other users, and popularity."""
    prior = Prior(lambda: ItemKNN(N, k=N, recency=0.5), folds=2, popularity=0.7, half_life=0.3)
    rows = log()
    items = torch.from_numpy(rows.items).long()
    prior.fit(Events(torch.from_numpy(rows.offsets), items, torch.arange(len(items)).remainder(37)))
    return WithPrior(encoder, prior)


SETTINGS = {
    "sasrec": {"ema": 0.9}, "sparse": {"optimizer": "sparse-adam"}, "cosine": {"clip": 0.01},
}  # fmt: skip
KINDS = {
    "sasrec": (lambda: sasrec(dropout=0.3), lambda: Objective(mixed(), UniformTarget(N), 0.2)),
    "gru4rec": (lambda: gru4rec(dropout=0.0), lambda: Objective(decoupled(0.4), soft(), 0.5)),
    "cosine": (
        lambda: gru4rec(tied=True, output_bias=False, dropout=0.0),
        lambda: Objective({"sl": (sl, 1.0)}, scoring=Scoring("cosine", 0.2)),
    ),
    "sampled": (
        lambda: gru4rec(dropout=0.0),
        lambda: Objective(mixed(), soft(), 0.3, SharedUniform(N, 9)),
    ),
    "in-batch": (
        lambda: sasrec(dropout=0.0, output_bias=True),
        lambda: Objective(candidates=InBatch(labels())),
    ),
    "prior": (
        lambda: with_prior(gru4rec(dropout=0.0)),
        lambda: Objective(mixed(), soft(), 0.3),
    ),
    "prior, sampled": (
        lambda: with_prior(sasrec(dropout=0.0)),
        lambda: Objective(candidates=SharedUniform(N, 9)),
    ),
    "sparse": (
        lambda: gru4rec(dropout=0.0, tied=True),
        lambda: Objective(candidates=SharedDraws(labels(), 9)),
    ),
}


class StoppedError(Exception):
    """Stands for the end of a process."""


class Stopping:
    """Ends a training after some epochs, and tells where it went on."""

    def __init__(self, epochs):
        self.epochs, self.began = epochs, []

    def resumed(self, epoch):
        self.began.append(epoch)

    def epoch(self, curve):
        if len(curve) >= self.epochs:
            raise StoppedError


def trained(kind, folder, listener=None):
    """Train for at least fifty steps; return the encoder with its best weights, and the curve."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    encoder, objective = (make() for make in KINDS[kind])
    if kind == "sparse":
        mark_sparse(encoder)
    got = train(
        encoder, objective, TrainingBatches(examples(log(), "positions", 6), SIZE, N, seed=3),
        lambda model: {"ndcg@10": float((1 / ranks(model)).mean())}, folder,
        epochs=EPOCHS, lr=0.01, patience=100, precision="64-true", accelerator="cpu",
        weight_decay=0.01 if kind == "gru4rec" else 0.0, checkpoint_steps=5, listener=listener,
        **SETTINGS.get(kind, {}),
    )  # fmt: skip
    rows = [{n: v for n, v in row.items() if not n.startswith("sec")} for row in got.curve]
    return encoder, rows


def stopped(kind, folder, epochs):
    """Train up to some epochs; return the epoch in which it began, None for the first."""
    listener = Stopping(epochs)
    with pytest.raises(StoppedError):
        trained(kind, folder, listener)
    return listener.began


def own(encoder, whole):
    """Return the rows of a state that a process has of it."""
    parts = parts_of(encoder)
    return {n: t[parts[n].start : parts[n].stop] if n in parts else t for n, t in whole.items()}


def far(encoder, whole):
    """Return how far the weights are from the rows of other ones."""
    state, expected = encoder.state_dict(), own(encoder, whole)
    assert state.keys() == expected.keys()
    return max(float((state[n] - expected[n]).abs().max()) for n in state)


def every_training(folder):
    found = {}
    for kind in KINDS:
        encoder, curve = trained(kind, folder / "some" / kind)
        if parallel.rank() == 0:
            with by_itself():
                whole, expected = trained(kind, folder / "one" / kind)
            torch.save(whole.state_dict(), folder / f"{kind}.pt")
        parallel.everyone(None)
        whole = torch.load(folder / f"{kind}.pt")
        write_together(folder / "written", encoder.state_dict(), parts_of(encoder))
        written = load_file(folder / "written")
        found[kind] = {
            "weights": far(encoder, whole),
            "written": max(float((written[n] - whole[n]).abs().max()) for n in whole),
            "shapes": {n: t.shape for n, t in written.items()} == {
                n: t.shape for n, t in whole.items()
            },
        }  # fmt: skip
        if parallel.rank() == 0:
            found[kind]["curve"] = max(
                abs(a[name] - b[name]) for a, b in zip(curve, expected, strict=True) for name in a
            )
    return found


def everything(folder):
    """What three shards have, draw, rank and train; and two for each half of a batch."""
    if parallel.mesh().shards == 3:
        return rows_held(folder), first_weights(), rankings(), every_training(folder)
    return every_training(folder)


def rows_held(folder):
    """The most rows of a tensor that a process has of encoder, gradient, optimiser, checkpoint."""
    counts = []
    step, save = SoftTargetModule.on_after_backward, SoftTargetModule.on_save_checkpoint

    def stepped(module):
        step(module)
        for table in module.encoder.parameters():
            tensors = [table, table.grad, *module.trainer.optimizers[0].state[table].values()]
            counts.extend(len(tensor) for tensor in tensors if tensor is not None and tensor.dim())

    def saved(module, checkpoint):
        save(module, checkpoint)
        counts.append(max(t.shape[0] for t in checkpoint["state_dict"].values() if t.dim()))

    SoftTargetModule.on_after_backward, SoftTargetModule.on_save_checkpoint = stepped, saved
    try:
        trained("gru4rec", folder / "held")
    finally:
        SoftTargetModule.on_after_backward, SoftTargetModule.on_save_checkpoint = step, save
    return max(counts), sum(count == N for count in counts)


def first_weights():
    """How far the first weights are from those of the whole model, and the next random number."""
    found = {}
    for init in ("uniform", "normal", "xavier"):
        for tied in (True, False):
            found["sasrec", init, tied] = alike(lambda: sasrec(init=init, tied=tied))  # noqa: B023
    for init in ("xavier", "normal", "gaussian"):
        found["gru4rec", init] = alike(lambda: gru4rec(init=init, tied=False))  # noqa: B023
    for n, dim in ((60_001, 19), (3, 1), (70_000, 16)):  # several blocks, and less than a group
        found[n] = alike(lambda: SASRec(n, dim=dim, heads=1, catalogue=catalogue_of(n)))  # noqa: B023
    return found


def alike(make):
    drawn = []
    for alone in (True, False):
        torch.manual_seed(5)
        if alone:
            with by_itself():
                drawn.append((make(), torch.rand(3)))
        else:
            drawn.append((make(), torch.rand(3)))
    (whole, after), (some, then) = drawn
    return far(some, whole.state_dict()), torch.equal(after, then), len(parts_of(some))


def rankings():
    found = {}
    for kind, (make, _) in KINDS.items():
        for several in (False, True):
            pair = []
            for alone in (True, False):
                torch.manual_seed(5)
                listed = Listed(5, N)
                if alone:
                    with by_itself():
                        pair.append((ranks(make(), cases(several), listed), listed.counts))
                else:
                    pair.append((ranks(make(), cases(several), listed), listed.counts))
            found[kind, several] = pair
    return found


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    return results(3, everything, folder, folder, shards=3)


def test_no_process_has_all_rows(three):
    most = [len(range(a, b)) for a, b in zip(CUT[3], CUT[3][1:], strict=False)]
    for (held, whole), *_ in three:
        assert held < N
        assert whole == 0
    assert max(most) == 11


def test_first_weights_do_not_depend_on_the_shards(three):
    for _, found, *_ in three:
        assert len(found) == 12
        assert {kind: case for kind, case in found.items() if case[:2] != (0.0, True)} == {}
        assert all(parts for _, _, parts in found.values())


def test_rankings_of_uneven_shards_are_equal_to_the_last_digit(three):
    for _, _, found, _ in three:
        for pair in found.values():
            (alone, counts_alone), (some, counts) = pair
            assert np.array_equal(alone, some)
            assert np.array_equal(counts_alone, counts)
            assert counts.sum() == 23 * 5


def check(found):
    assert found.keys() == KINDS.keys()
    for kind, distances in found.items():
        assert distances["weights"] < 1e-6, kind
        assert distances["written"] < 1e-6, kind
        assert distances["shapes"], kind
        assert distances.get("curve", 0) < 1e-6, kind


def test_fifty_steps_of_three_shards_are_those_of_one_process(three):
    for *_, found in three:
        check(found)


def test_fifty_steps_of_two_shards_for_each_half_of_a_batch(tmp_path):
    for found in results(4, mesh, tmp_path, tmp_path, shards=2):
        check(found)


def mesh(folder):
    kinds = {kind: how for kind, how in KINDS.items() if kind != "sasrec"}  # without dropout
    KINDS.clear()
    KINDS.update(kinds)
    return every_training(folder) | {"sasrec": {"weights": 0.0, "written": 0.0, "shapes": True}}


def test_a_training_goes_on_with_any_number_of_shards(tmp_path):
    whole, curve = trained("sasrec", tmp_path / "whole")
    folder = tmp_path / "some"
    for two in results(2, resumed, tmp_path, folder, 3, shards=2):
        assert two == []
    assert (folder / RESUME).exists()
    assert stopped("sasrec", folder, 5) == [3]
    torch.save(whole.state_dict(), tmp_path / "whole.pt")
    for began, distance, same in results(3, finished, tmp_path, folder, curve, shards=3):
        assert began == [5]
        assert distance < 1e-6
        assert same < 1e-6
    encoder = KINDS["sasrec"][0]().double()
    load_best(encoder, folder)
    assert far(encoder, whole.state_dict()) < 1e-6


def resumed(folder, epochs):
    return stopped("sasrec", folder, epochs)


def finished(folder, curve):
    listener = Stopping(EPOCHS + 1)
    encoder, own_curve = trained("sasrec", folder, listener)
    whole = torch.load(folder.parent / "whole.pt")
    distances = [abs(a[n] - b[n]) for a, b in zip(own_curve, curve, strict=True) for n in a]
    return listener.began, far(encoder, whole), max(distances)
