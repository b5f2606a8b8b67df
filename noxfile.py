"""The matrix: all Pythons that are supported, and the oldest and the newest torch.

`nox` runs what this machine has Pythons for; `nox -s "tests(newest)-3.13"` runs one of them.
CI of a change runs one of these (`make check`); the matrix is for releases and new versions.
CONTRIBUTING.md says which of these versions were tried, and what failed.
"""

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
CPU = "https://download.pytorch.org/whl/cpu"  # without gigabytes of CUDA
# The oldest torch that pyproject allows has wheels up to Python 3.13.
TORCH = {"oldest": "torch==2.6.*", "newest": "torch"}
MATRIX = [
    nox.param(python, wanted, id=f"{wanted}-{python}")
    for python in PYTHONS
    for wanted in TORCH
    if (python, wanted) != ("3.14", "oldest")
]


@nox.session
@nox.parametrize("python,wanted", MATRIX)
def tests(session: nox.Session, wanted: str) -> None:
    """Run all tests but the whole products; arguments go to pytest."""
    session.install(TORCH[wanted], "--extra-index-url", CPU)
    session.install("-e", ".[dev]")
    session.run("python", "-c", "import sys, torch; print(sys.version, torch.__version__)")
    session.run("pytest", "-q", "-n", "auto", "--dist", "loadscope", "-m", "not exhaustive",
                *session.posargs)  # fmt: skip
