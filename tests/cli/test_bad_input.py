"""Whatever is wrong with the input: one line that names the place and the remedy, and exit 2."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file, save_file

from softrec.cli import main as cli
from softrec.errors import RecipeError
from softrec.experiments.runs import open_run
from softrec.experiments.store.run_file import UncheckedRunWarning

STRICT = ["--short-users", "error", "--cold-items", "error"]
TINY = ["--epochs", "1", "--batch-size", "64", "--length", "5", "--set", "model.dim=8"]


def log_frame(seed: int = 0) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    items = (generator.integers(10, size=(20, 1)) + np.arange(6)) % 10
    return pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": items.ravel()})


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder to stand in, with a good log."""
    monkeypatch.chdir(tmp_path)
    log_frame().write_csv("log.csv")
    return tmp_path


@pytest.fixture
def refusal(capsys, folder):
    """Run a command that must fail; return its one line, and check that nothing was written."""

    def refuse(*arguments: object) -> str:
        before = sorted(folder.rglob("*"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert done.value.code == 2
        assert out == ""
        *told, line = err.splitlines()
        assert line.startswith("error: ")
        assert not any("error" in before for before in told)
        assert sorted(folder.rglob("*")) == before
        return line

    return refuse


# --- the log ---

ROWS = "user,item,time\n" + "".join(f"{u},{i},{i}\n" for u in range(9) for i in range(4))
LOGS = {
    "no user column": ("x.csv", "person,item\n1,2\n", "no column for the user: .*--user.*person"),
    "no item column": ("x.csv", "user,thing\n1,2\n", "no column for the item: .*--item.*thing"),
    "0 bytes": ("x.csv", "", "is empty"),
    "only names": ("x.csv", "user,item\n", "has no rows"),
    "a time that is none": ("x.csv", ROWS + "1,2,soon\n", "'soon' in column 'time', row 37"),
    "no user id": ("x.csv", ROWS + ",2,9\n", "column 'user' has no id in row 37.*drop these"),
    "no item id": ("x.csv", ROWS + "1,,9\n", "column 'item' has no id in row 37.*drop these"),
    "mixed ids": ("x.csv", ROWS + "ann,2,9\n", "'user' mixes numbers and text .*--text-ids"),
    "a user of one item, an item only in the test part": (
        "x.csv", ROWS.replace(",time", ",t") + "99,1,9\n1,77,9\n",
        "fewer than 3 interactions, such as 99; .*--short-users.*"
        "only in the validation or test part.* 77; .*--cold-items"),
    "a truncated Parquet file": ("x.parquet", b"PAR1\x15\x04\x15\x10", "the file is complete"),
    "text that is no Parquet": ("x.parquet", "user,item\n1,2\n", "the file is complete"),
    "another ending": ("x.xlsx", "user,item\n1,2\n", "unknown ending; softrec reads .csv"),
    "an empty folder": ("x", None, "contains no .parquet file"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::softrec.data.splits.LeakageWarning")
@pytest.mark.parametrize("what", LOGS)
def test_a_log_that_cannot_be_used(refusal, folder, what):
    name, content, text = LOGS[what]
    if content is None:
        (folder / name).mkdir()
    else:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    line = refusal("fit", name, "--out", "run", *STRICT, *TINY)
    assert re.search(text, line)
    if "Parquet" in what or "bytes" in what or "column" in what:
        assert str(folder / name) in line


def test_a_parquet_file_cut_short(refusal, folder):
    log_frame().write_parquet("whole.parquet")
    whole = (folder / "whole.parquet").read_bytes()
    for size in (1, 100, len(whole) // 2, len(whole) - 1):
        (folder / "cut.parquet").write_bytes(whole[:size])
        assert "the file is complete" in refusal("fit", "cut.parquet", "--out", "run", *TINY)


def test_no_such_log(refusal):
    line = refusal("fit", "none.csv", "--out", "run")
    assert re.search("no file, folder or data set 'none.csv'; the data sets are shop, ", line)


def test_a_column_that_is_not_there(refusal):
    line = refusal("fit", "log.csv", "--user", "who", "--out", "run")
    assert re.search("no column 'who' for the user; its columns are user, item", line)


def test_given_parts_need_both_files(refusal):
    line = refusal("fit", "log.csv", "--valid", "log.csv", "--out", "run")
    assert "needs both files, valid and test" in line


def test_a_test_part_without_a_user_of_the_training_part(refusal, folder):
    """Nothing to evaluate is found before training, not after it."""
    (folder / "other.csv").write_text("user,item\n777,1\n")
    (folder / "valid.csv").write_text("user,item\n1,1\n")
    line = refusal("fit", "log.csv", "--valid", "valid.csv", "--test", "other.csv", "--out", "run",
                   *TINY)  # fmt: skip
    assert "no user has both a history and an event in the test part" in line


@pytest.mark.parametrize("copy", [False, True])
def test_a_file_given_for_two_parts(refusal, folder, copy):
    (folder / "valid.csv").write_text("user,item\n1,1\n")
    other = folder / "again.csv"
    if copy:
        other.write_bytes((folder / "log.csv").read_bytes())
    else:
        other.symlink_to(folder / "log.csv")
    line = refusal("fit", "log.csv", "--valid", "valid.csv", "--test", "again.csv", "--out", "run",
                   *TINY)  # fmt: skip
    assert ("have the same events" if copy else "is given for two parts of the log") in line


# --- options and recipes ---

OPTIONS = {
    "--model foo": "no model 'foo'; there are bsarec, caser, comirec-dr, comirec-sa, deepfm",
    "--target foo": "target: no target 'foo'; there are ckd, co-occurrence, csn",
    "--preset foo": "sasrec has no preset 'foo'; there are original",
    "--split foo": "data.split: no choice 'foo'; there are leave-last-out, time",
    "--clean foo": "no cleaning step 'foo'; the cleaning steps are drop-duplicates",
    "--clean drop-duplicates=2": "no cleaning step 'drop-duplicates=2'",
    "--clean min-weight=nan": "'min-weight=nan' needs a number",
    "--clean k-core=many": "'k-core=many' needs a whole number",
    "--clean k-core=99": "no interaction is left after cleaning; use weaker",
    "--loss foo": "loss: no loss 'foo'; there are bce, bce-sum, bpr, bsl, ccl, cml, debiased",
    "--windows foo": "training.windows: no choice 'foo'; there are last, positions",
    "--candidates foo": "no candidates 'foo'; there are auto, full, in-batch, mixed, sampled",
    "--candidates sampled": "need either a ratio .* or a number",
    "--candidates sampled --ratio 2": "ratio: .*less than or equal to 1, got 2",
    "--candidates sampled --number 99": "number is 99, more than the 10 items; choose a smaller",
    "--target kd": "target.kd.teacher: needs a teacher: .* add --teacher RUN",
    "--target kd --teacher none": "there is no finished run in none",
    "--loss bpr --target pop+": "bpr compares the label .*choose target: one-hot, or a softmax",
    "--loss sl --score foo": "loss.sl.score: no choice 'foo'; there are inner, cosine",
    "--target pop+ --alpha 2": "alpha: .*less than or equal to 1, got 2",
    "--target pop+(alpha=2)": "alpha: .*less than or equal to 1, got 2",
    "--target uniform --temperature 2": "uniform: no field 'temperature'; there are name, mass",
    "--alpha 0.4": "alpha is a setting of a soft target.*add --target",
    "--lr -1": "training.lr: .*greater than 0, got -1",
    "--epochs 0": "training.epochs: .*greater than or equal to 1, got 0",
    "--loss decoupled": "decoupled .*choose a target with alpha above 0, or loss: mixed",
    "--loss decoupled --target pop+ --alpha 0": "decoupled .*alpha 0",
    "--monitor recall@7": "training.monitor is recall@7, which is not among evaluation.metrics",
    "--set evaluation.metrics=[fun@3]": "'ndcg@10', one of hit_rate, .*'fun@3'",
    "--set evaluation.metrics=[ndcg@0]": "whole number of at least 1 .*'ndcg@0'",
    "--set evaluation.metrics=[]": "not among evaluation.metrics",
    "--set model.size=3": "sasrec has no setting 'size'; there are dim",
    "--set model.dim=big": "dim of sasrec: .*integer.*'big'",
    "--set model.dim=-2": "model: dim of sasrec: .*greater than or equal to 1, got -2",
    "--set model.heads=0": "model: heads of sasrec: .*greater than or equal to 1, got 0",
    "--set model.dim=9": "dim .9. must be a multiple of heads .2.",
    "--set training.accelerator=abacus": "training.accelerator: no choice 'abacus'; there are auto",
    "--set training.speed=3": "training: no field 'speed'; there are windows",
    "--set more.speed=3": "the recipe: no field 'more', did you mean model. There are data, model",
    "--set speed=3": "no option 'speed', did you mean seed. There are source",
    "--set speed": "expected name=value, got 'speed'",
    "--set model.dim=[1": "cannot be read .*quote it",
    "--balance 0.7": "loss: needs a name, as in .loss: {name: decoupled",
    "--ratio 0.2": "candidates: needs a name, as in .candidates: {name: sampled",
    "--split time": "needs times; name their column with --time",
}


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
def test_an_option_that_does_not_fit(refusal, options):
    line = refusal("fit", "log.csv", "--out", "run", *options.split())
    assert re.search(OPTIONS[options].replace("+", r"\+"), line)


RECIPES = {
    "data: [log.csv": "not valid YAML",
    "- data\n- model": "must be a mapping with data, model, target, .* is a list",
    "": "must be a mapping",
    "model: {name: sasrec}": "data: is missing; say where the log is",
    "data: {source: log.csv}\nmodle: {name: sasrec}": "no field 'modle', did you mean model",
    "data: {source: log.csv, colour: red}": "data: no field 'colour'; there are source",
    "data: {source: log.csv}\ntarget: {name: pop+, beta: 1}": r"target.pop\+: no field 'beta'",
    "data: {source: log.csv}\ntarget: {name: soft}": "no target 'soft'; there are ckd, co-",
    "data: {source: log.csv}\ntarget: pop+": "target: expected a mapping with fields",
    "data: log.csv": "data: expected a mapping with fields",
    "data: {source: log.csv}\nmodel: sasrec": "model: expected a mapping with fields",
    "data: {source: log.csv}\ntraining: {epochs: many}": "training.epochs: .*integer.*'many'",
    "data: {source: log.csv}\nseed: [1]": "seed: .*integer",
    "data: {source: log.csv}\nmodel: {name: 3}": "the name of a model must be a text, got 3",
    "data: {source: missing.csv}": "no file, folder or data set 'missing.csv'",
}


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--model", "gru4rec", "--set", "training.lr=0.1"]])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_that_cannot_be_used(refusal, folder, recipe, options):
    if options and "model" in recipe:
        options = ["--set", "training.lr=0.1"]
    (folder / "recipe.yaml").write_text(recipe)
    line = refusal("fit", "recipe.yaml", "--out", "run", *options)
    assert re.search(RECIPES[recipe], line)
    if "missing.csv" not in recipe:
        assert "recipe.yaml" in line


def test_a_recipe_that_is_not_there_or_no_text(refusal, folder):
    assert "cannot read the recipe none.yaml" in refusal("fit", "none.yaml", "--out", "run")
    (folder / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "bytes.yaml is not valid YAML" in refusal("fit", "bytes.yaml", "--out", "run")


@pytest.mark.parametrize("mode", [[], ["--overwrite"]])
def test_what_is_no_run_is_never_replaced(refusal, folder, mode):
    (folder / "photos").mkdir()
    (folder / "photos" / "cat.png").write_bytes(b"cat")
    line = refusal("fit", "log.csv", "--out", "photos", *TINY, *mode)
    assert "photos" in line
    assert "choose another --out" in line
    assert "log.csv" in refusal("fit", "log.csv", "--out", "log.csv", *TINY, *mode)


def test_a_folder_that_cannot_be_made(refusal, folder):
    (folder / "note.txt").write_text("")
    line = refusal("fit", "log.csv", "--out", "note.txt/run", *TINY)
    assert re.search("cannot make note.txt/run.part: .*choose another --out", line)


def test_a_loss_that_is_no_number(refusal):
    several_steps = ["4" if value == "64" else value for value in TINY]
    line = refusal("fit", "log.csv", "--out", "run", *several_steps, "--lr", "1e6")
    assert re.search(
        r"the loss became (nan|inf) in epoch 1, step \d.*lower --lr \(now 1e\+06\)", line
    )


COMPARISONS = {
    "--targets foo": "'foo'",
    "--targets ,": "no targets to compare; give some",
    "--targets one-hot,pop+(alpha=2)": "alpha: .*got 2",
    "--targets one-hot,pop+,pop+": "given twice",
    "--targets pop+(alpha": "not a target|expected name=value",
    "--windows foo": "training.windows",
    "--split time": "needs times",
    "--lr -1": "training.lr",
    "--model foo": "no model 'foo'",
}


@pytest.mark.parametrize("options", COMPARISONS)
def test_a_comparison_that_does_not_fit(refusal, folder, options):
    (folder / "photos").mkdir()
    line = refusal("compare", "log.csv", "--out", "table", *TINY, *options.split())
    assert re.search(COMPARISONS[options], line)


def test_a_comparison_onto_something(refusal, folder):
    (folder / "table").mkdir()
    assert "table exists already" in refusal("compare", "log.csv", "--out", "table", *TINY)


LONG = "x" * 5000
NAMES = {
    "a log": (["fit", LONG, "--out", "run"], "there is no file, folder or data set 'xxx"),
    "a folder of logs": (
        ["fit", "x/" * 2500, "--out", "run"],
        "there is no file, folder or data set",
    ),
    "a recipe": (["fit", LONG + ".yaml", "--out", "run"], "cannot read the recipe .*too long"),
    "an output": (["fit", "log.csv", "--out", LONG, *TINY], "File name too long"),
    "a comparison": (["compare", "log.csv", "--out", LONG, *TINY], "File name too long"),
    # From Python 3.14 on such a file does not exist.
    "a run": (["recommend", LONG, "--user", "1"], "File name too long|there is no finished run"),
    "a teacher": (
        ["fit", "log.csv", "--out", "run", "--target", "kd", "--teacher", LONG[:300]],
        "target.kd.teacher: .*255 bytes",
    ),
    "a column": (
        ["fit", "log.csv", "--out", "run", "--user", LONG],
        "data.user: .*4096 characters",
    ),
    "a NUL": (["fit", "log.csv", "--out", "run", "--set", 'data.source="a\\0b"'], "NUL"),
    "bytes": (["fit", "log.csv", "--out", "run", "--user", "\udcff"], "data.user: .*unicode"),
    "a folder as a recipe": (["fit", "folder.yaml", "--out", "run"], "it is not a file"),
}


@pytest.mark.parametrize("what", NAMES)
def test_a_name_that_no_file_can_have(refusal, folder, what):
    (folder / "folder.yaml").mkdir()
    arguments, reason = NAMES[what]
    line = refusal(*arguments)
    assert re.search(reason, line)
    assert len(line) <= 520


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory: 9 bytes")])
def test_too_little_memory(refusal, monkeypatch, error):
    def allocate(*arguments, **options):
        raise error

    monkeypatch.setattr("softrec.experiments.train.fit_recipe", allocate)
    line = refusal("fit", "log.csv", "--out", "run", *TINY)
    assert re.search("not enough memory .*; lower --batch-size", line)


def test_an_error_of_the_program_is_not_hidden(monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError

    monkeypatch.setattr("softrec.experiments.train.fit_recipe", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["fit", "log.csv", "--out", "run", *TINY])


# --- runs ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    log_frame().write_csv(folder / "log.csv")
    with pytest.raises(SystemExit) as done:
        cli.main(["fit", str(folder / "log.csv"), "--out", str(folder / "run"), *TINY])
    assert done.value.code == 0
    return folder / "run"


@pytest.fixture
def run(finished, folder) -> Path:
    """A copy of a finished run, to be broken."""
    copy = folder / "run"
    copy.mkdir()
    for path in finished.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    return copy


COMMANDS = {"evaluate": [], "recommend": ["--user", "3"]}


def test_an_existing_run_is_kept(refusal, run):
    before = {path: path.read_bytes() for path in run.iterdir()}
    line = refusal("fit", "log.csv", "--out", "run", *TINY)
    assert "run exists already; choose another --out, or replace it with --overwrite" in line
    assert {path: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("command", COMMANDS)
def test_no_run(refusal, command):
    line = refusal(command, "none", *COMMANDS[command])
    assert "there is no finished run in none (no run.json)" in line


FILES = ("model.safetensors", "items.parquet", "users.parquet", "log.parquet", "per_user.parquet",
         "curve.csv", "recipe.yaml", "softrec.json")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("share", [0, 0.5, None])
@pytest.mark.parametrize("name", FILES)
def test_a_run_with_a_broken_file(refusal, run, name, share):
    """Cut to a share of its length, or deleted."""
    path = run / name
    content = path.read_bytes()
    path.unlink()
    if share is not None:
        path.write_bytes(content[: int(share * len(content))])
    what = "is missing" if share is None else "was changed: its size is"
    for command, options in COMMANDS.items():
        line = refusal(command, "run", *options)
        assert re.search(rf"{re.escape(name)} {what}.*train it again, or use it .* --trust", line)


@pytest.mark.parametrize("place", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("name", FILES)
def test_a_run_with_a_flipped_bit(refusal, run, name, place):
    content = bytearray((run / name).read_bytes())
    content[int(place * len(content))] ^= 4
    (run / name).write_bytes(content)
    line = refusal("recommend", "run", "--user", "3")
    assert f"{name} was changed: its content is not what softrec wrote" in line


def test_the_weights_of_another_run_of_the_same_sizes(refusal, run, finished, folder, capsys):
    with pytest.raises(SystemExit):
        cli.main(["fit", "log.csv", "--out", "other", *TINY, "--seed", "1"])
    for name in ("model.safetensors", "log.parquet", "items.parquet", "users.parquet"):
        whole = (run / name).read_bytes()
        (run / name).write_bytes((folder / "other" / name).read_bytes())
        if name == "model.safetensors":
            assert "model.safetensors was changed" in refusal("evaluate", "run")
            with pytest.raises(SystemExit) as done:
                cli.main(["evaluate", "run", "--trust"])
            assert done.value.code == 0
        (run / name).write_bytes(whole)
    capsys.readouterr()


@pytest.mark.parametrize("share", [0, 0.5])
@pytest.mark.parametrize("command", COMMANDS)
def test_run_json_cut(refusal, run, command, share):
    content = (run / "run.json").read_bytes()
    (run / "run.json").write_bytes(content[: int(share * len(content))])
    assert re.search(
        r"run\.json is damaged .*train it again", refusal(command, "run", *COMMANDS[command])
    )


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": 99}', '{"format": 2}', "3"])
def test_a_run_of_another_format(refusal, run, content):
    (run / "run.json").write_text(content)
    line = refusal("evaluate", "run")
    assert re.search(r"run\.json (has format|is damaged|was changed).*train it again", line)


def edited(run, change) -> None:
    """Change run.json in place."""
    facts = json.loads((run / "run.json").read_text())
    change(facts)
    (run / "run.json").write_text(json.dumps(facts))


EDITS = {
    "a metric": lambda facts: facts["test"].update({"ndcg@10": 0.9}),
    "the recipe": lambda facts: facts["recipe"].update(seed=9),
    "the hash of a file": lambda facts: facts["files"]["curve.csv"].update(sha256="0" * 64),
    "no hash of a file": lambda facts: facts["files"].pop("model.safetensors"),
    "no files": lambda facts: facts.pop("files"),
    "no hash of its own": lambda facts: facts.pop("sha256"),
}


@pytest.mark.parametrize("what", EDITS)
def test_run_json_is_tied_to_itself(refusal, run, what):
    edited(run, EDITS[what])
    line = refusal("evaluate", "run")
    assert "run.json was changed: its content was changed after it was written" in line


def test_how_run_json_is_laid_out_does_not_matter(run):
    edited(run, lambda facts: None)
    assert open_run(run).facts["epochs"] == 1


def test_a_run_without_hashes_is_opened_with_a_line(run, capsys):
    """As softrec wrote them before run.json kept any."""

    def old(facts):
        facts["format"] = 1
        facts.pop("files")
        facts.pop("sha256")

    edited(run, old)
    with pytest.warns(UncheckedRunWarning):
        open_run(run)
    with pytest.raises(SystemExit) as done:
        cli.main(["recommend", "run", "--user", "3"])
    assert done.value.code == 0
    assert "note: run is from a version of softrec that stored no hashes" in capsys.readouterr().err


def test_weights_of_another_model(refusal, run):
    edited(run, lambda facts: facts["model"].update(dim=16))
    line = refusal("recommend", "run", "--user", "3", "--trust")
    assert "model.safetensors is damaged or does not fit the recipe" in line


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(refusal, run, value):
    weights = load_file(run / "model.safetensors")
    name = sorted(weights)[0]
    weights[name].view(-1)[0] = value
    save_file(weights, run / "model.safetensors")
    line = refusal("recommend", "run", "--user", "3", "--trust")
    assert (
        f"model.safetensors has weights that are NaN or infinite ({name}); train it again" in line
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_run_of_somebody_else(refusal, run):
    (run / "model.safetensors").chmod(0)
    line = refusal("recommend", "run", "--user", "3")
    assert "you have no permission to read run/model.safetensors" in line


def test_others_may_read_the_weights(run, finished):
    modes = {path.stat().st_mode for path in finished.iterdir() if path.is_file()}
    assert len(modes) == 1


OTHER_LOGS = {
    "more items": log_frame().with_columns(pl.col("item") + pl.col("user") % 2),
    "fewer events": log_frame().filter(pl.col("user") != 3),
    "other events of the same catalogue": log_frame(seed=1),
}


@pytest.mark.parametrize("what", OTHER_LOGS)
def test_a_run_of_another_log(refusal, run, what):
    OTHER_LOGS[what].write_csv("other.csv")
    line = refusal("evaluate", "run", "--data", "other.csv")
    assert re.search("run was trained on other data .*; give the log and the cleaning", line)


def test_a_log_that_has_moved(refusal, run):
    assert "no file, folder or data set 'gone.csv'" in refusal(
        "evaluate", "run", "--data", "gone.csv"
    )


EVALUATIONS = {
    "--metrics fun@3": "'fun@3'",
    "--metrics ndcg": "whole number of at least 1",
    "--part train": "--part must be test or valid, got 'train'",
    "--per-user users.xlsx": "the ending must be one of .csv",
    "--per-user none/users.csv": "there is no folder none",
}


@pytest.mark.parametrize("options", EVALUATIONS)
def test_an_evaluation_that_does_not_fit(refusal, run, options):
    assert re.search(EVALUATIONS[options], refusal("evaluate", "run", *options.split()))


RECOMMENDATIONS = {
    "": "expected users or a history; give --user, --users-file or --history",
    "--user 99": "unknown users: '99'; give the items .*--history",
    "--user ann": "'ann' has the type",
    "--history 77,78": "no item of the history .* is in the catalogue",
    "--history tea": "'tea' has the type",
    "--users-file none.txt": "none.txt does not exist",
    "--users-file empty.txt": "empty.txt contains no user",
    "--users-file log.parquet": "log.parquet (cannot be read|does not exist)",
    "--user 3 --out best.xlsx": "the ending must be one of .csv, .parquet, .json",
    "--user 3 --out none/best.csv": "there is no folder none",
}


@pytest.mark.parametrize("options", RECOMMENDATIONS)
def test_a_recommendation_that_does_not_fit(refusal, run, folder, options):
    (folder / "empty.txt").write_text("\n")
    assert re.search(RECOMMENDATIONS[options], refusal("recommend", "run", *options.split()))


# --- the command line itself ---


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit"],
        ["fit", "log.csv"],
        ["fit", "log.csv", "--out", "run", "--colour", "red"],
        ["fit", "log.csv", "--out", "run", "--epochs", "many"],
        ["recommend", "run", "-k", "0"],
        ["compare", "log.csv", "--out", "run", "--seeds", "0"],
        ["colour"],
    ],
)
def test_wrong_use_exits_2(capsys, folder, arguments):
    with pytest.raises(SystemExit) as done:
        cli.main(arguments)
    assert done.value.code == 2
    assert "Usage: " in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["log.csv"]


@pytest.mark.parametrize("arguments", [["--debug", "fit"], ["fit", "--debug"]])
def test_debug_shows_the_traceback(arguments):
    with pytest.raises(RecipeError):
        cli.main([*arguments, "log.csv", "--out", "run", "--model", "foo"])


@pytest.mark.slow
def test_as_a_process(folder):
    command = [
        sys.executable,
        "-m",
        "softrec",
        "fit",
        "log.csv",
        "--out",
        "run",
        "--lr",
        "-1",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "40"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the recipe: training.lr: ")
    with pytest.raises(RecipeError):  # with a traceback, as nobody catches it
        cli.main([*command[3:], "--debug"])
    assert [path.name for path in folder.iterdir()] == ["log.csv"]
