"""Arrays that are in a file without a name where they are large, which ends with the array."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from softrec.limits import LIMITS


def scratch(n: int, dtype: Any, folder: Path) -> np.ndarray:
    """Return zeros (n,), in a file where they are many: what the system keeps of it can be freed.

    Args:
        n: how many.
        dtype: of them.
        folder: where the file is, if it can be written there.
    """
    if n > LIMITS.sorted:
        with suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
            made = np.memmap(file, dtype=dtype, mode="w+", shape=(n,))
            made.filename = str(folder / "without a name")  # its folder, for `folder_of`
            return made
    return np.zeros(n, dtype=dtype)
