"""Logs, splits, batches, public data sets and the simulated shop."""

from softrec.data.batches import Examples, TrainingBatches, examples
from softrec.data.interactions import Interactions, Sequences
from softrec.data.sessions import by_session_time
from softrec.data.sources import SOURCES, Parts, RemoteFile, Source
from softrec.data.splits import Cases, Split, by_time, by_user_ratio, given, leave_last_out
from softrec.data.vocabulary import Vocabulary

__all__ = [
    "SOURCES",
    "Cases",
    "Examples",
    "Interactions",
    "Parts",
    "RemoteFile",
    "Sequences",
    "Source",
    "Split",
    "TrainingBatches",
    "Vocabulary",
    "by_session_time",
    "by_time",
    "by_user_ratio",
    "examples",
    "given",
    "leave_last_out",
]
