"""From a trained model to recommendations."""

from softrec.serving.recommender import Recommender

__all__ = [
    "Recommender",
]
