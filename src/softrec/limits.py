"""How much is held at a time, and from which size on the cheaper way is taken: memory and speed.

Results are the same whatever the limits, up to rounding; but a search that is not exact finds other
neighbours, and fewer rounds of `wishes` draw another log. Where memory is short:

    with limited(encoded=64, scores=2**20):
        run.recommend(...)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Limits:
    """The limits that hold now; the defaults were measured on one core."""

    encoded: int = 1024
    """Histories that a model reads at once outside training."""
    scores: int = 48 * 2**20
    """Bytes of a block of scores, about a last-level cache."""
    gathered: int = 2**21
    """Numbers of the item vectors of a block of pairs: 8 MiB in single precision."""
    cases: int = 2**16
    """Cases whose given lists are looked at at once."""
    negatives: int = 2 * 2**20
    """Bytes of the vectors of drawn negatives: they stay in the cache until they are multiplied."""
    intervals: int = 2**18
    """Numbers of a block of queries by time intervals, on a CPU."""
    products: int = 2**22
    """Terms of a block of a product of sparse tables: with their places some 150 MB."""
    terms: int = 2**20
    """Numbers of a sparse table that are added to scores at a time."""
    spread: int = 2**20
    """Numbers of a block of rows while labels spread in a cluster."""
    hits: int = 2**22
    """Neighbours that are looked at at once."""
    contexts: int = 16_384
    """Contexts, or items of histories, whose vectors are worked on at once."""
    cluster: int = 2**31
    """Bytes of the tables of a cluster, about 11,500 examples; 2.5 times that in double precision.
    Larger clusters go by neighbours."""
    exact_search: int = 100_000
    """Rows up to which all pairs are compared to find neighbours: a minute or less."""
    wishes: int = 64
    """Rounds of wishing in the simulated shop before the exact distribution is drawn from."""
    hashed: int = 2**24
    """Bytes of a file up to which it is hashed every time; of larger ones the hash is recorded."""


LIMITS = Limits()


@contextmanager
def limited(**values: int) -> Iterator[None]:
    """Set limits for a time.

    Raises:
        AttributeError: if there is no limit of that name.

    Example:
        >>> with limited(encoded=64):
        ...     LIMITS.encoded
        64
        >>> LIMITS.encoded
        1024
    """
    before = asdict(LIMITS)
    try:
        for name, value in values.items():
            setattr(LIMITS, name, value)
        yield
    finally:
        for name in values.keys() & before.keys():
            setattr(LIMITS, name, before[name])
