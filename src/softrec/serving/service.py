"""What a server needs of a recommender, without torch.

`Recommender` has all of it, and so has whatever else is served.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import polars as pl

if TYPE_CHECKING:
    from softrec.data.interactions import Interactions
    from softrec.serving.rules import Rules


@runtime_checkable
class Service(Protocol):
    """Recommends items of a catalogue, by raw ids."""

    name: str  # of the model
    mask_seen: bool  # items of the history are left out by default

    @property
    def catalogue(self) -> pl.DataFrame | None:
        """Return the table of the items by their numbers, perhaps with titles; None without."""
        ...

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
        rules: Rules | None = None,
    ) -> pl.DataFrame:
        """Return a table with columns user, rank, item, score: see `Recommender.recommend`."""
        ...

    def similar(
        self,
        items: object,
        k: int = 10,
        *,
        weights: Sequence[float] | None = None,
        rules: Rules | None = None,
    ) -> pl.DataFrame:
        """Return a table with columns similar_to, rank, item, score, or raise `DataError`."""
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


def titles_of(service: Service) -> pl.Series | None:
    """Return the titles of the N items by their numbers; None if the service has none."""
    catalogue = service.catalogue
    if catalogue is None or "title" not in catalogue.columns:
        return None
    return catalogue["title"]
