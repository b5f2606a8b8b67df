"""Limits of memory and speed: sizes of blocks, and from which size on a cheaper method is used.

Results do not depend on the limits, up to rounding, with four exceptions: an approximate search
finds other neighbours, another number of `wishes` gives another simulated log, more examples than
`shuffled` are trained on in another order, and with another `padding` dropout draws other numbers.
With little memory:

    with limited(encoded=64, scores=2**20):
        run.recommend(...)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from softrec.caches import cache_bytes


@dataclass(slots=True)
class Limits:
    """The limits; the defaults were measured on one core."""

    encoded: int = 1024
    """Histories that a model reads at once outside training."""
    scores: int = 48 * 2**20
    """Bytes of a block of scores, about a last-level cache."""
    tile: int = field(default_factory=lambda: cache_bytes(2) // 2)
    """Bytes of a tile of logits: half a core's second-level cache; the rest is for vectors."""
    kept: int = field(default_factory=lambda: min(cache_bytes(3) // 2, 192 * 2**20))
    """Bytes of the logits that a loss keeps on a CPU until their gradient; more are computed twice.
    Half of the last cache, and at most 192 MiB."""
    gathered: int = 2**21
    """Numbers of the item vectors of a block of pairs: 8 MiB in single precision."""
    paired: int = 2**19
    """Numbers of a block of a whole table of pairs: 2 MiB in single precision, so that it is in
    a core's cache when pairs are taken from it."""
    cases: int = 2**16
    """Cases whose given lists are looked at at once."""
    negatives: int = 2 * 2**20
    """Bytes of the vectors of sampled negatives, which stay in the cache until they are used."""
    padding: int = 256
    """Steps of padding, in a model of width 64, that take as long as one part of a batch more."""
    intervals: int = 2**18
    """Numbers of a block of queries by time intervals, on a CPU."""
    products: int = 2**22
    """Terms in a block of a product of sparse tables: about 150 MB with their places."""
    spread: int = 2**20
    """Numbers in a block of rows in label propagation inside a cluster."""
    hits: int = 2**22
    """Neighbours in a block of search results."""
    contexts: int = 16_384
    """Contexts, or items of histories, in a block."""
    cluster: int = 2**31
    """Bytes of the tables of a cluster, about 11,500 examples; 2.5 times that in double precision.
    In larger clusters labels are propagated among neighbours only."""
    exact_search: int = 100_000
    """The most rows for an exact search of neighbours, which then takes at most a minute."""
    wishes: int = 64
    """Rounds of sampled wishes in the simulated shop; then the exact distribution is sampled."""
    read: int = 2**20
    """Rows of a log on disk that are read at once."""
    sorted: int = 2**22
    """Events of a log on disk that are in memory at once, about 0.3 GB while they are sorted."""
    in_memory: int = 2**30
    """Bytes of Parquet files up to which a log is read into memory."""
    windows: int = 2**24
    """Training examples whose ranges are in memory; of more, each is computed when it is read."""
    shuffled: int = 2**25
    """Training examples whose order in an epoch is one permutation, 256 MiB; more are shuffled in
    blocks."""
    hashed: int = 2**24
    """Bytes of a file up to which it is hashed every time; hashes of larger files are stored."""


LIMITS = Limits()


@contextmanager
def limited(**values: int) -> Iterator[None]:
    """A context in which limits have other values.

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
