"""Recommenders that the tests of the service ask, small and made at once."""

import numpy as np
import polars as pl
import torch

from softrec.data.interactions import Interactions
from softrec.models.comirec import ComiRecSA
from softrec.models.mf import MF
from softrec.models.sasrec import SASRec
from softrec.serving.catalogue import Catalogue
from softrec.serving.recommender import Recommender

TEAS = ["assam", "ceylon", "darjeeling", "earl grey", "fujian", "gyokuro", "hojicha", "irish"]
N_ITEMS, N_USERS, LENGTH = len(TEAS), 6, 4
MODELS = {
    "sasrec": lambda: SASRec(N_ITEMS, dim=4, length=LENGTH, layers=1, heads=1),
    "comirec-sa": lambda: ComiRecSA(N_ITEMS, dim=4, length=LENGTH, interests=2),
    "mf": lambda: MF(N_ITEMS, n_users=N_USERS, dim=4),
}


def teas() -> Interactions:
    """Users u0 .. u5, each with three or more of the teas; the last has all of them."""
    generator = np.random.default_rng(3)
    rows = [(f"u{n}", tea) for n in range(N_USERS - 1) for tea in generator.permutation(TEAS)[:3]]
    rows += [(f"u{N_USERS - 1}", tea) for tea in TEAS]
    return Interactions.read(pl.DataFrame(rows, schema=["user", "item"], orient="row"))


def numbered() -> Interactions:
    """Users 0 .. 5 and items 0 .. 7, as whole numbers."""
    rows = [(user, item) for user in range(N_USERS) for item in range(user, user + 3)]
    return Interactions.read(
        pl.DataFrame(
            [*rows, *((0, item) for item in range(N_ITEMS))], schema=["user", "item"], orient="row"
        )
    )


def table(**columns: list[object]) -> Catalogue:
    """Return a table of the teas, with titles in capital letters unless others are given."""
    return Catalogue(pl.DataFrame({"id": TEAS, "title": [tea.title() for tea in TEAS]} | columns))


def shop(
    model: str = "sasrec",
    log: Interactions | None = None,
    seed: int = 1,
    catalogue: Catalogue | None = None,
) -> Recommender:
    """Return a recommender with random weights."""
    torch.manual_seed(seed)
    return Recommender(MODELS[model](), log or teas(), length=LENGTH, catalogue=catalogue)
