"""The lazy Adam, and sparse gradients from the objective to the tables."""

from copy import deepcopy

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from messages import refused
from softrec.candidates import Candidates, InBatch
from softrec.data.batches import TrainingBatches, examples
from softrec.data.interactions import Interactions
from softrec.losses import bpr, mixed
from softrec.losses.bilateral import grouped_label
from softrec.losses.distillation import interest_distillation
from softrec.models.comirec import ComiRecSA
from softrec.models.gru4rec import GRU4Rec
from softrec.models.mf import MF
from softrec.models.nfm import NFM
from softrec.models.sasrec import SASRec
from softrec.models.timirec import TiMiRec
from softrec.objective import Objective
from softrec.scoring import Scoring
from softrec.targets.smoothing import UniformTarget
from softrec.testing.encoders import padded
from softrec.training.checkpoints import RESUME
from softrec.training.loop import train
from softrec.training.module import SoftTargetModule
from softrec.training.optimizers import LazyAdam, mark_sparse

N = 40
BETAS = (0.8, 0.95)


def tables(seed: int = 0, **options) -> nn.ModuleDict:
    torch.manual_seed(seed)
    return nn.ModuleDict({
        "table": nn.Embedding(7, 3, **options),
        "dense": nn.Linear(3, 2),
    })  # fmt: skip


def backward(model: nn.ModuleDict, items: torch.Tensor) -> None:
    weights = torch.arange(1.0, items.numel() + 1).reshape(*items.shape, 1)
    model.zero_grad()
    (model["dense"](model["table"](items)).sin() * weights).sum().backward()


# --- the optimiser ---


@pytest.mark.parametrize("size", [1.0, 1e-7], ids=["plain", "small beside epsilon"])
def test_where_every_row_has_a_gradient_it_is_adam(size):
    lazy, plain = tables(sparse=True), tables()
    ours = LazyAdam(lazy.parameters(), lr=0.1, betas=BETAS)
    theirs = torch.optim.Adam(plain.parameters(), lr=0.1, betas=BETAS)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        items = torch.cat([torch.arange(7), torch.randint(7, (5,), generator=generator)])
        for model, optimizer in ((lazy, ours), (plain, theirs)):
            backward(model, items)
            for parameter in model.parameters():
                parameter.grad *= size
            optimizer.step()
        assert lazy["table"].weight.grad.is_sparse
        for own, other in zip(lazy.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-6)
            for name in ("exp_avg", "exp_avg_sq", "step"):
                expected = theirs.state[other][name]
                torch.testing.assert_close(ours.state[own][name], expected, rtol=2e-5, atol=0)


def test_a_row_without_gradient_stays_and_keeps_its_moments():
    model = tables(sparse=True)
    optimizer = LazyAdam(model.parameters(), lr=0.1)
    backward(model, torch.tensor([0, 1, 2, 3]))
    optimizer.step()
    weight = model["table"].weight
    state = optimizer.state[weight]
    kept = [part.detach().clone() for part in (weight, state["exp_avg"], state["exp_avg_sq"])]
    backward(model, torch.tensor([3, 5, 3]))
    optimizer.step()
    for before, now in zip(kept, (weight, state["exp_avg"], state["exp_avg_sq"]), strict=True):
        changed = (before != now).any(1)
        assert changed.tolist() == [False, False, False, True, False, True, False]
    assert state["step"] == 2


def test_it_is_the_formula_row_by_row():
    """An independent loop in float64, each row with moments of its own and the table's time."""
    model = tables(sparse=True).double()
    optimizer = LazyAdam(model["table"].parameters(), lr=0.1, betas=BETAS, eps=1e-3)
    expected = model["table"].weight.detach().clone().numpy()
    m, v = np.zeros_like(expected), np.zeros_like(expected)
    for step, items in enumerate(([0, 2, 2], [2, 5], [0], [6, 2, 0, 0]), 1):
        backward(model, torch.tensor(items))
        gradient = model["table"].weight.grad.to_dense().numpy()
        optimizer.step()
        for row in set(items):
            m[row] = BETAS[0] * m[row] + (1 - BETAS[0]) * gradient[row]
            v[row] = BETAS[1] * v[row] + (1 - BETAS[1]) * gradient[row] ** 2
            root = np.sqrt(v[row] / (1 - BETAS[1] ** step)) + 1e-3
            expected[row] -= 0.1 * m[row] / (1 - BETAS[0] ** step) / root
        np.testing.assert_allclose(model["table"].weight.detach().numpy(), expected, rtol=1e-12)


def test_gradients_are_left_as_they_were_and_a_closure_is_called_once():
    model = tables(sparse=True)
    optimizer = LazyAdam(model.parameters())
    calls = []

    def closure():
        calls.append(torch.is_grad_enabled())
        backward(model, torch.tensor([1, 1, 4]))
        return 7.0

    assert optimizer.step(closure) == 7.0
    assert calls == [True]
    assert model["table"].weight.grad.is_sparse
    assert model["table"].weight.grad.to_dense()[4].abs().sum() > 0


@pytest.mark.parametrize("change", [None, "dense", "adam"])
def test_state_goes_round(change):
    """Also to a table whose gradients have become dense, and to Adam itself."""
    one = tables(sparse=True)
    first = LazyAdam(one.parameters(), lr=0.1)
    for items in ([0, 1], [1, 2]):
        backward(one, torch.tensor(items))
        first.step()
    other = tables(seed=1, sparse=change is None)
    second = (torch.optim.Adam if change == "adam" else LazyAdam)(other.parameters(), lr=0.5)
    other.load_state_dict(one.state_dict())
    second.load_state_dict(deepcopy(first.state_dict()))
    for model, optimizer in ((one, first), (other, second)):
        backward(model, torch.arange(7))
        optimizer.step()
    for own, others in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(own, others, rtol=1e-5, atol=1e-6)


def test_a_scaler_undoes_its_scale_before_the_step():
    """It leaves that to fused optimisers, of which only the dense part would do it."""
    lazy, plain = tables(sparse=True), tables(sparse=True)
    ours, theirs = LazyAdam(lazy.parameters(), lr=0.1), LazyAdam(plain.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    backward(plain, torch.tensor([1, 2]))
    backward(lazy, torch.tensor([1, 2]))
    for parameter in lazy.parameters():
        parameter.grad = parameter.grad * 1024.0
    scaler.scale(torch.ones(()))
    scaler.step(ours)
    theirs.step()
    moments = [opt.state[model["table"].weight]["exp_avg_sq"] for opt, model in
               ((ours, lazy), (theirs, plain))]  # fmt: skip
    torch.testing.assert_close(*moments)


# --- gradients of the objective ---


def shared(batch):
    items = torch.tensor([0, 3, 4, 17, 30, 39])
    return Candidates(items, torch.tensor([1.0, 2, 1, 1, 1, 3]), torch.full((6,), 0.5))


def by_row(batch):
    items = torch.tensor([[5, 5, 7, 0], [7, 9, 30, 39], [5, 1, 2, 3], [9, 9, 9, 9]])
    return Candidates(items, torch.ones(4, 4), None)


MODELS = {
    "tied": lambda: GRU4Rec(N, dim=6, dropout=0.0, tied=True),
    "separate": lambda: GRU4Rec(N, dim=6, dropout=0.0, tied=False),
    "tied, no bias": lambda: GRU4Rec(N, dim=6, dropout=0.0, tied=True, output_bias=False),
    "positions": lambda: SASRec(N, dim=6, length=5, heads=1, dropout=0.0, tied=True),
    "first order": lambda: NFM(N, dim=6, dropout=0.0, mlp_dropout=0.0),
    "interests": lambda: ComiRecSA(N, dim=6, length=5),
    "users": lambda: MF(N, n_users=50, dim=6),
}
OBJECTIVES = {
    "shared": Objective(candidates=shared),
    "soft": Objective(mixed(), UniformTarget(N), 0.3, shared),
    "soft by row": Objective(mixed(), UniformTarget(N), 0.3, by_row),
    "in batch": Objective(candidates=InBatch()),
    "by row": Objective(candidates=by_row),
    "pairs": Objective(loss=bpr, candidates=by_row),
    "cosines": Objective(candidates=by_row, scoring=Scoring("cosine", 0.2)),
    "distances": Objective(candidates=shared, scoring=Scoring("euclidean")),
    "label part": Objective(candidates=by_row, label_part=(grouped_label, 0.5)),
}


def questions():
    return padded([[1, 2, 3], [39, 0], [0, 1, 38, 2, 2], [12]], N)._replace(
        label=torch.tensor([3, 0, 5, 3]), user=torch.tensor([4, 1, 4, 49])
    )


def gradients(make, objective, *, sparse: bool):
    torch.manual_seed(0)
    model = make().double()
    if sparse:
        mark_sparse(model)
    value = objective(model, questions())
    value.total.backward()
    return value.total.detach(), dict(model.named_parameters())


def check_same_gradients(make, objective, dense=()):
    loss, expected = gradients(make, objective, sparse=False)
    got, parameters = gradients(make, objective, sparse=True)
    torch.testing.assert_close(got, loss, rtol=1e-12, atol=0)
    for name, parameter in parameters.items():
        if expected[name].grad is None:
            assert parameter.grad is None, name
            continue
        of_items = len(parameter) >= N and name not in dense
        assert parameter.grad.is_sparse == of_items, name
        own = parameter.grad.to_dense() if of_items else parameter.grad
        torch.testing.assert_close(own, expected[name].grad, rtol=1e-10, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_sparse_gradients_are_the_dense_ones(model, objective):
    if (model, objective) == ("interests", "distances"):
        pytest.skip("refused: distances of several interests")
    check_same_gradients(MODELS[model], OBJECTIVES[objective])


@pytest.mark.parametrize("users", [7, N, 90])
def test_both_tables_of_a_model_of_users_are_sparse_however_long(users):
    model = MF(N, n_users=users, dim=4)
    mark_sparse(model)
    batch = questions()._replace(user=torch.tensor([4, 1, 4, 6]))
    Objective(loss=bpr, candidates=by_row)(model, batch).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.is_sparse, name


def test_also_of_a_model_that_predicts_interests():
    def predicted(logits, cosines):
        return interest_distillation(logits, cosines, 0.5, detach=False)

    objective = Objective(loss=bpr, candidates=by_row, interest_part=predicted)
    check_same_gradients(
        lambda: TiMiRec(N, dim=6, length=5, interests=2, predictor_dropout=0.0), objective
    )


def test_a_tied_table_takes_a_dense_gradient_too():
    """As from code that uses all item vectors at once."""
    sums = []
    for sparse in (False, True):
        torch.manual_seed(0)
        model = MODELS["tied"]().double()
        if sparse:
            mark_sparse(model)
        (model.items().vectors.sin().sum() + model(questions()).users.sum()).backward()
        sums.append(model.table.weight.grad)
    torch.testing.assert_close(*sums)


# --- training ---

LOG = Interactions.read(
    pl.DataFrame({"user": np.repeat(np.arange(12), 5), "item": np.arange(60) * 7 % 23})
)
VALUES = {"ndcg@10": 0.0}


class Killed(BaseException):
    """Stands for a signal."""


def trained(folder, **options):
    torch.manual_seed(0)
    model = GRU4Rec(LOG.n_items, dim=4, tied=True)
    if options.pop("marked", options.get("optimizer") != "adam"):
        mark_sparse(model)
    data = TrainingBatches(examples(LOG.sequences, "prefixes", 4), 4, LOG.n_items, seed=0)
    options = {"epochs": 3, "lr": 0.01, "optimizer": "sparse-adam"} | options
    objective = options.pop("objective", Objective(candidates=InBatch()))
    validate = options.pop("validate", lambda _: VALUES)
    train(model, objective, data, validate, folder, accelerator="cpu", patience=9, **options)
    return torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("optimizer", ["sparse-adam", "adam"])
def test_marked_tables_get_sparse_gradients(tmp_path, optimizer):
    last = []

    def validate(model):
        last.append(model.table.weight.grad)
        return VALUES

    trained(tmp_path, optimizer=optimizer, epochs=1, validate=validate)
    assert last[0].is_sparse == (optimizer == "sparse-adam")


@pytest.mark.slow
def test_a_killed_run_goes_on_exactly(tmp_path, monkeypatch):
    whole = trained(tmp_path / "whole")
    step, steps = SoftTargetModule.training_step, []

    def dying(self, batch, batch_idx):
        steps.append(batch_idx)
        if len(steps) == 17:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SoftTargetModule, "training_step", dying)
    with pytest.raises(Killed):
        trained(tmp_path / "run", checkpoint_steps=5)
    monkeypatch.undo()
    kept = torch.load(tmp_path / "run" / RESUME, weights_only=True)
    assert kept["global_step"] == 15
    resumed = trained(tmp_path / "run", checkpoint_steps=5)
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())


@pytest.mark.slow
def test_both_optimisers_are_two_methods(tmp_path):
    lazy, plain = (trained(tmp_path / name, optimizer=name) for name in ("sparse-adam", "adam"))
    assert not torch.equal(lazy["encoder.table.weight"], plain["encoder.table.weight"])


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd"},
        {"weight_decay": 1e-6},
        {"marked": False},
        {"objective": Objective()},
        {"objective": Objective(candidates=shared, exact=True)},
        {"objective": Objective(candidates=shared, l2=0.1)},
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, options):
    with refused(ValueError):
        trained(tmp_path, **options)


@pytest.mark.parametrize(
    "encoder",
    [GRU4Rec(N, dim=6, dropout=0.0), MF(N, n_users=4, dim=3, output_bias=True)],
    ids=["gru4rec", "mf"],
)
def test_weights_decay_and_biases_do_not(encoder):
    """A step of Adam without any gradient moves what decays, and only that."""
    module = SoftTargetModule(encoder, Objective(), lambda *_: {}, lr=0.1, weight_decay=0.5)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.fill_(1.0)
    for parameter in encoder.parameters():
        parameter.grad = torch.zeros_like(parameter)
    module.configure_optimizers().step()
    seen = set()
    for name, parameter in encoder.named_parameters():
        is_bias = "bias" in name
        seen.add(is_bias)
        assert bool((parameter == 1).all()) == is_bias, name
    assert seen == {True, False}
