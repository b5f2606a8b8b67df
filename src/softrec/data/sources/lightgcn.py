"""Common parts of the data sets of LightGCN: their addresses and the reader."""

from __future__ import annotations

from pathlib import Path

from softrec.data.interactions import Interactions
from softrec.data.sources.base import Parts, RemoteFile, github
from softrec.data.sources.parsing import user_lists

COMMIT = "947ca2b3b1d2d3545b114145710cb06c4e57b3d2"
CITATION = (
    "X. He et al. LightGCN: Simplifying and Powering Graph Convolution Network for "
    "Recommendation. SIGIR 2020. https://arxiv.org/abs/2002.02126"
)
HOMEPAGE = "https://github.com/gusye1234/LightGCN-PyTorch"
# There is no published validation part: a fraction of each user's training items is used.
SPLIT = {"split": "given", "valid": 0.1, "cold": "keep"}
NOTES = "The published training and test parts. No times and no order: not for sequences."


def read(train: Path, test: Path) -> Parts:
    """Read two files of lines `user item item ...`, with ids from 0 and in no order."""
    parts = Interactions.together([user_lists(train), user_lists(test)])
    return Parts(train=parts[0], test=parts[1])


def files(name: str, train: str, test: str) -> tuple[RemoteFile, RemoteFile]:
    """Return the two files of a data set, given their checksums."""
    repository = "gusye1234/LightGCN-PyTorch"
    return (
        RemoteFile("train.txt", github(repository, COMMIT, f"data/{name}/train.txt"), train),
        RemoteFile("test.txt", github(repository, COMMIT, f"data/{name}/test.txt"), test),
    )
