"""`import softrec`: whatever is handed over means the same as on the command line."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

import softrec
from messages import refused
from softrec.cli import main as cli
from softrec.errors import SoftrecError
from softrec.progress import shows_bars, telling
from softrec.report.results import Results

# Lightning's own use of PyTorch; no part of what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

TINY = {"epochs": 1, "batch_size": 64, "length": 5, "model.dim": 4, "model.layers": 1}


def log_frame(seed: int = 0) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    items = (generator.integers(10, size=(20, 1)) + np.arange(6)) % 10
    names = np.array([f"u{n}" for n in range(20)])
    return pl.DataFrame({"user": np.repeat(names, 6), "item": items.ravel()})


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    log_frame().write_csv("log.csv")
    Path("recipe.yaml").write_text(
        yaml.safe_dump({
            "data": {"source": "log.csv"},
            "model": {"name": "sasrec", "dim": 4, "layers": 1},
            "training": {"epochs": 1, "batch_size": 64, "length": 5},
        })
    )  # fmt: skip
    return tmp_path


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """The run of the log as a file, made once."""
    folder = tmp_path_factory.mktemp("kept")
    log_frame().write_csv(folder / "log.csv")
    softrec.fit(str(folder / "log.csv"), out=folder / "run", progress=False, **TINY)
    return folder / "run"


GIVEN = {
    "a path": lambda: Path("log.csv"),
    "a recipe": lambda: "recipe.yaml",
    "a path of a recipe": lambda: Path("recipe.yaml"),
    "polars": log_frame,
    "lazy polars": lambda: log_frame().lazy(),
    "pandas": lambda: pytest.importorskip("pandas").DataFrame(log_frame().to_dict(as_series=False)),
    "arrow": lambda: log_frame().to_arrow(),
    "interactions": lambda: softrec.Interactions.read(log_frame()),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", GIVEN)
def test_a_log_of_any_kind_gives_the_same_run(what, kept):
    options = {} if "recipe" in what else TINY
    run = softrec.fit(GIVEN[what](), out="run", progress=False, **options)
    other = softrec.open_run(kept)
    assert run.test == other.test
    assert run.weights_fingerprint == other.weights_fingerprint
    assert run.facts["data"] == other.facts["data"]


def test_a_table_has_its_columns_named(kept):
    table = log_frame().rename({"user": "who", "item": "what"})
    run = softrec.fit(table, out="run", user="who", item="what", progress=False, **TINY)
    assert run.test == softrec.open_run(kept).test


def test_a_run_of_a_table_is_whole(kept):
    softrec.fit(log_frame(), out="run", progress=False, **TINY)
    run = softrec.open_run("run")
    recipe = yaml.safe_load(Path("run/recipe.yaml").read_text())
    assert recipe["data"]["source"] == run.recipe.data.source
    assert run.recipe.data.source.startswith("memory:")
    assert run.evaluate() == run.test
    assert run.evaluate("valid") == run.valid
    assert run.evaluate(data=log_frame()) == run.test
    assert run.evaluate(data="log.csv") == run.test
    assert_frame_equal(
        run.recommender().recommend(["u1"]),
        softrec.open_run(kept).recommender().recommend(["u1"]),
    )
    with pytest.raises(SystemExit) as done:
        cli.main(["evaluate", "run", "--metrics", "hit_rate@3"])
    assert done.value.code == 0


@pytest.mark.parametrize(
    "change",
    [
        pl.col("item").reverse(),
        (pl.col("item") + 1).alias("item"),
        pl.lit("x").alias("user") + pl.col("user"),
        pl.int_range(pl.len()).alias("time"),
        pl.lit(2.0).alias("weight"),
    ],
)
def test_the_source_of_a_table_tells_tables_apart(change):
    from softrec.experiments.inputs import fingerprint

    log, again, other = (
        softrec.Interactions.read(table)
        for table in (log_frame(), log_frame(), log_frame().with_columns(change))
    )
    assert fingerprint(log) == fingerprint(again)
    assert fingerprint(log) != fingerprint(other)


def test_an_unfinished_run_of_another_table_is_not_gone_on_with(monkeypatch):
    from softrec.training.module import SoftTargetModule

    step = SoftTargetModule.training_step

    def failing(self, batch, batch_idx):
        if self.global_step == 1:
            raise KeyError("a crash")
        return step(self, batch, batch_idx)

    options = TINY | {"batch_size": 8, "checkpoint_steps": 1}
    with monkeypatch.context() as patch:
        patch.setattr(SoftTargetModule, "training_step", failing)
        with pytest.raises(KeyError):
            softrec.fit(log_frame(), out="run", progress=False, **options)
    with refused(SoftrecError):
        softrec.fit(log_frame(seed=1), out="run", progress=False, **options)
    assert softrec.fit(log_frame(), out="run", progress=False, **options).facts["epochs"] == 1


def test_a_recipe_of_a_table_alone_says_what_is_missing():
    softrec.fit(log_frame(), out="run", progress=False, **TINY)
    with refused(SoftrecError):
        softrec.fit("run/recipe.yaml", out="again", progress=False)


WRONG = {
    "a number": ((3,), {}),
    "a list": (([1, 2],), {}),
    "nothing": ((None,), {}),
    "a recipe that is none": (("gone.yaml",), {}),
    "columns of interactions": ((softrec.Interactions.read(log_frame()),), {"user": "user"}),
    "a part of a table": ((log_frame(),), {"valid": "v.csv"}),
    "a table without items": ((log_frame().drop("item"),), {}),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_log_is_refused(what):
    arguments, options = WRONG[what]
    with refused(SoftrecError):
        softrec.fit(*arguments, out="run", progress=False, **options)
    assert not Path("run").exists()


def test_given_parts_need_no_word_about_the_split():
    parts = [log_frame().filter(pl.int_range(pl.len()).over("user").is_in(part))
             for part in ([0, 1, 2, 3], [4], [5])]  # fmt: skip
    for name, part in zip(("train", "valid", "test"), parts, strict=True):
        part.write_csv(f"{name}.csv")
    run = softrec.fit("train.csv", valid="valid.csv", test=Path("test.csv"), out="run",
                      progress=False, **TINY)  # fmt: skip
    assert run.recipe.data.split == "given"


# --- options ---


def test_options_by_section_and_of_numpy():
    run = softrec.fit(
        "log.csv", out="run", progress=False,
        model={"name": "gru4rec", "dim": np.int64(8)}, target={"name": "pop+", "alpha": 0.3},
        training={"epochs": np.int64(1), "length": 5}, **{"evaluation.metrics": ["ndcg@10"]},
    )  # fmt: skip
    assert (run.recipe.model.name, run.recipe.model.settings) == ("gru4rec", {"dim": 8})
    assert (run.recipe.target.name, run.recipe.target.alpha) == ("pop+", 0.3)
    assert (run.recipe.training.epochs, run.recipe.training.length) == (1, 5)
    assert list(run.test) == ["ndcg@10"]


TARGETS = {
    "text": "one-hot,uniform(alpha=0.3)",
    "names": ["one-hot", "uniform(alpha=0.3)"],
    "sections": ({"name": "one-hot"}, {"name": "uniform", "alpha": 0.3}),
    "both": ["one-hot", {"name": "uniform", "alpha": np.float64(0.3)}],
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The same comparison, asked for in each way and of each kind of log."""
    folder = tmp_path_factory.mktemp("compared")
    log_frame().write_csv(folder / "log.csv")
    found = {
        name: softrec.compare(
            log_frame() if name == "both" else folder / "log.csv", targets=targets, seeds=1,
            out=folder / name, progress=False, baselines=False, metrics=["ndcg@10", "recall@10"],
            **TINY,
        )
        for name, targets in TARGETS.items()
    }  # fmt: skip
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_targets_as_text_or_lists(compared, name):
    first, found = (compared[key].results.variants for key in ("text", name))
    assert [variant.target for variant in found] == [variant.target for variant in first]
    assert [variant.test for variant in found] == [variant.test for variant in first]


@pytest.mark.parametrize(
    "targets",
    [
        3,
        None,
        [],
        ["one-hot", 3],
        [{"alpha": 0.3}],
        "pop+(alpha",
    ],
)
def test_targets_that_are_none(targets):
    with refused(SoftrecError):
        softrec.compare("log.csv", targets=targets, out="c", progress=False)


@pytest.mark.slow
def test_how_to_run_a_comparison_again_is_python(compared):
    for name, comparison in compared.items():
        command = comparison.results.command
        assert str(comparison.folder) in command
        call = command.replace(repr(str(comparison.folder)), "'again'")
        if name != "both":
            compile(call, name, "eval")
            continue
        again = eval(call, {"softrec": softrec, "log": log_frame(), "np": np})
        assert again.results.variants[1].test == comparison.results.variants[1].test


# --- what is shown ---


def test_a_run_in_a_few_lines(kept):
    run = softrec.open_run(kept)
    for shown in (repr(run), str(run)):
        assert len(shown.splitlines()) <= 3
        assert f"{run.test['ndcg@10']:.4f} on test" in shown
        assert "sasrec with target one-hot on log.csv" in shown
        assert "epoch 1 of 1 is the best" in shown
    table = run._repr_html_()
    assert table.count("<tr>") == 1 + len(run.test)
    assert all(f"<td>{value:.4f}</td>" in table for value in run.test.values())
    assert len(repr(run.recommender()).splitlines()) == 1


@pytest.mark.slow
def test_a_comparison_in_a_few_lines(compared):
    comparison = compared["text"]
    shown, table = repr(comparison), comparison._repr_html_()
    assert len(shown.splitlines()) <= 3
    first, second = comparison.results.variants
    values = [variant.test["ndcg@10"].mean for variant in (first, second)]
    assert f"one-hot {values[0]:.4f} (baseline), " in shown
    assert f"uniform (alpha 0.3) {values[1]:.4f} (no verdict)" in shown  # of one seed
    for name, value in zip(("one-hot", "uniform (alpha 0.3)"), values, strict=True):
        assert f"<td>{name}</td><td>{value:.4f}</td>" in table
    assert f"<td>{values[1] - values[0]:.4f}</td>" in table
    assert "a table in memory" in repr(compared["both"])


def test_verdicts_are_shown(compared):
    results = compared["text"].results.as_json()
    for variant in results["variants"]:
        variant["runs"] = [{**variant["runs"][0], "levelled_off": True, "seed": n} for n in (0, 1)]
    known = {"mean": 0.02, "low": 0.0125, "high": 0.0275, "p": 0.001, "p_holm": 0.0015}
    results["variants"][1]["difference"]["ndcg@10"] |= known
    shown = replace(compared["text"], results=Results.model_validate(results))
    assert "(helped)" in repr(shown)
    cells = "".join(f"<td>{cell}</td>" for cell in ("0.0200", "0.0125", "0.0275", "0.0015"))
    assert f"{cells}<td>helped</td>" in shown._repr_html_()


def test_names_are_escaped(compared):
    results = compared["text"].results.as_json()
    results["variants"][0]["name"] = results["baseline"] = "<b>"
    for other in results["variants"][1:]:
        other["baseline"] = "<b>"
    table = replace(compared["text"], results=Results.model_validate(results))._repr_html_()
    assert "<td>&lt;b&gt;</td>" in table
    assert "<b>" not in table


# --- a run judged again ---


def test_a_run_is_evaluated_in_python(kept):
    run = softrec.open_run(kept)
    assert run.evaluate("valid", "ndcg@10") == {"ndcg@10": run.valid["ndcg@10"]}
    assert list(run.evaluate(metrics=["hit_rate@1", "mrr@5"])) == ["hit_rate@1", "mrr@5"]
    assert run.evaluate("valid") != run.evaluate("test")
    for arguments in (("train",), ("test", "fun@3")):
        with refused((SoftrecError, ValueError)):
            run.evaluate(*arguments)
    with refused(SoftrecError):
        run.evaluate(data=log_frame(seed=1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::softrec.data.aside.LeakageWarning")
@pytest.mark.parametrize("split", ["leave-last-out", "time", "user-ratio"])
def test_the_copy_of_the_log_gives_the_same_cases(split):
    """Also with times that tie, and where the split allows them the same drawn negatives."""
    table = log_frame().with_columns(time=pl.int_range(pl.len()).over("user") // 2)
    options = TINY | {"data.valid_fraction": 0.3, "data.test_fraction": 0.3, "split": split}
    if split == "leave-last-out":
        options["evaluation.negatives"] = 3
    run = softrec.fit(table, out="run", cold_items="keep", progress=False, **options)
    for part, told in (("valid", run.valid), ("test", run.test)):
        assert run.evaluate(part) == told == run.evaluate(part, data=table)


# --- recommendations ---


def test_one_user_is_no_list_of_letters(kept):
    recommender = softrec.open_run(kept).recommender()
    assert_frame_equal(recommender.recommend("u1"), recommender.recommend(["u1"]))
    assert_frame_equal(
        recommender.recommend(pl.Series(["u1", "u2"])), recommender.recommend(["u1", "u2"])
    )


def test_one_user_may_be_a_number():
    table = log_frame().with_columns(user=pl.col("user").str.slice(1).cast(pl.Int64))
    recommender = softrec.fit(table, out="run", progress=False, **TINY).recommender()
    assert_frame_equal(recommender.recommend(3), recommender.recommend([3]))
    assert_frame_equal(recommender.recommend(np.int64(3)), recommender.recommend([3]))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ([1, 2], {"history 1": [1, 2]}),
        ([[1, 2], [3]], {"history 1": [1, 2], "history 2": [3]}),
        (3, {"history 1": [3]}),
        ({"bob": 3}, {"bob": [3]}),
        (np.array([1, 2]), {"history 1": [1, 2]}),
    ],
)
def test_histories_without_names(kept, given, meant):
    recommender = softrec.open_run(kept).recommender()
    assert_frame_equal(
        recommender.recommend(histories=given), recommender.recommend(histories=meant)
    )


# --- progress ---


class Stream:
    def __init__(self, terminal):
        self.terminal = terminal
        self.text = ""

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.mark.parametrize("progress", [None, True, False])
def test_a_script_is_told_each_epoch(progress, capsys):
    softrec.fit("log.csv", out="run", progress=progress, **(TINY | {"epochs": 2}))
    told = capsys.readouterr()
    assert progress is True or told.out == ""  # where the bar is
    lines = [line for line in told.err.splitlines() if line.startswith("epoch ")]
    assert [line.split(":")[0] for line in lines] == (
        [] if progress is False else ["epoch 1 of 2", "epoch 2 of 2"]
    )
    assert progress is not False or told.err == ""


@pytest.mark.slow
def test_a_comparison_is_told_in_a_script(capsys):
    softrec.compare("log.csv", targets="one-hot,uniform", seeds=1, out="c", baselines=False, **TINY)
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("epoch 1 of 1")]) == 2
    assert any("uniform (alpha 0.1), seed 0" in line for line in lines)


def test_a_bar_where_it_can_be_seen(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Stream(terminal=False))
    monkeypatch.setitem(sys.modules, "IPython", None)
    assert not shows_bars()
    with telling(True):
        assert shows_bars()
    assert not shows_bars()
    monkeypatch.setattr(sys, "stderr", Stream(terminal=True))
    assert shows_bars()
    with telling(False):
        assert not shows_bars()
    with telling():
        assert shows_bars()


@pytest.mark.parametrize(
    ("shell", "shown"), [("ZMQInteractiveShell", True), ("TerminalInteractiveShell", False)]
)
def test_a_bar_in_a_notebook(monkeypatch, shell, shown):
    kernel = type("IPython", (), {"get_ipython": staticmethod(type(shell, (), {}))})
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setattr(sys, "stderr", Stream(terminal=False))
    assert shows_bars() is shown
