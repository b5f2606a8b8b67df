"""The caches of the processor, by which blocks are sized that are worked on again and again."""

from __future__ import annotations

from functools import cache
from pathlib import Path

MIB = 2**20
USUAL = {2: MIB, 3: 32 * MIB}  # where the system tells nothing: a common processor's


@cache
def cache_bytes(level: int, folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int:
    """Return the bytes of the cache of one level: 2, of one core; 3, of all cores together.

    Linux tells them in `folder`; elsewhere they are those of a common processor, `USUAL`. In a
    virtual machine the third level is that of the whole host.

    Example:
        >>> cache_bytes(2, Path("nowhere")) == USUAL[2]
        True
    """
    for index in sorted(folder.glob("index*")):
        try:
            told = [(index / name).read_text().strip() for name in ("level", "type", "size")]
        except OSError:
            continue
        if told[0] == str(level) and told[1] != "Instruction" and told[2][:-1].isdigit():
            return int(told[2][:-1]) * {"K": 2**10, "M": MIB}.get(told[2][-1], 1)
    return USUAL[level]
