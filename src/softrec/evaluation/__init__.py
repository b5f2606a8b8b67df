"""Metrics, protocols and paired statistics."""

from softrec.evaluation.metrics import (
    METRICS,
    Ranks,
    evaluate,
    hit_rate,
    mrr,
    ndcg,
    parse_metric,
    precision,
    recall,
)
from softrec.evaluation.protocol import score_cases

__all__ = [
    "METRICS",
    "Ranks",
    "evaluate",
    "hit_rate",
    "mrr",
    "ndcg",
    "parse_metric",
    "precision",
    "recall",
    "score_cases",
]
