"""From scores to rankings over the full catalogue: how many items beat a label, and the k best.

Evaluation and serving both use this code, so that the rankings that are measured are the ones that
are recommended. It works for any `Scores`, whether products of vectors or counted.
"""

from softrec.retrieval.results import NOT_RANKED, Seen, TopK, ranks_within
from softrec.retrieval.whole import (
    GROUP,
    rank_and_top_k,
    rank_of,
    score_blocks,
    top_k,
    top_k_and_scores,
)

__all__ = [
    "GROUP",
    "NOT_RANKED",
    "Seen",
    "TopK",
    "rank_and_top_k",
    "rank_of",
    "ranks_within",
    "score_blocks",
    "top_k",
    "top_k_and_scores",
]
