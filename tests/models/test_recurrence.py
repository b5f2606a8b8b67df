"""The GRU of training against PyTorch's, run on each history by itself."""

import pytest
import torch
from torch import nn

from softrec.models.gru4rec import states_at

LENGTHS = {
    "full": [4, 4, 4],
    "of all lengths": [2, 5, 1, 3, 5],
    "increasing": [1, 2, 3],
    "one": [3],
    "of one item": [1, 1],
}


def one_by_one(gru, inputs, lengths, row, step):
    states = [gru(x[None, :n])[0][0] for x, n in zip(inputs, lengths, strict=True)]
    return torch.stack([states[r][s] for r, s in zip(row, step, strict=True)])


@pytest.mark.parametrize("where", ["at the end", "at all steps"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=list(LENGTHS))
def test_values_and_gradients_are_those_of_pytorch(lengths, layers, bias, where):
    torch.manual_seed(0)
    gru = nn.GRU(3, 4, layers, bias=bias, batch_first=True).double()
    inputs = torch.randn(len(lengths), max(lengths), 3, dtype=torch.float64, requires_grad=True)
    if where == "at the end":
        row, step = torch.arange(len(lengths)), torch.tensor(lengths) - 1
    else:
        places = [(r, s) for r, n in enumerate(lengths) for s in range(n)]
        row, step = torch.tensor(places).T
    given = torch.randn(len(row), 4, dtype=torch.float64)
    found = []
    for states in (states_at, one_by_one):
        value = states(gru, inputs, torch.tensor(lengths), row, step)
        parts = [inputs, *gru.parameters()]
        found.append((value.detach(), *torch.autograd.grad(value, parts, given)))
    torch.testing.assert_close(*found)


def test_without_gradient_it_is_pytorchs_and_the_same():
    torch.manual_seed(0)
    gru = nn.GRU(3, 4, batch_first=True)
    inputs, lengths = torch.randn(3, 5, 3), torch.tensor([5, 1, 3])
    asked = gru, inputs, lengths, torch.arange(3), lengths - 1
    with torch.no_grad():
        plain = states_at(*asked)
    torch.testing.assert_close(states_at(*asked), plain)
