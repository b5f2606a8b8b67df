"""The files for containers agree with the project: there is no Docker in these tests."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
import yaml

from softrec.cli.main import app

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
SERVE = typer.main.get_command(app).commands["serve"]


@pytest.fixture(scope="module")
def instructions():
    """Each instruction of the Dockerfile: its name, and the rest on one line."""
    text = (DOCKER / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in whole.splitlines() if line]


def of(instructions, name):
    return [rest for kind, rest in instructions if kind == name]


def parse(arguments):
    SERVE.make_context("serve", [*arguments])


def test_the_packages_are_those_of_the_core_and_the_extra_without_torch():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["serve"]}
    wanted = {need for need in wanted if not need.startswith(("torch", "lightning"))}
    lines = (DOCKER / "requirements.txt").read_text().splitlines()
    assert {line for line in lines if line and not line.startswith("#")} == wanted
    (lightning,) = (n for n in project["dependencies"] if n.startswith("lightning"))
    assert lightning in (DOCKER / "Dockerfile").read_text()


def test_what_is_copied_is_there_and_is_not_ignored(instructions):
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if "!" in line}
    sources = [source for rest in of(instructions, "COPY") if "--from" not in rest
               for source in rest.split()[:-1]]  # fmt: skip
    assert {"src", "recipes", "pyproject.toml"} <= {*sources}
    assert {*sources} == kept
    assert all((ROOT / source).exists() for source in sources)


def test_it_runs_as_nobody_in_particular_and_is_looked_after(instructions):
    (user,) = of(instructions, "USER")
    assert f"useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin {user}" in (
        of(instructions, "RUN")
    )
    order = [kind for kind, _ in instructions]
    assert order.index("USER") < order.index("ENTRYPOINT")
    (check,) = of(instructions, "HEALTHCHECK")
    assert "/health" in check
    compile(json.loads(check.partition("CMD ")[2])[2], "check", "exec")


def test_its_command_can_be_typed(instructions):
    (entry,), (command,) = of(instructions, "ENTRYPOINT"), of(instructions, "CMD")
    program, serve, *rest = json.loads(entry)
    assert (program, serve) == ("softrec", "serve")
    parse([*rest, *json.loads(command)])
    service = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["softrec"]
    parse([*rest, *service["command"]])


def test_compose_serves_loopback_with_a_key_from_a_folder_that_is_only_read():
    service = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["softrec"]
    assert service["read_only"] is True
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert ":?" in service["environment"]["SOFTREC_API_KEY"]  # compose refuses to start without
    assert (ROOT / "docker" / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).exists()


def test_the_commands_in_its_comments_name_files_that_are_there():
    text = (DOCKER / "Dockerfile").read_text() + (DOCKER / "compose.yaml").read_text()
    told = [shlex.split(line.lstrip("# ")) for line in text.splitlines() if " -f docker/" in line]
    assert len(told) >= 3
    for words in told:
        assert (ROOT / words[words.index("-f") + 1]).exists()
