"""item2vec: vectors learned from the log, similar for items that occur in the same sequences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from softrec.data.interactions import Sequences
from softrec.extras import require

LONGEST = 10_000  # gensim ignores the rest of a longer sentence, so longer ones are split


def item_vectors(
    sequences: Sequences,
    n_items: int,
    *,
    dim: int = 128,
    window: int | None = None,
    negatives: int = 5,
    exponent: float = 0.75,
    epochs: int = 10,
    seed: int = 0,
    min_count: int = 1,
    sample: float = 0.0,
) -> np.ndarray:
    r"""Return item2vec vectors (N, D) float32: skip-gram with negative sampling on sequences.

    Formula: with input vectors v and output vectors v', maximise over all pairs (i, j) of items
    at most `window` places apart in a sequence
    log sigmoid(v_i . v'_j) + sum_n log sigmoid(-v_i . v'_n), where `negatives` items n are sampled
    in proportion to count^exponent. The rows of the result are v.

    An item that never occurs near another one, or fewer than `min_count` times, has the zero
    vector.

    One thread trains, so that the same sequences and seed give the same vectors on the same
    machine. Several threads would be faster, but they update the vectors in random order. With the
    whole sequence as window, a sequence of length L has L^2 pairs per epoch: for logs with
    histories of many hundreds of items choose a smaller `window`.

    Args:
        sequences: the training part, item numbers 0 .. N-1.
        n_items: N, the size of the catalogue.
        dim: D, the width of the vectors.
        window: the largest distance of two items of a pair; nearer pairs are not preferred. None
            for the whole sequence, as in the paper for sets.
        negatives: negative items sampled for each pair.
        exponent: power of the counts in the distribution of negatives.
        epochs: passes over the sequences; the learning rate decreases from 0.025 to 0.0001.
        seed: of the initial vectors and of all random choices.
        min_count: leave out items that occur fewer times.
        sample: rho; an occurrence of an item of frequency f is left out with probability
            1 - sqrt(rho/f) - rho/f; 0 keeps all.

    Raises:
        SoftrecError: if gensim is not installed.
        ValueError: if a sequence has an item that is not in 0 .. N-1, or a size is below 1.

    Example:
        >>> log = Sequences.of([[0, 1], [1, 0], [2]])
        >>> vectors = item_vectors(log, 4, dim=8, epochs=1)
        >>> vectors.shape, vectors.any(axis=1).tolist()
        ((4, 8), [True, True, False, False])

    Source: Barkan & Koenigstein, "Item2Vec: Neural Item Embedding for Collaborative Filtering",
    MLSP 2016. The neighbours of Cheng et al., SIGIR 2021, are found with such vectors.
    """
    sizes = {"dim": dim, "negatives": negatives, "epochs": epochs, "min_count": min_count}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    if window is not None and window < 1:
        raise ValueError(f"window must be at least 1, or None for the whole sequence, got {window}")
    items = sequences.items
    if len(items) and not 0 <= items.min() <= items.max() < n_items:
        raise ValueError(
            f"items are numbered 0 to {n_items - 1}, got {items.min()} to {items.max()}"
        )
    train = _word2vec()
    vectors = np.zeros((n_items, dim), dtype=np.float32)
    longest = min(int(sequences.lengths.max(initial=0)), LONGEST)
    model = train(
        vector_size=dim,
        window=window or max(longest, 1),
        shrink_windows=False,
        sg=1,
        hs=0,
        negative=negatives,
        ns_exponent=exponent,
        min_count=min_count,
        sample=sample,
        epochs=epochs,
        seed=seed,
        workers=1,
    )
    corpus = Sentences(sequences, [str(item) for item in range(n_items)])
    model.build_vocab(corpus)
    if not len(model.wv):
        return vectors
    model.train(corpus, total_examples=model.corpus_count, epochs=epochs)
    vectors[[int(name) for name in model.wv.index_to_key]] = model.wv.vectors
    return vectors


class Sentences:
    """The sequences as lists of at most `longest` names, one at a time; iterated once per epoch.

    They are names, because gensim would take a number as the rank of a word, and would sample
    negatives by the counts of other items.
    """

    def __init__(self, sequences: Sequences, names: list[str], longest: int = LONGEST) -> None:
        self.sequences = sequences
        self.longest = longest
        self.names = names

    def __iter__(self) -> Iterator[list[str]]:
        offsets = self.sequences.offsets
        for user in np.flatnonzero(self.sequences.lengths > 1):  # a single item has no pair
            for begin in range(offsets[user], offsets[user + 1], self.longest):
                stop = min(begin + self.longest, offsets[user + 1])
                yield [self.names[item] for item in self.sequences.items[begin:stop].tolist()]


def _word2vec() -> Any:
    return require("gensim.models", "item2vec").Word2Vec
