"""What a log may be called beside the path of a file, and the error about any other name."""

from __future__ import annotations

from collections.abc import Iterable

from softrec.errors import DataError, one_line

SHOP = "shop"
"""The name of the data source that simulates its log."""


def no_source(source: str, data_sets: Iterable[str]) -> DataError:
    """Return the error about a log that is neither a file nor a folder nor a data set."""
    return DataError(
        f"there is no file, folder or data set {one_line(repr(source), 200)}; the data sets are "
        f"{', '.join([SHOP, *data_sets])}"
    )
