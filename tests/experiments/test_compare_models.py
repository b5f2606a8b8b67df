"""A comparison of two models with two losses on the simulated shop: each has its own baseline."""

import json

import numpy as np
import polars as pl
import pytest

import softrec
from softrec.evaluation.significance import crossed, holm
from softrec.experiments.comparison import open_comparison
from softrec.report import tables
from softrec.report.results import Results, read_results
from softrec.report.verdict import headline, verdicts
from softrec.report.write import console_table, render_report
from softrec.training.module import SoftTargetModule

pytestmark = pytest.mark.slow

ASKED = {
    "models": "gru4rec(dim=8),mf(dim=4)", "targets": "one-hot,uniform", "losses": "mixed,decoupled",
    "grid": {"target.alpha": [0.1, 0.5]}, "seeds": 2, "epochs": 2, "length": 8, "lr": 0.01,
    "metrics": ["ndcg@10"], "progress": False,
    "data.shop": {"n_items": 40, "n_users": 60},
}  # fmt: skip
SOFT = [
    f"uniform (alpha {alpha}), {loss}" for loss in ("mixed", "decoupled") for alpha in (0.1, 0.5)
]
GROUPS = ("gru4rec (dim 8)", "mf (dim 4)")
NAMES = [f"{group}: {row}" for group in GROUPS for row in ("one-hot", *SOFT)]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return softrec.compare("shop", out=folder / "c", **ASKED)


def values(found, name):
    users = pl.read_parquet(found.folder / "per_user.parquet").filter(pl.col("target") == name)
    wide = users.sort("seed", "user", maintain_order=True)["ndcg@10"].to_numpy()
    return wide.reshape(len(users["seed"].unique()), -1)


def test_differences_are_against_the_baseline_of_the_own_model(found):
    """From the table of users; Holm over all variants and simple baselines."""
    results = found.results
    assert [variant.name for variant in results.trained] == NAMES
    wanted = {}
    for variant in results.variants:
        own = "mf (dim 4): one-hot" if variant.name.startswith("mf") else NAMES[0]
        if variant.name == own:
            assert variant.difference is None
            assert variant.baseline is None
            continue
        assert variant.baseline == own
        counted = variant.kind == "counted"
        wanted[variant.name] = crossed(
            values(found, own), values(found, variant.name), deterministic=counted
        )
    assert len(wanted) == 8 + len(results.counted)
    adjusted = holm([each.p for each in wanted.values()])
    for (name, each), p_holm in zip(wanted.items(), adjusted, strict=True):
        got = results.variant(name).difference_in("ndcg@10")
        assert (got.mean, got.low, got.high, got.p, got.p_holm) == pytest.approx(
            (each.mean, each.low, each.high, each.p, p_holm)
        )
    bases = [values(found, f"{group}: one-hot").mean() for group in GROUPS]
    assert abs(bases[0] - bases[1]) > 1e-3  # else a wrong baseline would not be seen


def test_slices_are_against_the_own_baseline_too(found):
    table = pl.read_parquet(found.folder / "slices.parquet")
    weighted = {each: (pl.col("n") * pl.col(each)).sum() / pl.col("n").sum()
                for each in ("mean", "difference")}  # fmt: skip
    mine = table.filter(pl.col("variant").is_in(NAMES))
    whole = mine.group_by("slicing", "variant").agg(**weighted)
    means = {name: values(found, name).mean() for name in NAMES}
    for _, variant, mean, difference in whole.iter_rows():
        assert mean == pytest.approx(means[variant])
        base = f"{variant.partition(':')[0]}: one-hot"
        if variant != base:
            assert difference == pytest.approx(means[variant] - means[base])


def test_what_each_variant_is(found):
    for variant in found.results.trained:
        group, _, row = variant.name.partition(": ")
        assert variant.group == group
        assert variant.model["name"] == group.partition(" ")[0]
        assert variant.loss["name"] == ("decoupled" if "decoupled" in row else "mixed")
        assert variant.grid == (
            {} if row == "one-hot" else {"target.alpha": variant.target["alpha"]}
        )
    assert any("windows: interactions" in note for note in found.results.notes)


def test_the_report_says_which_baseline_is_meant(found):
    results = found.results
    page = (found.folder / "report.html").read_text()
    assert page == render_report(open_comparison(found.folder).results)
    assert "each is compared with the first of its own group" in page
    assert "only the target differs" not in page
    assert results.title == "gru4rec, mf on shop: models, targets and losses differ"
    told = verdicts(results)
    assert [verdict.name for verdict in told] == [n for n in NAMES if "one-hot" not in n]
    assert headline(told, results).startswith("Each against the baseline of its own model. Of 8 ")
    rows = tables.overview(results).rows
    assert [row[0] for row in rows[:12]] == [
        GROUPS[0], "one-hot", *SOFT, GROUPS[1], "one-hot", *SOFT
    ]  # fmt: skip
    assert console_table(results).row_count >= 10
    (share,) = [row for row in tables.cost(results).rows if row[0] == "one-hot"][1:]
    assert share[3] == "1.00 ×"


def test_it_goes_on_where_it_was_interrupted(found, tmp_path, monkeypatch):
    class Killed(BaseException):
        """Stands for SIGKILL."""

    step, taken = SoftTargetModule.training_step, []

    def counted(self, batch, batch_idx, last=7):
        if len(taken) == last:
            raise Killed
        taken.append(batch_idx)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(SoftTargetModule, "training_step", counted)
        with pytest.raises(Killed):
            softrec.compare("shop", out=tmp_path / "c", **ASKED)
    done = sorted(path.name for path in (tmp_path / "c.part" / "runs").iterdir())
    assert "gru4rec--dim-8---one-hot-seed0" in done
    again = softrec.compare("shop", out=tmp_path / "c", **ASKED)
    for name in NAMES:
        np.testing.assert_array_equal(values(again, name), values(found, name))


def test_results_of_before_have_the_first_baseline(found, tmp_path):
    plain = found.results.as_json()
    plain["format"] = 1
    plain.pop("slices")
    for variant in plain["variants"]:
        for new in ("model", "loss", "group", "series", "grid", "baseline"):
            variant.pop(new)
    (tmp_path / "results.json").write_text(json.dumps(plain))
    read = read_results(tmp_path / "results.json")
    assert [variant.baseline for variant in read.variants] == [None] + [NAMES[0]] * (
        len(read.variants) - 1
    )
    assert isinstance(read, Results)
    assert read.groups == [""]
