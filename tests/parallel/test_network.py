"""The network between machines: hosts of network namespaces, where these can be made."""

import os
import socket
import subprocess
import sys
from contextlib import suppress

import pytest
from processes import write_log
from safetensors.torch import load_file

from softrec.parallel import network

FIT = ["fit", "log.csv", "--epochs", "2", "--model", "gru4rec", "--length", "6",
       "--set", "model.dim=8", "--set", "model.dropout=0",
       "--set", "training.precision=64-true"]  # fmt: skip
FIRST, SECOND, PORT = "10.219.0.1", "10.219.0.2", "29519"


def ip(command):
    subprocess.run(["ip", *command.split()], check=True, capture_output=True)


@pytest.fixture
def hosts():
    """Two hosts with a network between them, whose names are those of this machine alone."""
    names = [f"softrec-{os.getpid()}-{n}" for n in (1, 2)]
    ends = [f"sr{os.getpid() % 10**6}-{n}" for n in (1, 2)]
    try:
        for name in names:
            ip(f"netns add {name}")
        ip(f"link add {ends[0]} type veth peer name {ends[1]}")
        for name, end, address in zip(names, ends, (FIRST, SECOND), strict=True):
            ip(f"link set {end} netns {name}")
            ip(f"-n {name} addr add {address}/24 dev {end}")
            for one in (end, "lo"):
                ip(f"-n {name} link set {one} up")
        yield names
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here ({error})")
    finally:
        for name in names:
            with suppress(OSError, subprocess.CalledProcessError):
                ip(f"netns del {name}")


@pytest.mark.slow
def test_two_hosts_train_as_one(hosts, tmp_path):
    write_log(tmp_path, users=200, items=41)
    command = [sys.executable, "-m", "softrec", *FIT, "--out"]
    subprocess.run([*command, "one"], cwd=tmp_path, check=True, capture_output=True)
    fits = []
    for number, name in enumerate(hosts):
        there = {"MASTER_ADDR": FIRST, "MASTER_PORT": PORT, "NODE_RANK": str(number)}
        own = {n: v for n, v in os.environ.items() if n != network.NAMED}
        fits.append(subprocess.Popen(
            ["ip", "netns", "exec", name, *command, "two", "--nodes", "2"], cwd=tmp_path,
            env=own | there, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ))  # fmt: skip
    said = [fit.communicate(timeout=300)[0] for fit in fits]
    assert [fit.returncode for fit in fits] == [0, 0], said
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(float((two[name] - weight).abs().max()) < 1e-9 for name, weight in one.items())


def made(monkeypatch, ways):
    """A machine with three interfaces, and the address that it has on the way to each host."""
    monkeypatch.setattr(network, "addresses", lambda: iter(
        [("lo", "127.0.0.1"), ("eth0", "10.0.0.7"), ("eth1", "192.168.1.7")]))  # fmt: skip

    class Probe(socket.socket):
        def connect(self, address):
            self.own = ways[address[0]]
            if self.own is None:
                raise OSError

        def getsockname(self):
            return self.own, 0

    monkeypatch.setattr(network.socket, "socket", Probe)


@pytest.mark.parametrize(
    ("ways", "expected"),
    [
        ({"first": "192.168.1.7"}, "eth1"),
        ({"first": "127.0.1.1", network.ELSEWHERE: "10.0.0.7"}, "eth0"),
        ({"first": None, network.ELSEWHERE: None}, None),
        ({"first": "10.0.0.8", network.ELSEWHERE: None}, None),
    ],
    ids=["the way", "known to itself alone", "no way", "unknown address"],
)
def test_the_interface_is_that_on_the_way_to_the_first_machine(monkeypatch, ways, expected):
    made(monkeypatch, ways)
    assert network.interface_to("first") == expected


def test_the_interface_that_the_user_names_is_kept(monkeypatch):
    made(monkeypatch, {"first": "10.0.0.7"})
    monkeypatch.setenv(network.NAMED, "own0")
    network.name_interface("first")
    assert os.environ[network.NAMED] == "own0"
    monkeypatch.delenv(network.NAMED)
    network.name_interface("first")
    assert os.environ[network.NAMED] == "eth0"
