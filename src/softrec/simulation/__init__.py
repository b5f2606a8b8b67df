"""A simulated shop whose true next-item distribution is known, and the log of its users."""

from softrec.simulation.goods import item_table
from softrec.simulation.log import simulate
from softrec.simulation.shop import Shop, make_shop
from softrec.simulation.truth import (
    Expected,
    best_items,
    best_ranks,
    expected_metrics,
    next_item,
)

__all__ = ["Expected", "Shop", "best_items", "best_ranks", "expected_metrics",
           "item_table", "make_shop", "next_item", "simulate"]  # fmt: skip
