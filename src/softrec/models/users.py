"""Users of models that know them by number, not by what they took."""

from __future__ import annotations

from torch import Tensor

from softrec.errors import DataError, shown
from softrec.types import Batch


def known_users(batch: Batch, n_users: int, model: str) -> Tensor:
    """Return the user of each prediction, (P,), all of them in 0 .. n_users-1.

    Raises:
        DataError: if the batch names a user that `model` has never seen.
    """
    user = batch.user if batch.row is None else batch.user[batch.row]
    strangers = (user < 0) | (user >= n_users)
    if bool(strangers.any()):
        numbers = user[strangers].unique().tolist()
        raise DataError(
            f"{model} knows only the users of its training log, numbered 0 to {n_users - 1}, "
            f"and was asked for user {shown(numbers)}; ask for users of that log, or train a "
            "model that reads histories, such as gru4rec or sasrec"
        )
    return user
