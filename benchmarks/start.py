"""What softrec costs before it does anything: time of processes that print help, and disk space.

The space is that of the packages that softrec needs without an extra, and that torch alone does
not: what it adds to an environment that has torch.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.timing import Bar, Row, Side

COMMANDS = {
    "import softrec": (("-c", "import softrec"), 0.25),
    "softrec --help": (("-m", "softrec", "--help"), 0.25),
    "softrec fit --help": (("-m", "softrec", "fit", "--help"), 0.5),
    "a log that is not there": (("-m", "softrec", "fit", "no.csv", "--out", "no"), 0.5),
}
"""What is run, and the seconds of computing that it may take."""
INSTALLED = 350.0  # MiB
BLOCK = 4096  # bytes, of which a file fills whole ones


@dataclass(frozen=True)
class Shapes:
    """How often each process is started."""

    repeats: int = 7


QUICK = Shapes(repeats=1)


def start(shapes: Shapes) -> list[Row]:
    """Measure each process, and the packages that are installed."""
    rows: list[Row] = []
    for name, (arguments, most) in COMMANDS.items():
        side = Side.of("computing", [computing(arguments) for _ in range(shapes.repeats)])
        bar = Bar(most, "at most", "seconds of computing")
        rows.append(Row(name, side, None, side.median, bar, unit="s"))
    sizes = {name: size(name) for name in needed(core()) - needed(["torch"])}
    total = sum(sizes.values())
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:8]
    note = ", ".join(f"{name} {mib:.0f}" for name, mib in largest)
    rows.append(
        Row(f"packages beside torch: {len(sizes)}", Side("all", total, total), None, total,
            Bar(INSTALLED, "at most", "MiB"), unit="MiB", notes=(f"MiB: {note}",))
    )  # fmt: skip
    return rows


def computing(arguments: Sequence[str]) -> float:
    """Return the user and system time of a Python process, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=False, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def core() -> list[str]:
    """Return what softrec requires without an extra, as pyproject.toml says it."""
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["project"]["dependencies"]


def needed(requirements: Sequence[str]) -> set[str]:
    """Return packages and all that they require without an extra, as they are installed here."""
    found: set[str] = set()
    left = [wanted for text in requirements for wanted in _packages(Requirement(text))]
    asked: set[tuple[str, str]] = set()
    while left:
        name, extra = left.pop()
        if (name, extra) in asked:
            continue
        asked.add((name, extra))
        try:
            texts = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # for another system
        found.add(name)
        for requirement in map(Requirement, texts):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                left += _packages(requirement)
    return found


def _packages(requirement: Requirement) -> list[tuple[str, str]]:
    """Return a required package with each extra that is required of it, and with none."""
    name = requirement.name.lower().replace("_", "-")
    return [(name, extra) for extra in ("", *requirement.extras)]


def size(package: str) -> float:
    """Return the disk space of an installed package, in MiB."""
    files = (file.locate() for file in metadata.files(package) or [])
    sizes = (os.path.getsize(file) for file in files if os.path.exists(file))
    return sum(-(-size // BLOCK) * BLOCK for size in sizes) / 2**20
