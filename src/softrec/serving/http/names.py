"""Ids and titles of the items, to be searched as one types."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from softrec.serving.service import Service, titles_of


@dataclass(frozen=True)
class Names:
    """The items of a service by their numbers.

    Args:
        ids: (N,) raw ids.
        titles: (N,), null where an item has none; None if no item has one.
        lower: (N,) id and title in small letters, a line each.
    """

    ids: pl.Series
    titles: pl.Series | None
    lower: pl.Series

    @classmethod
    def of(cls, service: Service) -> Names:
        """Return the names of a service's items."""
        ids, titles = service.log.items.raw, titles_of(service)
        lines = ids.cast(pl.String)
        if titles is not None:
            lines = lines + "\n" + titles.cast(pl.String).fill_null("")
        return cls(ids, titles, lines.str.to_lowercase())

    def search(self, text: str, offset: int, limit: int) -> tuple[int, list[dict[str, object]]]:
        """Return how many items have the text in their id or title, and a page of them.

        Items whose id or title begins with it come first, otherwise in the order of the catalogue.

        Args:
            text: upper and lower case do not matter; all items if it is empty.
            offset: how many items to skip.
            limit: how many items to return.
        """
        wanted = " ".join(text.lower().split())
        if not wanted:
            places = np.arange(offset, min(offset + limit, len(self.ids)))
            return len(self.ids), self.told(places)
        found = self.lower.str.contains(wanted, literal=True).arg_true()
        lines = self.lower.gather(found)
        first = lines.str.starts_with(wanted) | lines.str.contains(f"\n{wanted}", literal=True)
        order = np.argsort(~first.to_numpy(), kind="stable")
        return len(found), self.told(found.to_numpy()[order][offset : offset + limit])

    def told(self, places: np.ndarray) -> list[dict[str, object]]:
        """Return id and, if there are titles, title of some items by their numbers."""
        ids = self.ids[places].to_list()
        if self.titles is None:
            return [{"item": raw} for raw in ids]
        titles = self.titles[places].to_list()
        return [{"item": raw, "title": title} for raw, title in zip(ids, titles, strict=True)]
