"""BPR of implicit: a step of SGD for each event, in C++."""

from __future__ import annotations

from typing import Any

import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix


class Factors:
    """Matrix factorisation with BPR."""

    def __init__(self, data: Any, sizes: dict[str, Any]) -> None:
        self.data = data
        shape = data.n_users, data.n_items
        self.train_matrix, self.seen = (
            csr_matrix((np.ones(len(part), np.float32), (part["user"], part["item"])), shape)
            for part in (data.train, data.before_test)
        )
        self.model = BayesianPersonalizedRanking(
            factors=sizes["dim"], learning_rate=sizes["sgd_lr"], regularization=sizes["sgd_l2"],
            iterations=1, num_threads=sizes["threads"], random_state=0,
        )  # fmt: skip

    def train(self, turns: Any) -> None:
        """Train; each call of `fit` goes on with the factors of the last."""
        for _ in turns:
            self.model.fit(self.train_matrix, show_progress=False)

    def lists(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the test users and their top-k items."""
        users = self.data.test_users
        items, _ = self.model.recommend(users, self.seen[users], N=k)
        return users, items


TASKS = {"mf": Factors}
