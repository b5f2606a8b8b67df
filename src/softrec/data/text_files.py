"""Text files that are no CSV as softrec reads it, and what to do about each."""

from __future__ import annotations

import codecs
from pathlib import Path

import polars as pl

from softrec.errors import DataError

MARK = codecs.BOM_UTF8
SIGNS = (";", "\t", "|", ",")
"""What may stand between columns; the first that occurs is named."""
# The first bytes of files whose name says text by mistake, what they are, and what to do.
OTHERS = {
    b"\x1f\x8b": ("compressed by gzip", "call it {name}.gz"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "call it {name}.zst"),
    b"\xfd7zXZ\0": ("compressed by xz", "call it {name}.xz"),
    b"PK\3\4": ("a zip archive, or a table of Excel", "unpack it, or save it as CSV in UTF-8"),
    b"PAR1": ("a Parquet file", "call it {stem}.parquet"),
    b"ARROW1": ("an Arrow file", "call it {stem}.arrow"),
}


def has_mark(path: Path) -> bool:
    """Return whether a text begins with the mark of UTF-8; Polars skips it in CSV alone."""
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK


def check_encoding(path: Path) -> None:
    """Refuse a file that is no text in UTF-8, and say what it is.

    Raises:
        DataError: if it is compressed, a table of another kind, or in UTF-16.
    """
    with path.open("rb") as file:
        head = file.read(256)
    for start, (what, fix) in OTHERS.items():
        if head.startswith(start):
            fix = fix.format(name=path.name, stem=path.stem)
            raise DataError(f"{path} is {what}, but its ending says that it is text; {fix}")
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in head:
        raise DataError(
            f"{path} is in UTF-16, but softrec reads UTF-8; save it as UTF-8, for instance by "
            "`iconv -f UTF-16 -t UTF-8`"
        )


def check_separator(lazy: pl.LazyFrame, present: list[str], place: str) -> None:
    """Refuse a file with one column that would have several columns with another separator.

    Its first row is read only if the name of the column does not tell: a row of `1;2;3,5` under
    `user;item;time` has more commas than the header, and cannot be read.

    Raises:
        DataError: if it is such a file.
    """
    if len(present) > 1:
        return
    other = _sign("".join(present))
    if other is None:
        other = _sign("".join(map(str, lazy.head(1).collect().row(0, named=False) or ())))
    if other is not None:
        raise DataError(
            f"{place} has one column, and {other!r} occurs in it: softrec reads commas in .csv "
            "and tabs in .tsv; save it with these, or in Python pass polars.read_csv(..., "
            f"separator={other!r}, infer_schema=False)"
        )


def _sign(text: str) -> str | None:
    return next((sign for sign in SIGNS if sign in text), None)
