"""The simple baselines by their definitions, with loops over sequences and in float64.

They are slow; the tests compare the models of `softrec.models.counted` with them. The argument
`lists` has the training sequences of all users.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Lists = Sequence[Sequence[int]]


def summed(similar: np.ndarray, history: Sequence[int], recency: float) -> np.ndarray:
    """Return sum_t recency^(n - t) similar[h_t], (N,).

    Example:
        >>> summed(np.array([[0.0, 1.0], [2.0, 0.0]]), [0, 1], 0.5).tolist()
        [2.0, 0.5]
    """
    scores = np.zeros(len(similar))
    for step, item in enumerate(reversed(history)):
        scores += recency**step * similar[item]
    return scores


def cut(similar: np.ndarray, k: int) -> np.ndarray:
    """Return the table with only the k largest numbers of each row, without the diagonal."""
    kept = np.zeros_like(similar)
    for row, values in enumerate(similar):
        others = [(value, -item) for item, value in enumerate(values) if item != row]
        for value, item in sorted(others, reverse=True)[:k]:
            kept[row, -item] = value
    return kept


def item_similarity(
    lists: Lists, n_items: int, *, kind: str, power: float, shrinkage: float
) -> np.ndarray:
    """Return n_ij / (n_i^a n_j^p + s), (N, N): see `softrec.models.counted.item_knn.ItemKNN`."""
    having = [{user for user, items in enumerate(lists) if i in items} for i in range(n_items)]
    found = np.zeros((n_items, n_items))
    for i, own in enumerate(having):
        for j, other in enumerate(having):
            if own & other:
                a = 1 - power if kind == "cosine" else 1
                scale = len(own) ** a * len(other) ** power + shrinkage
                found[i, j] = len(own & other) / scale
    return found


def walks(lists: Lists, n_items: int, *, alpha: float, beta: float) -> np.ndarray:
    """Return the weights of RP3beta, (N, N)."""
    sets = [set(items) for items in lists]
    counts = [sum(i in items for items in sets) for i in range(n_items)]
    found = np.zeros((n_items, n_items))
    for items in sets:
        for i in items:
            for j in items:
                step = (1 / counts[i]) ** alpha * (1 / len(items)) ** alpha
                found[i, j] += step / counts[j] ** beta
    return found


def transitions(lists: Lists, n_items: int, steps: int) -> np.ndarray:
    """Return the fractions of the items that followed an item; at distance d a pair counts 1/d."""
    found = np.zeros((n_items, n_items))
    for items in lists:
        for place, item in enumerate(items):
            for apart, other in enumerate(items[place + 1 : place + 1 + steps], 1):
                found[item, other] += 1 / apart
    totals = found.sum(1, keepdims=True)
    return found / np.where(totals > 0, totals, 1)


def autoencoder(lists: Lists, n_items: int, l2: float) -> np.ndarray:
    """Return the item weights of EASE, each column a ridge regression on all other items."""
    table = np.zeros((len(lists), n_items))
    for user, items in enumerate(lists):
        table[user, list(items)] = 1
    found = np.zeros((n_items, n_items))
    for j in range(n_items):
        others = [i for i in range(n_items) if i != j]
        known = table[:, others]
        ridge = known.T @ known + l2 * np.eye(len(others))
        found[others, j] = np.linalg.solve(ridge, known.T @ table[:, j])
    return found


def votes(
    lists: Lists,
    n_items: int,
    history: Sequence[int],
    user: int,
    *,
    k: int,
    last: int,
    recency: float,
) -> np.ndarray:
    """Return the votes of the k sequences that are most similar to a history, of all, (N,)."""
    weights: dict[int, float] = {}
    for step, item in enumerate(reversed(history[-last:])):
        weights[item] = weights.get(item, 0.0) + recency**step
    similar = []
    for other, items in enumerate(map(set, lists)):
        shared = sum(weight for item, weight in weights.items() if item in items)
        if shared > 0 and other != user:
            similar.append((shared / math.sqrt(len(items)), other))
    scores = np.zeros(n_items)
    for value, other in sorted(similar, reverse=True)[:k]:
        scores[list(set(lists[other]))] += value
    return scores
