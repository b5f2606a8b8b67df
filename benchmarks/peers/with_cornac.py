"""BPR of Cornac: a step of SGD for each event, in Cython."""

from __future__ import annotations

from typing import Any

import numpy as np
from cornac.data import Dataset
from cornac.models import BPR


class Factors:
    """Matrix factorisation with BPR."""

    def __init__(self, data: Any, sizes: dict[str, Any]) -> None:
        self.data = data
        users, items = (data.train[name].to_numpy() for name in ("user", "item"))
        self.events = Dataset(
            data.n_users, data.n_items,
            {n: n for n in range(data.n_users)}, {n: n for n in range(data.n_items)},
            (users, items, np.ones(len(users), np.float32)), seed=0,
        )  # fmt: skip
        self.model = BPR(
            k=sizes["dim"], max_iter=1, learning_rate=sizes["sgd_lr"], lambda_reg=sizes["sgd_l2"],
            num_threads=sizes["threads"],
        )  # fmt: skip

    def train(self, turns: Any) -> None:
        """Train; each call of `fit` begins with the factors of the last."""
        for number in turns:
            if number:
                model = self.model
                model.init_params = {
                    "U": model.u_factors,
                    "V": model.i_factors,
                    "Bi": model.i_biases,
                }
            self.model.fit(self.events)

    def lists(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the test users and their top-k items, from the scores of a user at a time."""
        seen = dict(self.data.before_test.group_by("user").agg("item").iter_rows())
        found = np.empty((len(self.data.test_users), k), np.int64)
        for place, user in enumerate(self.data.test_users):
            scores = np.array(self.model.score(int(user)))
            scores[seen[int(user)]] = -np.inf
            best = np.argpartition(-scores, k)[:k]
            found[place] = best[np.argsort(-scores[best])]
        return self.data.test_users, found


TASKS = {"mf": Factors}
