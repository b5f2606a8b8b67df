"""Conditions in SQL: what they select, and that nothing but the table can be reached."""

import datetime
from contextlib import suppress

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.errors import RulesError
from softrec.serving.where import chosen

DAY = datetime.date
TABLE = pl.DataFrame(
    {
        "id": ["a", "b", "c"],
        "category": ["shoes", "hats", None],
        "stock": [1, 0, 5],
        "since": [None, DAY(2020, 1, 1), DAY(2021, 1, 1)],
        "new": [True, False, None],
        "date": [1, 2, 3],
        "select": [1, 2, 3],
        "two words": [1, 2, 3],
        'with "quotes"': [1, 2, 3],
        "from": ["x", "y", "z"],
    }
)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("category = 'shoes' and stock > 0", "a"),
        ("category == 'shoes' AND stock>0", "a"),
        ("category != 'shoes'", "b"),
        ("category is null", "c"),
        ("not category is null", "ab"),
        ("category IN ('shoes', 'hats')", "ab"),
        ("category like 's%'", "a"),
        ("category ilike 'S%'", "a"),
        ("lower(category) = 'shoes'", "a"),
        ("starts_with(category, 'h') or stock between 4 and 6", "bc"),
        ("coalesce(category, 'none') = 'none'", "c"),
        ("length(category) > 4", "a"),
        ("(stock + 1) * 2 >= 4 and -stock > -5", "a"),
        ("stock - -1 = 2", "a"),
        ("round(stock / 3, 1) > 0.2", "ac"),
        ("since > DATE '2020-06-01'", "c"),
        ("new", "a"),
        ("not new", "b"),
        ("date > 1", "bc"),
        ("select > 2", "c"),
        ("from = 'y'", "b"),
        ('"two words" = 1', "a"),
        ('"with ""quotes""" = 3', "c"),
        ("category = 'it''s; -- /* no comment */'", ""),
        ("category = 'select * from read_csv(1)'", ""),
        ("1 = 1", "abc"),
        ("true", "abc"),
        ("false", ""),
    ],
)
def test_conditions(where, rows):
    assert "".join(TABLE["id"].filter(pl.Series(chosen(TABLE, where)))) == rows


@pytest.mark.parametrize(
    "where",
    [
        "price > 3",
        "stock",
        "null",
        "'shoes'",
        "category > 3",
        "stock > 'many'",
        "since > '2020-06-01'",
        'category = "shoes"',
        "",
        "stock >",
        "stock > 1 and",
        "stock > 1, true",
        "stock > 1; drop table items",
        "stock > 0 -- comment",
        "stock > 0 /* comment */",
        "stock > 0 as x",
        "sum(stock) > 1",
        "count(*) > 1",
        "*",
        "stock > 1 order by id",
        "case when new then true end",
        "E'a' = 'a'",
        r"category = 'a\' or true'",
        "`two words` = 1",
        "$$a$$ = 'a'",
        "items.stock > 1",
        "(" * 100 + "new" + ")" * 100,
        "new" + " or new" * 600,
    ],
)
def test_what_is_no_condition(where):
    with refused(RulesError):
        chosen(TABLE, where)


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.csv"
    path.write_text("password\na\nb\n")
    return path


@pytest.mark.parametrize(
    "where",
    [
        "id in (select id from read_csv('PATH'))",
        "id IN (SELECT id FROM 'PATH')",
        'id in ("select" id "from" read_csv(\'PATH\'))',
        "exists (select id from read_csv('PATH'))",
        "id = (select id from read_csv('PATH') limit 1)",
        "read_csv('PATH') is not null",
        "\"read_csv\"('PATH') is not null",
        "id in (from read_csv('PATH'))",
        "id = any (select id from read_csv('PATH'))",
        "new) union select true from read_csv('PATH'",
    ],
)
def test_no_file_can_be_read(where, secret):
    sql = where.replace("PATH", str(secret))
    with pytest.raises(RulesError) as caught:
        chosen(TABLE, sql)
    assert "password" not in str(caught.value)


def test_the_first_of_them_is_a_real_danger(secret):
    with pytest.raises(pl.exceptions.ColumnNotFoundError) as caught:
        TABLE.select(pl.sql_expr(f"id in (select id from read_csv('{secret}'))"))
    assert "password" in str(caught.value)


SIGNS = list("()=<>,+-*/%'\";\\.`$")
WORDS = ["id", "stock", "select", "from", "in", "and", "not", "null", "read_csv", "date", "lower"]
PIECES = [*SIGNS, *WORDS, "'a'", '"id"', "1", "--", "new", "case", "cast", "is", "like"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join) | st.text(max_size=30))
def test_any_text_is_a_condition_or_refused(where):
    with suppress(RulesError):
        assert chosen(TABLE, where).shape == (3,)
