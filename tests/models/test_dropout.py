"""Dropout: the share, the scale, independence, and what must not change."""

import pytest
import torch
from torch.nn import functional as F

from softrec.models import transformer
from softrec.models.dropout import Dropout, dropout
from softrec.models.transformer import causal_attention


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("shape", [(500, 3, 601), (300_001,), (700, 1, 1, 800)])
def test_share_and_scale(rate, shape):
    """A share of p within 5 standard errors, and the mean stays."""
    torch.manual_seed(0)
    found = dropout(torch.ones(shape, dtype=torch.float64), rate)
    assert found.shape == shape
    zeros = (found == 0).double().mean()
    assert abs(zeros - rate) < 5 * (rate * (1 - rate) / found.numel()) ** 0.5
    kept = found[found != 0]
    assert torch.all(kept == kept[0])
    assert kept[0] == pytest.approx(1 / (1 - rate), rel=2e-4)  # p in steps of 1 / 65536


def test_numbers_are_independent():
    """Neighbours, also those drawn from the same 64 bits, are both kept in p^2 of the cases."""
    torch.manual_seed(1)
    kept = dropout(torch.ones(1_000_000), 0.5) != 0
    for apart in (1, 2, 3, 4, 8, 64):
        both = (kept[apart:] & kept[:-apart]).double().mean()
        assert abs(both - 0.25) < 5 * (0.25 * 0.75 / 1e6) ** 0.5, apart


def test_the_same_seed_gives_the_same_numbers():
    torch.manual_seed(2)
    first, second = dropout(torch.ones(100), 0.5), dropout(torch.ones(100), 0.5)
    torch.manual_seed(2)
    assert torch.equal(first, dropout(torch.ones(100), 0.5))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradient_is_that_of_the_numbers_kept(dtype):
    torch.manual_seed(3)
    x = torch.randn(50, 7, dtype=dtype, requires_grad=True)
    found = dropout(x, 0.3)
    assert found.dtype == dtype
    (gradient,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(gradient * x, found)
    assert 0 < (gradient == 0).sum() < x.numel()


def test_where_nothing_or_everything_is_dropped():
    x = torch.randn(4, 5)
    assert dropout(x, 0.0) is x
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 1.0).count_nonzero() == 0
    assert dropout(torch.empty(0, 3), 0.5).shape == (0, 3)
    module = Dropout(0.5).eval()
    assert module(x) is x
    assert not torch.equal(module.train()(x), x)


@pytest.mark.parametrize("length", [1, 2, 9])
def test_attention_is_that_of_torch_but_for_what_is_dropped(length, monkeypatch):
    torch.manual_seed(4)
    q, k, v = torch.randn(3, 2, 4, length, 5, dtype=torch.float64)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(causal_attention(q, k, v, 0.0), expected)
    monkeypatch.setattr(transformer, "dropout", lambda weights, rate: weights)
    torch.testing.assert_close(causal_attention(q, k, v, 0.5), expected)


def test_weights_of_the_attention_are_dropped():
    """The first step reads itself alone: 0, or its value / (1 - p)."""
    torch.manual_seed(5)
    q, k = torch.randn(2, 200, 1, 3, 4)
    found = causal_attention(q, k, torch.ones(200, 1, 3, 4), 0.5)
    assert set(found[:, 0, 0].unique().tolist()) == {0.0, 2.0}
    assert found[:, 0, 2].mean() == pytest.approx(1, abs=0.2)
