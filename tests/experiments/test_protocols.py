"""What is asked, and after which order of histories: kept by a run, told, the same when opened."""

import warnings

import polars as pl
import pytest

import softrec
from messages import warned
from softrec.data.aside import LeakageWarning
from softrec.evaluation.asked import Asked
from softrec.experiments.build.data import load_split
from softrec.experiments.summary import notes_of
from softrec.experiments.train import open_run
from softrec.recipe.recipe import read_recipe

N_USERS = 12
ROWS = [
    (f"u{user}", f"i{(user * 3 + step * (1 + user % 3)) % 11}", 100 * step + user)
    for user in range(N_USERS)
    for step in range(12)
] + [("new", f"i{step}", 1150 + step) for step in range(5)]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    pl.DataFrame(ROWS, schema=["user", "item", "time"], orient="row").write_csv(path)
    return path


PROTOCOLS = [
    {"split": "time", "relevant": "last"},
    {"split": "time", "relevant": "random", "data.split_seed": 3},
    {"split": "time", "data.order": "shuffled"},
    {"split": "leave-last-out", "data.order": "shuffled", "data.split_seed": 2},
]


@pytest.mark.parametrize("options", PROTOCOLS, ids=lambda o: " ".join(map(str, o.values())))
def test_an_opened_run_is_judged_by_its_own_protocol(log, tmp_path, options):
    fields = {"data.test_fraction": 0.3, "evaluation.mask_seen": False, "model": "markov"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakageWarning)
        run = softrec.fit(log, out=tmp_path / "run", **fields, **options)
        usual = softrec.fit(log, out=tmp_path / "usual", **fields, split=options["split"])
        opened = open_run(run.folder)
        assert opened.evaluate(data=log) == run.test
    assert opened.evaluate() == run.test
    assert opened.evaluate("valid") == pytest.approx(run.valid)
    assert run.test != usual.test
    assert run.facts["data"]["protocol"]
    assert usual.facts["data"]["protocol"] == {}
    kept = opened.split()
    assert kept.protocol() == run.facts["data"]["protocol"]


def test_what_is_special_is_told(log, tmp_path, capsys):
    softrec.fit(log, out=tmp_path / "run", model="popularity", split="time", relevant="random",
                **{"data.order": "shuffled", "data.split_seed": 3})  # fmt: skip
    told = capsys.readouterr().err
    assert "1 users of the test part have no event before it" in told
    assert "one is asked about, the random one (seed 3)" in told
    assert "a control, no result: the histories of training and evaluation" in told


@pytest.fixture
def published(tmp_path):
    """A data folder with a small movielens-100k."""
    (tmp_path / "movielens-100k").mkdir()
    rows = [f"{user[1:]}\t{item[1:]}\t3\t{time + 300 * int(user[1:])}"
            for user, item, time in ROWS if user != "new"]  # fmt: skip
    (tmp_path / "movielens-100k" / "u.data").write_text("\n".join(rows))
    return tmp_path


def test_a_leak_is_a_warning_unless_the_split_is_the_published_one(published):
    """Then it is a note of the report, which tells it in any case."""

    def loaded(**data):
        recipe = read_recipe({"data": {"source": "movielens-100k", **data}})
        return recipe, load_split(recipe.data, published)

    recipe, split = loaded()  # a warning would be an error
    leak = split.leak()
    assert leak is not None
    notes = notes_of(recipe, split, Asked.of(split))
    assert f"T{leak.sentence()[1:]}." in notes
    _, explicit = loaded(split="leave-last-out")
    assert explicit.leak() == leak
    with warned(LeakageWarning):
        loaded(split="user-ratio")
    recipe, cut = loaded(split="time", relevant="last")
    assert cut.leak() is None
    notes = notes_of(recipe, cut, Asked.of(cut))
    assert not any("leaks" in note for note in notes)
    assert any("one is asked about, the last one" in note for note in notes)
