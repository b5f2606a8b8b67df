"""A model that is given as an instance in place of a name."""

from __future__ import annotations

import inspect
from copy import deepcopy
from typing import Any

from softrec.errors import RecipeError
from softrec.types import Encoder


class GivenModel:
    """Makes copies of a given encoder; it is used like the class of a model.

    Each run trains a copy, so that all runs start with the weights of the instance. The instance
    itself is not trained.
    """

    listed = False  # not a name that a user can write

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.kind = type(encoder)

    def __call__(self, n_items: int, *, length: int) -> Encoder:
        """Return a copy of the encoder.

        Args:
            n_items: the size of the catalogue.
            length: the longest history that it will read.

        Raises:
            RecipeError: if the encoder was built for another catalogue or for shorter histories.
        """
        own = getattr(self.encoder, "n_items", None)
        if own is None:
            raise RecipeError(
                f"the {self.encoder.name} given as a model has no n_items; set self.n_items in its "
                "__init__"
            )
        if own != n_items:
            raise RecipeError(
                f"the {self.encoder.name} given as a model was built for {own:,} items, but the "
                f"data have {n_items}; build it with n_items={n_items}, or give the class"
            )
        longest = getattr(self.encoder, "length", None)
        if isinstance(longest, int) and longest < length:
            raise RecipeError(
                f"the {self.encoder.name} given as a model reads {longest} items, but "
                f"training.length is {length}; make them equal"
            )
        return deepcopy(self.encoder)

    def __getattr__(self, name: str) -> Any:
        """Return a capability that the instance declares: reads, needs_times, PRESETS, ..."""
        if name in ("encoder", "kind") or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.encoder, name)


def takes(model: Any, argument: str) -> bool:
    """Return whether the class of a model has an argument, such as "edges"."""
    kind = model.kind if isinstance(model, GivenModel) else model
    return argument in inspect.signature(kind).parameters
