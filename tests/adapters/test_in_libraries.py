"""The adapters in the libraries themselves, each in its environment: it is used where it is there.

`python -m benchmarks.peers setup` makes them.
"""

import os
import subprocess
from pathlib import Path

import pytest
from benchmarks.peers.__main__ import HERE, python_of

import softrec

pytestmark = pytest.mark.slow

SOURCE = Path(softrec.__file__).parents[1]


@pytest.mark.parametrize("library", ["recbole", "rectools", "replay"])
def test_the_loss_in_a_library_is_its_own_and_soft_targets_are_those_of_whole_tables(
    library, tmp_path
):
    python = python_of(library)
    if not python.exists():
        pytest.skip(f"no environment: python -m benchmarks.peers setup {library}")
    command = [str(python), str(HERE / f"check_{library}.py"), str(tmp_path)]
    path = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert not ended.returncode, ended.stderr[-3000:]
