"""Matrix factorisation: a vector for each user and each item."""

from __future__ import annotations

from typing import Any, ClassVar

from softrec.models.dropout import Dropout
from softrec.models.registry import MODELS
from softrec.models.users import UserEncoder
from softrec.types import Batch, ItemVectors, Vectors


@MODELS.named("mf")
class MF(UserEncoder):
    """The user vector is a row of a table: h_b = dropout(U[user_b]), scores h_b V^T.

    The history is never read, so the model can only score items for users of its training log. The
    vector of a user without a training event is never trained.

    Args:
        n_items: size N of the catalogue.
        n_users: users of the training log, numbered 0 .. n_users-1.
        dim: width D of item and user vectors.
        dropout: on the user vectors, in training only.
        output_bias: add one number per item to its logit.
        init: "xavier" (uniform, each table by its own size) or "normal" (N(0, 0.01)).

    Raises:
        DataError: from `forward`, if a user of the batch is not in the table.
        ValueError: if the sizes or `init` are wrong.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> model = MF(5, n_users=2, dim=4)
        >>> batch = padded([[0, 3], [1]], 5)
        >>> vectors = model(batch)
        >>> vectors.users.shape, vectors.items.vectors.shape
        (torch.Size([2, 4]), torch.Size([5, 4]))

    Defaults: width and initialisation of BSL, without dropout; RecBole's BPR has dim 64, too, that
    of implicit 100. Softmax losses have cosines at temperature 0.2, which were 11 to 28 % better on
    three logs than inner products (docs/log.md).

    Source: Koren et al., "Matrix Factorization Techniques for Recommender Systems", Computer 42(8),
    2009. Preset: "bsl" (Wu et al., "BSL: Understanding and Improving Softmax Loss for
    Recommendation", ICDE 2024).
    """

    DEFAULTS: ClassVar[dict[str, dict[str, Any]]] = {
        "loss": {"score": "cosine", "score_temperature": 0.2}
    }
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
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
        super().__init__(n_items, n_users, dim, output_bias, init, std=0.01)
        self.dropout = Dropout(dropout)

    def items(self) -> ItemVectors:
        """Return the item vectors and bias."""
        return ItemVectors(self.item_table.weight, self.bias)

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the user vectors (P, D) and the items."""
        users = self.dropout(self.user_table(self.known_users(batch)))
        return Vectors(users, items or self.items())
