"""Matrix factorisation: a vector for each user and each item, and nothing else."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from softrec.models.users import known_users
from softrec.types import Batch, ItemVectors


class MF(nn.Module):
    """The user vector is a row of a table: h_b = dropout(U[user_b]), scores h_b V^T.

    The history is never read, so the model knows the users of its training log and nobody else.
    A user of the log without a training event keeps the vector of the initialisation.

    Args:
        n_items: size N of the catalogue.
        n_users: users of the training log, numbered 0 .. n_users-1.
        dim: width D of item and user vectors.
        dropout: on the user vectors, in training only.
        output_bias: add one number per item to its logit.
        init: "xavier" (uniform, each table by its own size) or "normal" (N(0, 0.01)).

    Raises:
        DataError: from `users`, if the batch names a user that is not in the table.
        ValueError: if the arguments make no tables.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> model = MF(5, n_users=2, dim=4)
        >>> batch = padded([[0, 3], [1]], 5)
        >>> model.users(batch).shape, model.items().vectors.shape
        (torch.Size([2, 4]), torch.Size([5, 4]))

    Source: Koren et al., "Matrix Factorization Techniques for Recommender Systems", Computer 42(8),
    2009. Preset: "bsl" (Wu et al., "BSL: Understanding and Improving Softmax Loss for
    Recommendation", ICDE 2024).
    """

    reads: ClassVar[Literal["history", "user"]] = "user"

    PRESETS: dict[str, dict[str, Any]] = {
        "bsl": {"dim": 64, "dropout": 0.1, "init": "xavier"},
    }

    def __init__(
        self,
        n_items: int,
        *,
        n_users: int,
        dim: int = 64,
        dropout: float = 0.0,
        output_bias: bool = False,
        init: str = "xavier",
    ) -> None:
        super().__init__()
        if n_items < 1 or n_users < 1:
            raise ValueError(f"MF needs items and users, got n_items={n_items}, n_users={n_users}")
        self.n_items = n_items
        self.n_users = n_users
        self.user_table = nn.Embedding(n_users, dim)
        # Without a padding row: no history is looked up, and Xavier's width counts the rows.
        self.item_table = nn.Embedding(n_items, dim)
        self.bias = nn.Parameter(torch.zeros(n_items)) if output_bias else None
        self.dropout = nn.Dropout(dropout)
        self._initialise(init)

    def _initialise(self, init: str) -> None:
        for table in (self.user_table, self.item_table):
            if init == "xavier":
                nn.init.xavier_uniform_(table.weight)
            elif init == "normal":
                nn.init.normal_(table.weight, std=0.01)
            else:
                raise ValueError(f"init must be xavier or normal, got {init!r}")

    def users(self, batch: Batch) -> Tensor:
        """Return the user vectors, (P, D)."""
        user = known_users(batch, self.n_users, "MF")
        return self.dropout(self.user_table(user))

    def items(self) -> ItemVectors:
        """Return the item vectors and bias."""
        return ItemVectors(self.item_table.weight, self.bias)
