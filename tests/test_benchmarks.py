"""The benchmarks run, at tiny sizes; each checks by itself that both its sides agree."""

import json
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from softrec.candidates import SharedUniform
from softrec.objective import Objective

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # they are no part of the package

from benchmarks import axes, dense, losses, rate
from benchmarks.__main__ import main, plain, show, suite
from benchmarks.timing import Bar, Pair, agree, paired


@pytest.mark.slow
@pytest.mark.parametrize("name", list(suite(quick=True, full=False)))
def test_benchmark_runs_and_tells_what_it_measured(name, tmp_path, capsys):
    rows = main([name, "--quick", "--json", str(tmp_path / "told.json")])
    told = json.loads((tmp_path / "told.json").read_text())
    assert [row["work"] for row in told["rows"]] == [row.work for row in rows]
    assert all(row.ratio >= 0 for row in rows)  # memory beyond the data may be 0
    assert any(row.ratio > 0 for row in rows)
    assert told["machine"]["torch"] in capsys.readouterr().out


def test_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "there are loss, " in capsys.readouterr().err


def test_sides_that_differ_are_refused():
    with pytest.raises(AssertionError):
        agree(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1]))
    with pytest.raises(AssertionError):
        agree(torch.tensor([torch.nan]), torch.tensor([1.0]))


def test_sides_are_timed_in_turn():
    order = []
    paired(lambda: order.append("a"), lambda: order.append("b"), 3)
    assert order == ["a", "b"] * 4


def test_ratio_is_the_median_of_pairs():
    assert Pair([1.0, 4.0, 30.0], [2.0, 4.0, 10.0]).ratio == 1.0
    assert Bar(2, "at least", "speedup").met(2.5)
    assert not Bar(2, "at most", "cost").met(2.5)


def test_row_without_a_bar_is_told_and_not_judged(capsys):
    row = Pair([3.0, 3.0], [1.0, 1.0]).row("some work", "a", "b", None)
    show([row], Console(width=200))
    told = capsys.readouterr().out
    assert row.met
    assert plain(row)["bar"] is None
    assert "some work" in told
    assert not {"met", "missed"} & set(told.replace("│", " ").split())


def test_full_sizes_are_larger_for_what_the_help_names():
    usual, full = (suite(quick=False, full=full) for full in (False, True))
    changed = {name for name in usual if usual[name].args != full[name].args}
    assert changed == {"approximate", "epoch", "neighbours", "scale"}


def test_sampled_side_is_refused_when_it_differs():
    held = axes.Held(losses.Inputs(losses.QUICK))
    whole, other = Objective(), Objective(candidates=SharedUniform(held.n_items, 100))
    held.same(Objective(candidates=SharedUniform(held.n_items, held.n_items)), whole)
    with pytest.raises(AssertionError):
        held.same(other, whole)


def test_dense_mixed_loss_is_the_divergence_from_the_mixed_target():
    data = losses.Inputs(losses.QUICK)
    probs = (data.users @ data.vectors.T).softmax(1).detach().double()
    rows = torch.arange(len(data.label))
    goal = torch.zeros_like(probs)
    for k in range(losses.QUICK.sparse):
        goal[rows, data.sparse.items[:, k]] += 0.3 * data.sparse.probs[:, k].double()
    goal[rows, data.label] += 0.7
    expected = torch.where(goal > 0, goal * (goal / probs).log(), 0.0).sum(1).mean()
    got = dense.mixed(
        data.users, data.vectors, data.label, data.sparse.items, data.sparse.probs, 0.3
    )
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)


def test_dense_ranks_leave_out_seen_items():
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0], [3.0, 2.0, 1.0, 0.0]])
    ranks = dense.ranks(scores, torch.tensor([2, 1]), [[0], [1]])
    assert ranks.tolist() == [2, 4]


def test_best_rate_counts_two_operations_for_a_product_and_keeps_the_threads(monkeypatch):
    clock = iter(range(10**6))  # every product takes one second
    monkeypatch.setattr(rate.time, "perf_counter", lambda: float(next(clock)))
    before = torch.get_num_threads()
    largest = rate.ROWS[-1] * rate.COLUMNS[-1] * 2 * 8  # 2 x rows x columns x D
    assert rate.best_rate(1, dims=(4, 8)) == pytest.approx(largest / 1e9)
    assert torch.get_num_threads() == before
