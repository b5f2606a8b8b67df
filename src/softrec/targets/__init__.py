"""Soft targets. The code that makes them from a log or from a trained model is in `build`."""

from softrec.targets.dense import DenseTarget
from softrec.targets.mixture import MixtureSource, MixtureTarget
from softrec.targets.smoothing import PopularityTarget, UniformTarget, popularity
from softrec.targets.sparse import SparseTarget
from softrec.targets.teacher import TeacherTarget, TopTarget
from softrec.types import Target

__all__ = [
    "DenseTarget",
    "MixtureSource",
    "MixtureTarget",
    "PopularityTarget",
    "SparseTarget",
    "Target",
    "TeacherTarget",
    "TopTarget",
    "UniformTarget",
    "popularity",
]
