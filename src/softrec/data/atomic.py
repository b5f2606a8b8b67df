"""The atomic files of RecBole: text with tabs, whose header gives each column a type."""

from __future__ import annotations

import re

import polars as pl

from softrec.errors import DataError, one_line

ENDING = ".inter"
TYPES = ("token", "token_seq", "float", "float_seq")
# Polars numbers columns that occur twice.
TYPED = re.compile(rf"(.+):(?:{'|'.join(TYPES)})((?:_duplicated_[0-9]+)?)")


def without_types(lazy: pl.LazyFrame, place: str) -> pl.LazyFrame:
    """Return the table with `user_id:token` as `user_id`.

    Raises:
        DataError: if a column has no type, or another one.
    """
    names = lazy.collect_schema().names()
    found = [TYPED.fullmatch(name) for name in names]
    for name, typed in zip(names, found, strict=True):
        if typed is None:
            raise DataError(
                f"{place}: column {one_line(repr(name), 60)} of an atomic file has no type of "
                "RecBole; expected names with tabs between them, such as user_id:token and "
                f"timestamp:float, with the types {', '.join(TYPES)}; or give a table without "
                "types the ending .tsv"
            )
    return lazy.rename({typed[0]: typed[1] + typed[2] for typed in found if typed})
