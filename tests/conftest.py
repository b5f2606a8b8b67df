"""What all tests share."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest
import torch

from messages import BOOK
from softrec.limits import limited
from softrec.registry import Registry

# A property that fails because the machine was busy, or today only, says nothing about the code.
hypothesis.settings.register_profile("softrec", deadline=None, derandomize=True)
hypothesis.settings.load_profile("softrec")
torch.set_num_threads(1)  # the tests are tiny: threads cost more than they give


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public data sets, from $SOFTREC_DATA or beside the checkout; else skip."""
    checkout = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("SOFTREC_DATA", checkout.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist; set SOFTREC_DATA to a folder of it")
    return folder


@pytest.fixture
def limit():
    """Return a function that sets limits of memory and speed for the rest of the test."""
    with ExitStack() as stack:
        yield lambda **values: stack.enter_context(limited(**values))


@pytest.fixture
def restored():
    """Return a function of registries: what the test enters there is gone after it."""
    with ExitStack() as stack:
        yield lambda registry: stack.enter_context(registry.restored())


@pytest.fixture
def own_members(monkeypatch, tmp_path, restored):
    """An empty folder and cache, where members and modules own_* of a test are gone after it."""
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for one in Registry.all:
        restored(one)
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("own_"):
            del sys.modules[name]


def pytest_addoption(parser):
    parser.addoption("--write-messages", action="store_true", help="keep what errors say now")


@pytest.fixture(scope="session", autouse=True)
def _messages(request, tmp_path_factory):
    """Hold what errors say against messages.txt, or write it."""
    BOOK.folder = tmp_path_factory.getbasetemp()
    BOOK.write = request.config.getoption("--write-messages")
    yield
    if BOOK.write:
        BOOK.save()
