"""What users took, kept as what is needed to reach all the other items by number.

Of a user's items k_0 < k_1 < ..., k_j - j others lie below k_j. The other number r, counted from 0,
is therefore the item r + #{j : k_j - j <= r}: one binary search, and no table of users x items.
Training draws negatives with it, and so does evaluation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Taken(NamedTuple):
    """The items each user took, distinct and in order.

    Example:
        >>> user, item = torch.tensor([0, 0, 1]), torch.tensor([3, 0, 1])
        >>> taken = Taken.of(user, item, n_users=2, n_items=4)
        >>> taken.free(torch.tensor([0, 1])).tolist()
        [2, 3]
        >>> taken.others(torch.tensor([0, 1]), torch.tensor([[0, 1], [0, 2]])).tolist()
        [[1, 2], [0, 3]]
    """

    n_items: int
    offsets: Tensor  # (U + 1,) int64
    below: Tensor  # (total,) int64, user (N + 1) + k_j - j, ascending

    @classmethod
    def of(cls, user: Tensor, item: Tensor, n_users: int, n_items: int) -> Taken:
        """Return the items of pairs (user, item), (E,) int64 each, in any order, repeats once."""
        pairs = (user * n_items + item).unique()
        owner = pairs // n_items
        counts = owner.bincount(minlength=n_users)
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        rank = torch.arange(len(pairs), device=pairs.device) - offsets[owner]
        return cls(n_items, offsets, owner * (n_items + 1) + pairs % n_items - rank)

    def to(self, device: torch.device) -> Taken:
        """Return the same on a device."""
        return Taken(self.n_items, self.offsets.to(device), self.below.to(device))

    def free(self, user: Tensor) -> Tensor:
        """Return how many items users (P,) did not take, (P,) int64."""
        return self.n_items - self.offsets[user + 1] + self.offsets[user]

    def others(self, user: Tensor, number: Tensor) -> Tensor:
        """Return the items that are the `number`-th, from 0, of those users did not take, (P, M).

        Args:
            user: (P,) int64.
            number: (P, M) int64, below `free(user)`.
        """
        found = torch.searchsorted(
            self.below, user[:, None] * (self.n_items + 1) + number, right=True
        )
        return number + found - self.offsets[user][:, None]
