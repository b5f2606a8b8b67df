"""softrec in other people's libraries: the loss with its targets, and logs in their formats.

    loss        CatalogueLoss: any training loop in PyTorch
    recbole     a sequential model of RecBole
    rectools    SASRec of RecTools
    replay      SASRec of RePlay
    frames      logs as tables of these libraries, and back

Each library is imported only when its part is used.
"""

from softrec.adapters.frames import to_rectools, to_replay, write_atomic
from softrec.adapters.loss import CatalogueLoss

__all__ = ["CatalogueLoss", "to_rectools", "to_replay", "write_atomic"]
