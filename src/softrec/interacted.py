"""The items that users interacted with, stored so that the r-th of all other items is found fast.

Let k_0 < k_1 < ... be the items of a user. Then k_j - j of the other items are smaller than k_j. So
the r-th other item, counted from 0, is r + #{j : k_j - j <= r}. This takes one binary search, and
no table of users x items. Training and evaluation sample negatives with it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Interacted(nn.Module):
    """The items that each user interacted with; the negatives of a user are all other items.

    Args:
        user: (E,) int64, of pairs (user, item) in any order; repeats count once.
        item: (E,) int64.
        n_users: U; users are 0 .. U-1.
        n_items: N.

    Example:
        >>> user, item = torch.tensor([0, 0, 1]), torch.tensor([3, 0, 1])
        >>> seen = Interacted(user, item, n_users=2, n_items=4)
        >>> seen.n_negatives(torch.tensor([0, 1])).tolist()
        [2, 3]
        >>> seen.nth_negative(torch.tensor([0, 1]), torch.tensor([[0, 1], [0, 2]])).tolist()
        [[1, 2], [0, 3]]
    """

    offsets: Tensor  # (U + 1,) int64
    below: Tensor  # (total,) int64, user (N + 1) + k_j - j, ascending

    def __init__(self, user: Tensor, item: Tensor, n_users: int, n_items: int) -> None:
        super().__init__()
        self.n_items = n_items
        pairs = (user * n_items + item).unique()
        owner = pairs // n_items
        counts = owner.bincount(minlength=n_users)
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        rank = torch.arange(len(pairs), device=pairs.device) - offsets[owner]
        below = owner * (n_items + 1) + pairs % n_items - rank
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("below", below, persistent=False)

    def n_negatives(self, user: Tensor) -> Tensor:
        """Return how many items users (P,) did not interact with, (P,) int64."""
        return self.n_items - self.offsets[user + 1] + self.offsets[user]

    def nth_negative(self, user: Tensor, number: Tensor) -> Tensor:
        """Return the negatives of users with the given numbers, counted from 0, (P, M) int64.

        Args:
            user: (P,) int64.
            number: (P, M) int64, below `n_negatives(user)`.
        """
        found = torch.searchsorted(
            self.below, user[:, None] * (self.n_items + 1) + number, right=True
        )
        return number + found - self.offsets[user][:, None]

    def nth_item(self, user: Tensor, number: Tensor) -> Tensor:
        """Return the items of users with the given numbers, counted from 0, (P, M) int64.

        Args:
            user: (P,) int64.
            number: (P, M) int64, below the number of items of the user.

        Example:
            >>> user, item = torch.tensor([0, 0, 1]), torch.tensor([3, 0, 1])
            >>> seen = Interacted(user, item, n_users=2, n_items=4)
            >>> seen.nth_item(torch.tensor([0]), torch.tensor([[0, 1]])).tolist()
            [[0, 3]]
        """
        below = self.below[self.offsets[user][:, None] + number]
        return below - user[:, None] * (self.n_items + 1) + number
