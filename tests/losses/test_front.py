"""The loss in anyone's training loop: any leading shape, and what makes no loss is refused."""

import pytest
import torch
from torch.nn import functional as F

import softrec
from messages import refused
from softrec.losses import bpr, decoupled, softmax_loss
from softrec.targets import DenseTarget, UniformTarget
from softrec.testing import oracles

N, D = 7, 4


def normal(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()


ITEMS, BIAS = normal(N, D, seed=1), normal(N, seed=2)


@pytest.mark.parametrize("leading", [(5,), (2, 3), (2, 1, 4)])
@pytest.mark.parametrize("bias", [None, BIAS])
@pytest.mark.parametrize("soft", [False, True])
def test_any_leading_shape_is_the_cross_entropy_of_pytorch(leading, bias, soft):
    users = normal(*leading, D)
    label = torch.randint(N, leading, generator=torch.Generator().manual_seed(3))
    z = users @ ITEMS.T + (0 if bias is None else bias)
    q = F.one_hot(label, N).double()
    options = {}
    if soft:
        s = normal(label.numel(), N, seed=4).detach().softmax(1)
        q = 0.7 * q + 0.3 * s.view(*leading, N)
        options = {"target": DenseTarget(s), "weight": 0.3}
    expected = -(q * z.log_softmax(-1)).sum(-1).mean()
    leaves = [users, ITEMS] + ([] if bias is None else [bias])
    slopes = torch.autograd.grad(expected, leaves)
    found = softmax_loss(users, ITEMS, label, bias=bias, **options)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, leaves), slopes)


def test_losses_by_name_and_as_they_are():
    users, label = normal(5, D), torch.arange(5)
    z, s = (users @ ITEMS.T).detach(), normal(5, N, seed=4).detach().softmax(1)
    hard = oracles.hard(z, label, s, 0.0).mean()
    torch.testing.assert_close(softmax_loss(users, ITEMS, label, loss="hard").detach(), hard)
    two = 0.6 * oracles.binary(z, label, s, 0.3) + 0.4 * oracles.rest(z, label, s, 0.3)
    found = softmax_loss(
        users, ITEMS, label, target=DenseTarget(s), weight=0.3, loss=decoupled(0.6), rows=2
    )
    torch.testing.assert_close(found.detach(), two.mean())
    others = oracles.others(z, label)
    pairs = F.softplus(others - z.gather(1, label[:, None])).mean()
    torch.testing.assert_close(softmax_loss(users, ITEMS, label, loss=bpr).detach(), pairs)


@pytest.mark.parametrize(
    "change",
    [
        {"label": torch.zeros(2, 2).long()},
        {"label": torch.zeros(2, 3)},
        {"label": torch.full((2, 3), N)},
        {"label": torch.full((2, 3), -1)},
        {"users": torch.zeros(4), "label": torch.zeros(()).long()},
        {"items": torch.zeros(N, D + 1)},
        {"items": torch.zeros(N)},
        {"bias": torch.zeros(N + 1)},
        {"weight": 2.0, "target": UniformTarget(N)},
        {"weight": 0.5},
        {"loss": decoupled(0.5)},
        {"loss": bpr, "target": UniformTarget(N), "weight": 0.1},
        {"loss": "soft"},
    ],
)
def test_what_makes_no_loss_is_refused(change):
    given = {"users": torch.zeros(2, 3, D), "items": torch.zeros(N, D)}
    given |= {"label": torch.zeros(2, 3).long()} | change
    with refused(ValueError):
        softmax_loss(**given)


def test_namespaces_export_their_names():
    for part in (softrec.losses, softrec.targets):
        assert all(hasattr(part, name) for name in part.__all__)
    assert list(softrec.losses.mixed()) == ["soft"]
