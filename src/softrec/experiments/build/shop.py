"""The simulated shop of a recipe, and its log."""

from __future__ import annotations

from softrec.data.interactions import Interactions
from softrec.recipe.specs.data import SIMULATION, DataSettings
from softrec.simulation import Shop, make_shop, simulate


def shop_of(spec: DataSettings) -> Shop:
    """Return the simulated shop of `spec`, whose true distribution is known."""
    return make_shop(**{k: v for k, v in spec.shop.items() if k not in SIMULATION})


def simulated(spec: DataSettings) -> Interactions:
    """Return the log of the simulated shop."""
    settings = {k: v for k, v in spec.shop.items() if k in SIMULATION}
    return simulate(shop_of(spec), seed=spec.shop.get("seed", 0), **settings)
