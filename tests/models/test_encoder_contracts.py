"""Every backbone, in every style it has, against the contract of an encoder."""

from functools import partial

import pytest
import torch
from torch import nn

from messages import refused
from softrec.errors import DataError
from softrec.models.gru4rec import GRU4Rec
from softrec.models.histories import ItemTable, OutputLayer, aligned
from softrec.models.mf import MF
from softrec.models.sasrec import SASRec
from softrec.testing import check_encoder
from softrec.testing.encoders import padded
from softrec.types import Encoder, ItemVectors, Vectors

N_ITEMS = 11
SMALL = {"dim": 8, "layers": 2}

GRUS = {
    "default": {},
    "tied": {"tied": True, "output_bias": False},
    "tied with bias": {"tied": True},
    "wide": {"hidden": 12},
    "no gru bias": {"gru_bias": False},
    "normal": {"init": "normal"},
}
SASRECS = {
    "default": {},
    "post": {"norm": "post"},
    "pre": {"norm": "pre"},
    "gelu": {"activation": "gelu", "inner": 16},
    "rezero": {"rezero": True},
    "no scale": {"scale": False},
    "no projection": {"projection": False},
    "own output": {"tied": False, "output_bias": True},
    "uniform": {"init": "uniform"},
    "normal": {"init": "normal"},
    "one head": {"heads": 1, "layers": 1},
}
MFS = {
    "default": {},
    "dropout": {"dropout": 0.5},
    "bias": {"output_bias": True},
    "normal": {"init": "normal"},
}
KEY_BIAS = ("key.bias",)  # adds the same number to all scores of a query: the softmax cancels it


@pytest.mark.parametrize("name", GRUS)
def test_gru4rec(name):
    check_encoder(partial(GRU4Rec, N_ITEMS, **(SMALL | GRUS[name])), N_ITEMS)


@pytest.mark.parametrize("name", SASRECS)
def test_sasrec(name):
    """Positions count back from the end: a step within a history is not a shorter history."""
    options = SMALL | {"length": 6} | SASRECS[name]
    make = partial(SASRec, N_ITEMS, **options)
    check_encoder(make, N_ITEMS, prefixes=False, unmoved=KEY_BIAS)


@pytest.mark.parametrize("name", MFS)
def test_mf(name):
    check_encoder(partial(MF, N_ITEMS, n_users=4, dim=8, **MFS[name]), N_ITEMS)


@pytest.mark.parametrize("preset", MF.PRESETS)
def test_mf_presets(preset):
    options = MF.PRESETS[preset] | {"dim": 8}
    check_encoder(partial(MF, N_ITEMS, n_users=7, **options), N_ITEMS)


@pytest.mark.parametrize("preset", GRU4Rec.PRESETS)
def test_gru4rec_presets(preset):
    options = GRU4Rec.PRESETS[preset] | {"dim": 8}
    check_encoder(partial(GRU4Rec, N_ITEMS, **options), N_ITEMS)


@pytest.mark.parametrize("preset", SASRec.PRESETS)
def test_sasrec_presets(preset):
    options = SASRec.PRESETS[preset] | {"dim": 8}
    check_encoder(partial(SASRec, N_ITEMS, **options), N_ITEMS, prefixes=False, unmoved=KEY_BIAS)


def test_dropout_is_off_in_eval_mode_only():
    histories = padded([[1, 2, 3], [4]], N_ITEMS)
    for model in (
        GRU4Rec(N_ITEMS, dim=8, dropout=0.5),
        SASRec(N_ITEMS, dim=8, dropout=0.5),
        MF(N_ITEMS, n_users=2, dim=8, dropout=0.5),
    ):
        torch.manual_seed(0)
        assert not torch.equal(model(histories).users, model(histories).users)
        model.eval()
        assert torch.equal(model(histories).users, model(histories).users)


def test_histories_of_one_form():
    left = torch.tensor([[9, 9, 1, 2], [9, 9, 9, 3], [9, 9, 9, 9]])
    right = torch.tensor([[1, 2, 9, 9], [3, 9, 9, 9], [9, 9, 9, 9]])
    expected = torch.tensor([[1, 2], [3, 9], [9, 9]])
    for history in (left, right, right[:2]):
        items, lengths, _ = aligned(history, 9)
        assert torch.equal(items, expected[: len(history)])
        assert torch.equal(lengths, torch.tensor([2, 1, 1])[: len(history)])


def test_tied_output_is_the_input_table():
    model = SASRec(N_ITEMS, dim=8, tied=True)
    vectors, bias, _ = model.items()
    assert bias is None
    assert torch.equal(vectors, model.table.weight[:-1])
    assert (model.table.weight[-1] == 0).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: GRU4Rec(5, dim=8, init="zeros"),
        lambda: SASRec(5, dim=8, init="zeros"),
        lambda: SASRec(5, dim=8, heads=3),
        lambda: OutputLayer(ItemTable(5, 8), 4, tied=True, bias=False),
        lambda: SASRec(5, dim=8, length=2)(padded([[0, 1, 2]], 5)).users,
    ],
)
def test_options_that_do_not_fit(make):
    with refused(ValueError):
        make()


# --- a contract that nothing can break proves nothing ---


class Mean(Encoder):
    """The mean of the last two items' vectors: right, or with one fault."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.n_items = N_ITEMS
        self.table = ItemTable(N_ITEMS, 4)
        self.unused = nn.Parameter(torch.ones(1)) if fault == "no gradient" else None

    def forward(self, batch, items=None):
        history = batch.history if self.fault == "reads padding" else self._left(batch)
        vectors = self.table(history)
        before = nn.functional.pad(vectors, (0, 0, 1, 0))[:, :-1]
        if self.fault == "sees the future":
            real = vectors * (history != N_ITEMS)[:, :, None]
            before = nn.functional.pad(real, (0, 0, 0, 1))[:, 1:]
        states = vectors + 0.5 * before
        if self.fault == "mixes rows":
            states = states + states.mean((0, 1))
        if self.fault == "random":
            states = states + torch.randn_like(states)
        lengths = aligned(batch.history, N_ITEMS).lengths
        if self.fault == "reads padding":
            return Vectors(states.mean(1), items or self.items())
        if batch.row is None:
            return Vectors(states[torch.arange(len(states)), lengths - 1], items or self.items())
        return Vectors(states[batch.row, batch.step], items or self.items())

    def _left(self, batch):
        return aligned(batch.history, N_ITEMS).items

    def items(self):
        vectors = self.table.weight if self.fault == "too many items" else self.table.weight[:-1]
        return ItemVectors(vectors, None)


def test_a_small_right_encoder():
    check_encoder(Mean, N_ITEMS)


@pytest.mark.parametrize(
    "fault",
    [
        "reads padding",
        "sees the future",
        "mixes rows",
        "random",
        "too many items",
        "no gradient",
    ],
)
def test_broken_encoders_are_found(fault):
    with refused(AssertionError):
        check_encoder(partial(Mean, fault), N_ITEMS)


class Table(Encoder):
    """A row for each user: right, or with one fault."""

    reads = "user"

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.n_items = N_ITEMS
        self.own = nn.Embedding(5, 4)
        self.table = ItemTable(N_ITEMS, 4)

    def forward(self, batch, items=None):
        rows = torch.arange(len(batch.user)) if batch.row is None else batch.row
        user = batch.user[rows]
        if self.fault == "counts rows":
            user = rows
        if self.fault == "one for all":
            user = torch.zeros_like(user)
        if self.fault == "answers unknown users":
            user = user.clamp(min=0)
        if bool((user < 0).any()):
            raise DataError("an unknown user")
        if self.fault == "forgets to look up rows" and batch.row is not None:
            return Vectors(self.own(batch.user), items or self.items())
        vectors = self.own(user)
        if self.fault == "reads histories":  # causal, and blind to padding
            first = aligned(batch.history, N_ITEMS).items[:, 0]
            vectors = vectors + self.table(first)[rows]
        return Vectors(vectors, items or self.items())

    def items(self):
        return ItemVectors(self.table.weight[:-1], None)


def test_a_small_right_encoder_of_users():
    check_encoder(Table, N_ITEMS)


@pytest.mark.parametrize(
    "fault",
    [
        "counts rows",
        "one for all",
        "answers unknown users",
        "forgets to look up rows",
        "reads histories",
    ],
)
def test_broken_encoders_of_users_are_found(fault):
    with refused(AssertionError):
        check_encoder(partial(Table, fault), N_ITEMS)


def test_which_contract_holds_must_be_said():
    class Histories(Table):
        reads = "history"

    class Users(Mean):
        reads = "user"

    with refused(AssertionError):
        check_encoder(Histories, N_ITEMS)
    with refused(AssertionError):
        check_encoder(Users, N_ITEMS)


def test_rows_run_packed_or_through_their_padding_alike():
    """Packed where padding is most of the batch, and run through it where it is little."""
    torch.manual_seed(0)
    model = GRU4Rec(N_ITEMS, dim=8, layers=2).double().eval()
    rows = [[1, 2, 3, 4], [5], [6, 7]]
    found = []
    for full in (0, 9):
        more = [[8, 9, 10, 1, 2, 3, 4, 5, 6]] * full
        model.zero_grad()
        users = model(padded(rows + more + [[1] * 9], N_ITEMS)).users[: len(rows)]
        users.square().sum().backward()
        found.append((users.detach(), model.table.weight.grad.clone()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
