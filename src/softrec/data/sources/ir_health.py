"""Amazon Health 2014 as in PSL and SL@K."""

from softrec.data.sources.base import Counts
from softrec.data.sources.ir_benchmark import parts_source

SOURCE = parts_source(
    "ir-health",
    "Amazon Health 2014 as in PSL and SL@K, split at random",
    "data_iid/amazon2014-health",
    train="sha256:bad5594c6f86a7e33573b862e56c4a5786aba35b0ad6a75b743a359a95f01d52",
    test="sha256:906b75f193149b52fd51a2dc92177cfcd9bd674067dad756e1195ba5d046a43d",
    counts=Counts(1_974, 1_200, 48_189),
)
