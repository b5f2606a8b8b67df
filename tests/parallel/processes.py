"""Several processes in a test: `results` runs a function in each of them; a log for commands."""

import os
import traceback
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import distributed
from torch.multiprocessing.spawn import start_processes

from softrec.parallel import World, joined


def results(number, function, folder, *arguments, shards=1):
    """Return what a function of a test module returns in each of some processes that are joined."""
    given = (number, shards, function, folder, arguments)
    start_processes(_run, given, number, start_method="spawn")
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(number)]


def _run(rank, number, shards, function, folder, arguments):
    torch.set_num_threads(1)
    store = distributed.FileStore(str(Path(folder) / f"store-{number}-{shards}"), number)
    try:
        with joined(World(rank, number, rank, number), store, shards=shards):
            found = function(*arguments)
        torch.save(found, Path(folder) / f"{rank}.pt")
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def write_log(folder, users, items):
    """Write log.csv: users who go around a circle of items, eight steps each."""
    starts = np.random.default_rng(0).integers(0, items, (users, 1))
    table = {
        "user": np.repeat(np.arange(users), 8),
        "item": ((starts + np.arange(8)) % items).ravel(),
    }
    pl.DataFrame(table).write_csv(Path(folder) / "log.csv")
