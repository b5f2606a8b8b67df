"""What a server needs of a recommender, without torch.

`Recommender` has all of it, and so has whatever else is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import polars as pl

if TYPE_CHECKING:
    from softrec.data.interactions import Interactions


@runtime_checkable
class Service(Protocol):
    """Recommends items of a catalogue, by raw ids."""

    name: str  # of the model

    @property
    def log(self) -> Interactions:
        """Return the vocabularies of users and items; its events are not asked for."""
        ...

    def recommend(
        self,
        users: object = None,
        k: int = 10,
        *,
        histories: object = None,
        mask_seen: bool | None = None,
        why: bool = False,
    ) -> pl.DataFrame:
        """Return a table with columns user, rank, item, score: see `Recommender.recommend`."""
        ...

    def interests(
        self,
        users: object = None,
        *,
        histories: object = None,
        items: int = 5,
        mask_seen: bool | None = None,
    ) -> pl.DataFrame:
        """Return a table with columns user, interest, weight, items, or raise `DataError`."""
        ...


def titles_of(service: Any) -> pl.Series | None:
    """Return the titles of the N items by their numbers; None if the service has none."""
    catalogue = getattr(service, "catalogue", None)
    if catalogue is None or "title" not in catalogue.columns:
        return None
    return catalogue["title"]
