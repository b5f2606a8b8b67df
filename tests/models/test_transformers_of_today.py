"""BSARec, eSASRec and HSTU: their formulas in loops, what they read, and that they learn."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from messages import refused
from softrec.errors import DataError
from softrec.models.bsarec import BSARec, low_pass
from softrec.models.esasrec import ESASRec
from softrec.models.hstu import HSTU, TimedHSTU
from softrec.testing import chain, check_encoder, check_learns
from softrec.testing.encoders import padded

N_ITEMS, SMALL = 11, {"dim": 8, "length": 6}
HISTORIES = [[0, 3, 2, 7, 10, 1], [4], [9, 9, 5]]
TIMES = [[10, 70, 80, 80, 4_000, 90_000], [5], [1, 2, 1_000_000]]
STYLES = {
    "bsarec": partial(BSARec, N_ITEMS, **SMALL),
    "bsarec, two frequencies": partial(BSARec, N_ITEMS, frequencies=2, mix=0.2, **SMALL),
    "bsarec, own output": partial(BSARec, N_ITEMS, tied=False, output_bias=True, **SMALL),
    "bsarec, not scaled": partial(BSARec, N_ITEMS, scale=False, **SMALL),
    "esasrec, not scaled": partial(ESASRec, N_ITEMS, scale=False, **SMALL),
    "bsarec, beauty": partial(BSARec, N_ITEMS, **BSARec.PRESETS["beauty"]),
    "esasrec": partial(ESASRec, N_ITEMS, **SMALL),
    "esasrec, one head": partial(ESASRec, N_ITEMS, heads=1, layers=3, inner=5, **SMALL),
    "esasrec, own output": partial(ESASRec, N_ITEMS, tied=False, output_bias=True, **SMALL),
    "hstu": partial(HSTU, N_ITEMS, **SMALL),
    "hstu, four heads": partial(HSTU, N_ITEMS, heads=4, layers=3, output_bias=True, **SMALL),
    "hstu-time": partial(TimedHSTU, N_ITEMS, **SMALL),
}


@pytest.mark.parametrize("name", STYLES)
def test_the_contract_of_an_encoder(name):
    check_encoder(STYLES[name], N_ITEMS, prefixes=False, unmoved=("key.bias",))


# --- the filter, by torch's Fourier transform of each prefix ---


@pytest.mark.parametrize("frequencies", [1, 2, 3, 5, 9])
def test_a_step_has_the_last_value_of_its_prefix_without_high_frequencies(frequencies):
    x = torch.randn(9, 4, dtype=torch.float64)
    found = low_pass(9, frequencies).double() @ x
    for step in range(9):
        spectrum = torch.fft.rfft(x[: step + 1], dim=0)
        spectrum[frequencies:] = 0
        low = torch.fft.irfft(spectrum, n=step + 1, dim=0)
        torch.testing.assert_close(found[step], low[-1], atol=1e-6, rtol=1e-6)
    if frequencies == 9:
        torch.testing.assert_close(found, x, atol=1e-6, rtol=1e-6)  # nothing is left out


# --- whole models, one history at a time ---


def normed(x, layer=None):
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return x if layer is None else x * layer.weight + layer.bias


def attention(block, x, heads):
    """Rows of x (L, D), each asking those up to itself."""
    q, k, v = (layer(x).chunk(heads, dim=1) for layer in (block.query, block.key, block.value))
    rows = []
    for t in range(len(x)):
        parts = []
        for h in range(heads):
            scores = torch.stack([q[h][t] @ k[h][s] / math.sqrt(q[h].shape[1])
                                  for s in range(t + 1)])  # fmt: skip
            parts.append(scores.softmax(0) @ v[h][: t + 1])
        rows.append(torch.cat(parts))
    return block.joined(torch.stack(rows))


def begun(model, history):
    last = len(history) - 1
    places = torch.tensor([last - step for step in range(len(history))])
    return model.table.weight[history], model.positions.weight[places]


def bsarec_user(model, history, times):
    items, places = begun(model, history)
    x = normed(items * model.scale + places, model.before)
    for block in model.blocks:
        low = []
        for t in range(len(x)):
            spectrum = torch.fft.rfft(x[: t + 1], dim=0)
            spectrum[3:] = 0
            low.append(torch.fft.irfft(spectrum, n=t + 1, dim=0)[-1])
        low = torch.stack(low)
        filtered = normed(x + low + block.root**2 * (x - low), block.filtered)
        attended = normed(x + attention(block, x, 2), block.norms[0])
        mixed = 0.7 * filtered + 0.3 * attended
        x = normed(mixed + block.narrow(F.gelu(block.widen(mixed))), block.norms[1])
    return x[-1]


def esasrec_user(model, history, times):
    items, places = begun(model, history)
    x = items * model.scale + places
    for block in model.blocks:
        gate = torch.sigmoid(block.gates[0](x))
        x = x + gate * attention(block, normed(x, block.norms[0]), 2)
        inside = normed(x, block.norms[1])
        gated = inside @ block.widen.weight.T
        gated = gated / (1 + (-gated).exp()) * (inside @ block.beside.weight.T)
        x = x + torch.sigmoid(block.gates[1](x)) * (gated @ block.narrow.weight.T)
    return x[-1]


def hstu_user(model, history, times):
    items, places = begun(model, history)
    x = items * math.sqrt(8) + places
    for block in model.blocks:
        u, v, q, k = (F.silu(normed(x) @ block.joint.weight.T)).chunk(4, dim=1)
        rows = []
        for t in range(len(x)):
            parts = []
            for head in (slice(0, 4), slice(4, 8)):
                total = torch.zeros(4, dtype=x.dtype)
                for s in range(t + 1):
                    score = q[t, head] @ k[s, head] + block.distances[t - s]
                    if block.intervals is not None:
                        gap = max(abs(times[t] - times[s]), 1)
                        score = score + block.intervals[min(int(math.log(gap) / 0.301), 128)]
                    total = total + score / (1 + (-score).exp()) / 6 * v[s, head]
                parts.append(total)
            rows.append(torch.cat(parts))
        x = x + block.narrow(u * normed(torch.stack(rows)))
    return normed(x[-1], model.norm)


ORACLES = {"bsarec": bsarec_user, "bsarec, not scaled": bsarec_user, "esasrec": esasrec_user,
           "esasrec, not scaled": esasrec_user, "hstu": hstu_user,
           "hstu-time": hstu_user}  # fmt: skip


@pytest.mark.parametrize("name", ORACLES)
def test_users_by_their_definition(name):
    """Every parameter is drawn, so that none is at a value that hides it."""
    torch.manual_seed(0)
    model = STYLES[name]().double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
        assert model.scale == (1.0 if name.endswith("not scaled") else math.sqrt(8))
        users = model(padded(HISTORIES, N_ITEMS, times=TIMES)).users
        for user, history, times in zip(users, HISTORIES, TIMES, strict=True):
            wanted = ORACLES[name](model, history, times)
            torch.testing.assert_close(user, wanted, rtol=1e-5, atol=1e-6)


def test_times_are_needed_where_they_are_read():
    with refused(DataError):
        TimedHSTU(N_ITEMS, **SMALL)(padded(HISTORIES, N_ITEMS))


@pytest.mark.parametrize("kind", [BSARec, ESASRec, HSTU])
def test_heads_that_do_not_fit(kind):
    with refused(ValueError):
        kind(N_ITEMS, dim=8, heads=3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [BSARec, ESASRec, HSTU])
def test_a_certain_next_item_is_learnt(kind):
    make = partial(kind, 12, dim=16, length=4, layers=1, dropout=0.0, embedding_dropout=0.0)
    check_learns(make, 12, data=chain(12, 600, 4, seed=3), train=400)
