"""The base class of models that identify users by number and read no history."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softrec.errors import DataError, shown
from softrec.types import Batch, Encoder


class UserEncoder(Encoder):
    """A model with a table of users and a table of items, which does not read the history.

    Args:
        n_items: size N of the catalogue.
        n_users: users of the training log, numbered 0 .. n_users-1.
        dim: width of both tables.
        output_bias: add one number per item to its logit.
        init: "xavier" (uniform, each table by its own size) or "normal" (N(0, std)).
        std: of the initialisation "normal".

    Raises:
        ValueError: if the sizes or `init` are wrong.
    """

    reads = "user"

    def __init__(
        self, n_items: int, n_users: int, dim: int, output_bias: bool, init: str, std: float
    ) -> None:
        super().__init__()
        if n_items < 1 or n_users < 1:
            raise ValueError(
                f"{self.name} needs items and users, got n_items={n_items}, n_users={n_users}"
            )
        self.n_items = n_items
        self.n_users = n_users
        self.user_table = nn.Embedding(n_users, dim)
        # Without a padding row: no history is read, and Xavier's rule counts the rows.
        self.item_table = nn.Embedding(n_items, dim)
        self.bias = nn.Parameter(torch.zeros(n_items)) if output_bias else None
        for table in (self.user_table, self.item_table):
            if init == "xavier":
                nn.init.xavier_uniform_(table.weight)
            elif init == "normal":
                nn.init.normal_(table.weight, std=std)
            else:
                raise ValueError(f"init must be xavier or normal, got {init!r}")

    def known_users(self, batch: Batch) -> Tensor:
        """Return the user of each prediction, (P,), after checking that all are in 0 .. n_users-1.

        Raises:
            DataError: if a user of the batch is not in the training log.
        """
        user = batch.prediction_user
        unknown = (user < 0) | (user >= self.n_users)
        if bool(unknown.any()):
            numbers = user[unknown].unique().tolist()
            raise DataError(
                f"{self.name} knows only the users of its training log, numbered 0 to "
                f"{self.n_users - 1}, but got user {shown(numbers)}; give users of that log, or "
                "train a model that reads histories, such as gru4rec or sasrec"
            )
        return user
