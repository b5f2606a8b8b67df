"""Several processes that train together, one on each device or core.

Each process has the same recipe, data and order of batches, and its own part of each batch. In a
program of one process nothing here does anything: a sum over the processes is the number itself.

    world      the processes of this training, sums and lists over them, what one makes for all
    together   starts them, or finds those that torchrun or Slurm have started
    catalogue  the items, shared by the processes
"""

from softrec.parallel.catalogue import Catalogue, catalogue_of
from softrec.parallel.together import is_first, together
from softrec.parallel.world import (
    Mesh,
    World,
    by_first,
    by_itself,
    everyone,
    from_first,
    gathered,
    in_turn,
    joined,
    mesh,
    part,
    rank,
    size,
    summed,
    summed_array,
    within,
    world,
)

__all__ = [
    "Catalogue",
    "Mesh",
    "World",
    "by_first",
    "by_itself",
    "catalogue_of",
    "everyone",
    "from_first",
    "gathered",
    "in_turn",
    "is_first",
    "joined",
    "mesh",
    "part",
    "rank",
    "size",
    "summed",
    "summed_array",
    "together",
    "within",
    "world",
]
