"""Tables of items and users travel with a run: stored, hashed, and used by what it recommends."""

import logging

import polars as pl
import pytest

import softrec
from messages import refused
from softrec.errors import DataError, SoftrecError
from softrec.experiments.runs import open_run
from softrec.experiments.store.run_file import ChangedRunError
from softrec.serving.catalogue import Catalogue
from softrec.simulation import item_table, make_shop, simulate

SHOP = make_shop(n_items=40, n_categories=4, interests=2)
LOG = simulate(SHOP, n_users=40, min_length=5, max_length=8)
USERS = [f"u{n}" for n in range(40)]
FRAME = pl.DataFrame(
    {
        "user": [USERS[n] for n in LOG.frame["user"]],
        "item": LOG.items.ids(LOG.frame["item"].to_numpy()),
    }
)
TABLE = item_table(SHOP)
PEOPLE = pl.DataFrame({"id": USERS[:30], "city": ["Oslo", "Rome"] * 15})

TWO = {"model": "mf", "targets": "one-hot,uniform", "seeds": 1, "epochs": 1, "baselines": False}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    FRAME.write_csv(tmp_path / "log.csv")
    TABLE.write_csv(tmp_path / "items.csv")
    PEOPLE.write_csv(tmp_path / "users.csv")
    return tmp_path


def fitted(files, name="run", source=None, **options):
    source = files / "log.csv" if source is None else source
    return softrec.fit(source, out=files / name, model="item-knn", **options)


def test_tables_are_in_the_folder_of_the_run(files):
    run = fitted(files, items=files / "items.csv", user_table=files / "users.csv")
    assert pl.read_parquet(run.folder / "catalogue.parquet").equals(TABLE)
    assert {"catalogue.parquet", "user_table.parquet"} <= run.facts["files"].keys()
    (files / "items.csv").unlink()
    again = open_run(run.folder)
    assert again.user_table.table.equals(PEOPLE)
    found = again.recommender().recommend("u1", 5, rules={"where": "category = 'shoes'"})
    titles = dict(TABLE.select("id", "title").rows())
    assert found["title"].to_list() == [titles[item] for item in found["item"]]


def test_a_changed_table_is_a_changed_run(files):
    run = fitted(files, items=files / "items.csv")
    TABLE.head(3).write_parquet(run.folder / "catalogue.parquet")
    with pytest.raises(ChangedRunError):
        open_run(run.folder)


def test_a_damaged_table_is_said_to_be(files):
    run = fitted(files, items=files / "items.csv")
    (run.folder / "catalogue.parquet").write_bytes(b"nothing")
    with refused(SoftrecError):
        _ = open_run(run.folder, trust=True).catalogue


def test_without_a_table_there_is_none(files):
    run = fitted(files)
    assert run.catalogue is run.user_table is None
    assert run.recommender().recommend("u1", 3).columns == ["user", "rank", "item", "score"]


@pytest.mark.parametrize("kind", ["frame", "Catalogue", "path"])
def test_a_finished_run_can_be_given_a_table(files, kind):
    run = fitted(files)
    given = {"frame": TABLE, "Catalogue": Catalogue.read(TABLE), "path": files / "items.csv"}[kind]
    service = run.recommender(items=given)
    assert "title" in service.recommend("u1", 3).columns
    assert service.catalogue["id"].to_list() == run.log.items.raw.to_list()


def test_a_table_given_later_takes_the_place_of_the_first(files):
    run = fitted(files, items=files / "items.csv")
    other = TABLE.with_columns(title=pl.lit("thing"))
    assert set(run.recommender(items=other).recommend("u1", 3)["title"]) == {"thing"}


def test_tables_in_memory(files):
    run = fitted(files, items=TABLE, user_table=PEOPLE)
    assert run.catalogue.table.equals(TABLE)
    assert run.user_table.table.equals(PEOPLE)
    same = fitted(files, "same", items=TABLE)
    assert same.recipe.data.items == run.recipe.data.items
    assert fitted(files, "other", items=TABLE.head(20)).recipe.data.items != run.recipe.data.items


def test_what_a_table_lacks_is_said(files, caplog):
    with caplog.at_level(logging.INFO):
        fitted(files, items=TABLE.head(38), user_table=files / "users.csv", progress=False)
    lines = [text for text in caplog.messages if "has no row for" in text]
    assert len(lines) == 2
    assert "users.csv has no row for 10 of the 40 users" in lines[1]


def test_the_column_of_the_ids_may_be_named_as_in_the_log(files):
    log = FRAME.rename({"item": "product"})
    items = TABLE.rename({"id": "product"})
    run = fitted(files, source=log, item="product", items=items)
    assert run.catalogue.columns[:2] == ["id", "title"]
    assert "title" in run.recommender(items=items).recommend("u1", 3).columns


@pytest.mark.parametrize(
    "items",
    [
        "missing.csv",
        pl.DataFrame({"name": ["tea"], "price": [1]}),
        pl.DataFrame({"id": ["tea", "jam"]}),
    ],
    ids=["missing", "no ids", "another shop"],
)
def test_wrong_tables_are_refused_before_anything_is_written(files, items):
    with refused(DataError):
        fitted(files, items=items)
    assert not (files / "run").exists()
    assert not (files / "run.part").exists()


@pytest.mark.parametrize("command", ["compare", "tune"])
def test_wrong_tables_are_refused_before_anything_is_trained(files, command, caplog):
    call = {"compare": softrec.compare, "tune": softrec.tune}[command]
    with caplog.at_level(logging.INFO), pytest.raises(DataError):
        call(files / "log.csv", out=files / "out", items=TABLE.with_columns(id=pl.lit("x") + "id"),
             model="mf", **({"trials": 1} if command == "tune" else {}))  # fmt: skip
    assert not [text for text in caplog.messages if "epoch" in text]
    assert not list(files.glob("out*"))


def test_a_table_of_another_shop_is_refused_later_too(files):
    with refused(DataError):
        fitted(files).recommender(items=pl.DataFrame({"id": ["tea", "jam"]}))


def test_the_simulated_shop_has_its_own_table(files):
    shop = {"n_items": 40, "n_users": 30, "n_categories": 4, "interests": 2}
    run = fitted(files, source="shop", **{"data.shop": shop})
    assert run.catalogue.table.equals(TABLE)
    table = TABLE.with_columns(title=pl.lit("thing"))
    other = fitted(files, "other", source="shop", **{"data.shop": shop, "items": table})
    assert set(other.catalogue.table["title"]) == {"thing"}


def test_a_comparison_keeps_one_copy(files):
    found = softrec.compare(
        files / "log.csv", out=files / "compared", items=files / "items.csv",
        user_table=files / "users.csv", **TWO,
    )  # fmt: skip
    copies = list(found.folder.rglob("catalogue.parquet"))
    assert len(copies) == 2
    assert copies[0].samefile(copies[1])
    assert len(list(found.folder.rglob("user_table.parquet"))) == 2


def test_a_table_for_slices_alone_does_not_travel(files):
    people = PEOPLE.rename({"id": "who"})
    found = softrec.compare(files / "log.csv", out=files / "compared", user_table=people, **TWO)
    assert not list(found.folder.rglob("user_table.parquet"))


def test_an_update_takes_the_tables_along(files):
    late = pl.col("user").is_in(USERS[:5])
    timed = FRAME.with_columns(time=pl.int_range(pl.len()))
    old = fitted(files, source=timed.filter(~late), items=files / "items.csv", split="time")
    (files / "items.csv").unlink()
    found = softrec.update(old.folder, timed.filter(late), out=files / "new")
    assert found.run.catalogue.table.equals(TABLE)


def test_titles_of_the_shop_differ_and_stay():
    for settings in ({}, {"n_items": 3000, "n_categories": 70}, {"n_items": 9000, "skew": 2.0}):
        table = item_table(make_shop(**settings))
        assert table["title"].n_unique() == len(table)
        assert table.equals(item_table(make_shop(**settings)))
        assert 0.05 < (table["stock"] == 0).mean() < 0.12
        assert (table["price"] > 0).all()
