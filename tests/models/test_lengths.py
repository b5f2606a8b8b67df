"""Histories of similar length together: the numbers of all together, and less padding."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softrec.limits import LIMITS, limited
from softrec.models.bsarec import BSARec
from softrec.models.comirec import ComiRecSA
from softrec.models.esasrec import ESASRec
from softrec.models.histories import Histories, aligned, asked
from softrec.models.hstu import HSTU, TimedHSTU
from softrec.models.lengths import by_length, similar
from softrec.models.sasrec import SASRec
from softrec.models.timirec import TiMiRec
from softrec.models.tisasrec import TiSASRec
from softrec.types import Batch

MODELS = {
    "sasrec": SASRec, "esasrec": ESASRec, "bsarec": BSARec, "hstu": HSTU, "hstu-time": TimedHSTU,
    "tisasrec": TiSASRec, "comirec-sa": partial(ComiRecSA, positions="values"),
    "comirec-sa+": partial(ComiRecSA, transformer=True), "timirec": TiMiRec,
}  # fmt: skip
N = 9


def mixed(lengths: list[int], *, steps: bool, left: bool = True) -> Batch:
    """Return histories of these lengths, with predictions at some steps or at their ends."""
    generator = torch.Generator().manual_seed(0)
    rows, longest = len(lengths), max(lengths)
    history = torch.full((rows, longest), N)
    time = torch.zeros(rows, longest, dtype=torch.int64)
    for row, length in enumerate(lengths):
        places = slice(0, length) if left else slice(longest - length, longest)
        history[row, places] = torch.randint(N, (length,), generator=generator)
        time[row, places] = torch.randint(500, (length,), generator=generator).cumsum(0)
    zeros = torch.zeros(rows, dtype=torch.int64)
    batch = Batch(history, zeros, zeros, zeros, time=time)
    if not steps:
        return batch
    every = [(r, s) for r, length in enumerate(lengths) for s in range(length)]
    chosen = torch.randperm(len(every), generator=generator)[: len(every) // 2 + 1]
    row, step = torch.tensor(every)[chosen].T
    zeros = torch.zeros(len(row), dtype=torch.int64)
    return batch._replace(label=zeros, row=row, step=step)


@pytest.mark.parametrize("steps", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_users_and_gradients_are_those_of_all_together(name, steps):
    torch.manual_seed(1)
    blocks = {} if "mirec" in name else {"layers": 2, "heads": 2}
    model = MODELS[name](N, dim=4, length=12, **blocks).double().eval()
    batch = mixed([3, 12, 1, 7, 2, 12, 5, 1, 4], steps=steps)
    found = []
    for worth in (1, 10**9):
        model.zero_grad()
        with limited(padding=worth):
            parts = similar(aligned(batch.history, N))
            assert len(parts) == (4 if worth == 1 else 1)
            users = model(batch).users.flatten(1)
        (users * torch.arange(users.numel()).view_as(users)).sum().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found.append([users.detach(), *gradients])
    for apart, together in zip(*found, strict=True):
        torch.testing.assert_close(apart, together, rtol=1e-9, atol=1e-10)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=30), st.booleans(), st.booleans(),
    st.integers(1, 60),
)  # fmt: skip
def test_states_come_back_to_their_predictions(lengths, steps, left, worth):
    batch = mixed(lengths, steps=steps, left=left)
    histories = aligned(batch.history, N, batch.time)

    def states(x, some: Histories, of: Batch):
        assert some.items.shape[1] == some.lengths.max()
        assert torch.equal(x[..., 0], some.items)
        return asked(torch.cat([x, some.times[..., None]], -1), some, of)

    def vectors(items):
        nonlocal times
        times += 1
        return items[..., None]

    times = 0

    with limited(padding=worth):
        found = by_length(states, vectors, histories, batch)
    assert times == 1
    assert torch.equal(found, states(histories.items[..., None], histories, batch))


@given(st.lists(st.integers(1, 200), min_size=1, max_size=400))
def test_parts_are_all_rows_and_need_at_most_twice_the_steps(lengths):
    histories = Histories(torch.zeros(len(lengths), 1), torch.tensor(lengths))
    parts = similar(histories)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(lengths)))
    computed = sum(len(rows) * int(histories.lengths[rows].max()) for rows in parts)
    assert computed <= 2 * sum(lengths) + LIMITS.padding
    assert len(parts) <= 8  # log2(200)


def test_nothing_is_divided_where_little_is_saved():
    full = Histories(torch.zeros(100, 10), torch.full((100,), 10))
    assert len(similar(full)) == 1
    one_longer = Histories(torch.zeros(10, 40), torch.tensor([30, *[20] * 9]))
    assert len(similar(one_longer)) == 1
    many = Histories(torch.zeros(90, 40), torch.tensor([40, *[3] * 89]))
    assert [len(rows) for rows in similar(many)] == [1, 89]
