"""Slices by the columns of a user's own tables, from the command line to the file."""

import numpy as np
import polars as pl
import pytest

import softrec
from messages import refused
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import leave_last_out
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError
from softrec.evaluation.asked import Asked
from softrec.evaluation.slices import column_slices
from softrec.experiments.own_tables import own_table
from softrec.experiments.sliced import case_slices
from softrec.recipe.recipe import read_recipe

TEXT = Vocabulary(pl.Series(["007", "008"]))


def test_ids_stay_text_where_those_of_the_log_are(tmp_path):
    (tmp_path / "t.csv").write_text("age,user_id\n31,007\n45,008\n")
    table = own_table(tmp_path / "t.csv", "user", TEXT, None)
    assert table.columns == ["user_id", "age"]
    assert table["user_id"].to_list() == ["007", "008"]
    assert table["age"].to_list() == [31, 45]
    frame = pl.DataFrame({"name": ["007"], "who": ["008"], "age": [1]})
    assert own_table(frame, "user", TEXT, "who").columns == ["who", "name", "age"]
    assert own_table(frame, "user", TEXT, None).columns == ["name", "who", "age"]


def test_names_of_columns_are_no_patterns(tmp_path):
    (tmp_path / "t.csv").write_text("^.*$,^x$,^y$\n7,a,1\n8,b,3\n")
    numbers = Vocabulary(pl.Series([7, 8]))
    table = own_table(tmp_path / "t.csv", "user", numbers, None)
    assert table.columns == ["^.*$", "^x$", "^y$"]
    asked = Sequences.of([[0], [1]])
    found = column_slices(table, numbers, asked, "user")
    assert found["^x$"].to_list() == ["a", "b"]
    assert found["^y$"].to_list() == ["1", "3"]
    text = table.with_columns(pl.Series("^.*$", ["7.0", "8"]))
    assert column_slices(text, numbers, asked, "user")["^x$"].to_list() == ["a", "b"]


@pytest.mark.parametrize("name", ["none.csv", "none.parquet", "t.xlsx"])
def test_what_cannot_be_read_is_refused_with_a_remedy(tmp_path, name):
    with refused(DataError) as refusal:
        own_table(tmp_path / name, "item", TEXT, None)
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["broken.csv", "broken.parquet"])
def test_a_broken_file_is_refused_in_a_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"item\n\xff\xfe\n" if name.endswith(".csv") else b"PAR1 no")
    with pytest.raises(DataError) as caught:  # in the words of Polars
        own_table(tmp_path / name, "item", TEXT, None)
    assert f"{name} cannot be read (" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_comparison_has_slices_by_both_tables(tmp_path):
    rng = np.random.default_rng(0)
    rows = [rng.choice(15, 6, replace=False) for _ in range(30)]
    log = pl.DataFrame({"user": np.repeat(np.arange(30), 6), "item": np.concatenate(rows)})
    people = pl.DataFrame({"user": range(30), "sex": ["f", "m"] * 15})
    pl.DataFrame({"colour": ["red", "blue", "red"] * 5, "item": range(15)}).write_csv(
        tmp_path / "items.csv"
    )
    options = {"targets": "one-hot,uniform", "seeds": 2, "baselines": False, "model": "gru4rec",
               "epochs": 1, "progress": False}  # fmt: skip
    with refused(DataError):
        softrec.compare(
            log, out=tmp_path / "out", user_table=people.select(pl.col("user") + 99, "sex"),
            **options,
        )  # fmt: skip
    found = softrec.compare(
        log, out=tmp_path / "out", user_table=people, item_table=tmp_path / "items.csv", **options
    )
    counts = {(s.slicing, s.slice): s.n for s in found.results.slices if s.variant == "one-hot"}
    assert counts["user: sex", "f"] == counts["user: sex", "m"] == 15
    red = sum(row[-1] % 3 != 1 for row in rows)
    assert counts["item: colour", "red"] == red
    assert counts["item: colour", "blue"] == 30 - red


def test_dates_of_a_csv_are_dates(tmp_path):
    days = [f"2023-{month:02}-{day:02}" for month in range(1, 11) for day in range(1, 7)]
    rows = [f"{user},{day}" for user, day in enumerate(days)]
    (tmp_path / "users.csv").write_text("user,since\n" + "\n".join(rows))
    found = own_table(tmp_path / "users.csv", "user", Vocabulary(pl.Series(range(60))), None)
    assert found["since"].dtype == pl.Date


def test_labels_are_counted_as_the_windows_cut_the_histories():
    """The item that is asked for is a label five times, all of them before the last window."""
    rows = [[0, 1, 2], [1, 0, 2], [2, 2, 2, 2, 2, 2, 0, 1, 3, 0, 1, 2]]
    log = Interactions.read(
        pl.DataFrame([(user, item) for user, row in enumerate(rows) for item in row],
                     schema=["user", "item"], orient="row")
    )  # fmt: skip
    split = leave_last_out(log)
    for windows, known in (("positions", "0"), ("prefixes", "3-5")):
        base = read_recipe(
            {"data": {"source": "shop"}, "training": {"windows": windows, "length": 2}}
        )
        asked = Asked.of(split, mask_seen=False)
        assert case_slices(base, split, asked)["label count"].to_list() == [known] * 3
