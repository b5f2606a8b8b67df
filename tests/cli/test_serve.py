"""`softrec serve` in a process of its own: runs and exports, signals, and what it refuses."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient

import softrec
from softrec.cli import main as cli
from softrec.cli.serve import Loader
from softrec.experiments.export import export_run
from softrec.serving.http.app import create_app

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
WITHOUT = Path(__file__).parents[1] / "without.py"
CODE = "import sys; from softrec.cli.main import main; main(sys.argv[3:])"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two runs of another seed, an export of each, and a table of the items."""
    folder = tmp_path_factory.mktemp("served")
    rows = [(f"u{u}", f"i{(u * 7 + n * n) % 12}", n) for u in range(30) for n in range(5)]
    log = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    for seed in (1, 2):
        run = softrec.fit(
            log, out=folder / f"run{seed}", model="sasrec", epochs=1, seed=seed, progress=False,
            **{"model.dim": 4, "length": 3},
        )  # fmt: skip
        export_run(run, folder / f"export{seed}", histories=10)
    ids = [f"i{n}" for n in range(12)]
    pl.DataFrame({"id": ids, "title": [f"Title {i}" for i in ids]}).write_csv(folder / "items.csv")
    return folder


@contextmanager
def served(*arguments, without=(), **environment):
    """Start `softrec serve`; yield the process, its lines so far, and a function that asks it."""
    command = [sys.executable, str(WITHOUT), ",".join(["nothing", *without]), CODE, "serve"]
    process = subprocess.Popen(
        [*command, *map(str, arguments), "--port", "0"], stderr=subprocess.PIPE, text=True,
        env=os.environ | {"COLUMNS": "300"} | environment,
    )  # fmt: skip
    lines = []
    try:
        while not lines or "http://" not in lines[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], "".join(lines)
        (place,) = re.findall(r"http://127\.0\.0\.1:\d+", lines[-1])

        def ask(path, body=None, **headers):
            request = urllib.request.Request(place + path, body and body.encode(), headers)
            if body:
                request.add_header("content-type", "application/json")
            with urllib.request.urlopen(request, timeout=60) as reply:
                return pl.read_json(reply.read()).row(0, named=True)

        yield process, lines, ask
    finally:
        process.kill()
        process.stderr.close()
        process.wait(60)


def recommended(reply):
    return [row["item"] for row in reply["lists"][0]["items"]]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run1", "export1"])
def test_a_run_and_its_export_answer_the_same_and_the_export_needs_no_torch(folders, kind):
    hidden = ("torch", "lightning", "pytorch_lightning") if kind == "export1" else ()
    wanted = softrec.open_run(folders / "run1").recommender().recommend("u3", 4)
    items = folders / "items.csv"
    with served(folders / kind, "--items", items, without=hidden) as (process, lines, ask):
        words = {"run1": "a run", "export1": "an export"}[kind]
        assert f"serving SASRec, {words}, at" in lines[-1]
        reply = ask("/recommend", '{"users": ["u3"], "k": 4}')
        assert recommended(reply) == wanted["item"].to_list()
        first = reply["lists"][0]["items"][0]
        assert first["title"] == f"Title {first['item']}"
        assert ask("/health")["served"]["created"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_a_signal_makes_it_look_for_another_run(folders, tmp_path):
    pointer = tmp_path / "current"
    pointer.write_text(str(folders / "export1"))
    with served(pointer) as (process, lines, ask):
        before = ask("/health")["served"]["version"]
        pointer.write_text(str(folders / "export2"))
        process.send_signal(signal.SIGHUP)
        lines.append(process.stderr.readline())
        assert "now serving SASRec, version" in lines[-1]
        assert ask("/health")["served"]["version"] != before
        wanted = softrec.open_run(folders / "run2").recommender().recommend("u3", 4)
        assert (
            recommended(ask("/recommend", '{"users": ["u3"], "k": 4}')) == wanted["item"].to_list()
        )


@pytest.mark.slow
def test_it_watches_a_link_past_a_broken_export_to_a_run(folders, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folders / "export2", broken)
    (broken / "items.safetensors").write_bytes(b"nothing")
    pointer = tmp_path / "current"
    pointer.symlink_to(folders / "export1")
    with served(pointer, "--watch", "0.1") as (process, lines, ask):
        for folder, said in ((broken, "the old one goes on"), (folders / "run2", "now serving")):
            (tmp_path / "fresh").symlink_to(folder)
            (tmp_path / "fresh").replace(pointer)
            lines.append(process.stderr.readline())
            assert said in lines[-1]
            assert "Traceback" not in lines[-1]
        assert ask("/health")["served"]["kind"] == "run"


@pytest.mark.slow
def test_requests_that_have_begun_are_answered_when_it_is_stopped(folders):
    with served(folders / "export1", SOFTREC_API_KEY="k") as (process, _, ask):
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask("/about")
        assert caught.value.code == 401
        assert ask("/about", **{"X-API-Key": "k"})["items"] == 12
        process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        assert process.returncode in (0, -signal.SIGTERM)


REFUSED = {
    "no folder": (["none"], {}, "leads to"),
    "no run in it": (["."], {}, "neither a finished run nor an export"),
    "an empty key": (["none"], {"SOFTREC_API_KEY": ""}, "SOFTREC_API_KEY is empty"),
    "no such address": (["none", "--host", "203.0.113.7"], {}, "choose another --host or --port"),
    "a port too large": (["none", "--port", "70000"], {}, "less than or equal to 65535"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_in_one_line(name, tmp_path, monkeypatch, capsys):
    arguments, environment, words = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    given = [*arguments] if "--port" in arguments else [*arguments, "--port", "0"]
    with pytest.raises(SystemExit) as done:
        cli.main(["serve", *given])
    assert done.value.code == 2
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SystemExit):
        cli.main(["serve", str(tmp_path)])
    assert 'pip install "softrec[serve]"' in capsys.readouterr().err


@pytest.mark.slow
def test_an_export_without_users_serves_histories(folders, tmp_path):
    export_run(softrec.open_run(folders / "run1"), tmp_path / "bare", histories=10, users=False)
    deployed = Loader()(tmp_path / "bare")
    with TestClient(create_app(deployed)) as asking:
        about = asking.get("/about").json()
        assert (about["users"], about["some_users"], about["histories"]) == (0, [], True)
        reply = asking.post("/recommend", json={"users": ["u3"]})
        assert (reply.status_code, reply.json()["error"]["type"]) == (404, "unknown_user")
        reply = asking.post("/recommend", json={"histories": [["i1", "i2"]], "k": 3})
        service = softrec.open_run(folders / "run1").recommender()
        wanted = service.recommend(histories=["i1", "i2"], k=3)
        assert recommended(reply.json()) == wanted["item"].to_list()
