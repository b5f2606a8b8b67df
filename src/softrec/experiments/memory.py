"""The peak memory of a computation, if the system reports it."""

from __future__ import annotations

from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


class PeakMemory:
    """The peak since it was made: of the GPU if one is in use, else of the process (Linux)."""

    def __init__(self) -> None:
        self.gpu = torch.cuda.is_available()
        self.known = self._reset()

    def mib(self) -> float | None:
        """Return the peak in MiB, or None if the system does not report it."""
        if self.gpu:
            return torch.cuda.max_memory_allocated() / 2**20
        return _status("VmHWM") if self.known else None

    def _reset(self) -> bool:
        if self.gpu:
            torch.cuda.reset_peak_memory_stats()
            return True
        try:
            RESET.write_text("5")  # resets the peak to the memory in use now
        except OSError:
            return False
        return True


def _status(name: str) -> float | None:
    for line in STATUS.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return None
