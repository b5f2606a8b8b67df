"""Runs on the Hugging Face Hub, tried against a small server of what its client asks for."""

import base64
import json
import re
import sys
import threading
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import polars as pl
import pytest

import softrec
from messages import refused
from softrec.cli import main as cli
from softrec.errors import RunError
from softrec.experiments.hub import fetched

pytest.importorskip("huggingface_hub")
OID = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """One address space of repositories, kept in memory: {repo: {path: bytes}}."""

    protocol_version = "HTTP/1.1"
    repos: dict
    made: list

    def log_message(self, *_):
        """Say nothing."""

    def answer(self, status, body=b"", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        sent = self.body()
        if self.path == "/api/repos/create":
            asked = json.loads(sent)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") \
                else asked["name"]  # fmt: skip
            self.made.append(asked)
            self.repos.setdefault(name, {})
            return self.answer(200, {"url": f"http://{self.headers['Host']}/{name}", "name": name})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        repo, verb = re.match(
            r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", self.path
        ).groups()
        if repo not in self.repos:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if verb == "preupload":
            files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for one in json.loads(sent)["files"]]  # fmt: skip
            return self.answer(200, {"files": files})
        for line in sent.splitlines():
            part = json.loads(line)
            if part["key"] == "file":
                content = base64.b64decode(part["value"]["content"])
                self.repos[repo][part["value"]["path"]] = content
        return self.answer(
            200,
            {"commitUrl": f"http://{self.headers['Host']}/{repo}/commit/{OID}", "commitOid": OID},
        )

    def do_GET(self):
        found = re.match(r"/api/models/([^/]+/[^/]+)(/revision/|/tree/|$)", self.path)
        if found:
            repo = self.repos.get(found[1])
            if repo is None:
                return self.answer(404, {"error": "none"}, X_Error_Code="RepoNotFound")
            names = [{"rfilename": name} for name in repo]
            if "/tree/" in self.path:
                return self.answer(200, [
                    {"type": "file", "path": name, "size": len(data), "oid": sha1(data).hexdigest()}
                    for name, data in repo.items()
                ])  # fmt: skip
            facts = {"private": False, "downloads": 0, "likes": 0, "tags": []}
            return self.answer(200, {"id": found[1], "sha": OID, "siblings": names, **facts})
        found = re.match(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path)
        if found is None:  # what the client asks for its own sake
            return self.answer(404, {"error": "none"})
        repo, name = found.groups()
        data = self.repos[repo][name]
        tag = sha1(data).hexdigest()
        return self.answer(200, data, ETag=f'"{tag}"', X_Repo_Commit=OID)

    do_HEAD = do_GET  # noqa: N815


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server, to which the environment points."""
    kind = type("Own", (Hub,), {"repos": {}, "made": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    yield kind
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    items = (np.random.default_rng(0).integers(10, size=(20, 1)) + np.arange(6)) % 10
    clicks = pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": items.ravel()})
    return softrec.fit(clicks, out=tmp_path_factory.mktemp("runs") / "first", model="markov",
                       progress=False)  # fmt: skip


def call(*arguments):
    with pytest.raises(SystemExit) as done:
        cli.main([str(argument) for argument in arguments])
    return done.value.code


def is_private(asked):
    """Tell what was asked for, in the words of this or of an older client."""
    return asked.get("visibility", "private" if asked.get("private") else "public") == "private"


def test_a_run_goes_there_and_comes_back(hub, run, tmp_path, capsys):
    assert call("push", run.folder, "ann/shop", "--license", "mit") == 0
    assert "hf://ann/shop, with its log of 120 events" in capsys.readouterr().err
    (made,) = hub.made
    assert is_private(made)
    there = hub.repos["ann/shop"]
    assert {"run.json", "README.md", *run.facts["files"]} == there.keys()
    assert there["README.md"].startswith(b"---\nlicense: mit\n")
    assert b"# shop" in there["README.md"]
    opened = softrec.open_run("hf://ann/shop")
    assert opened.test == run.test
    best, wanted = (one.recommender().recommend([3], 5) for one in (opened, run))
    assert best.equals(wanted)
    assert call("from", "hf://ann/shop", "--out", tmp_path / "copy") == 0
    assert softrec.open_run(tmp_path / "copy").weights_fingerprint == run.weights_fingerprint
    assert not any(path.is_symlink() for path in (tmp_path / "copy").iterdir())
    assert call("from", "hf://ann/shop", "--out", tmp_path / "copy") == 2
    capsys.readouterr()
    assert call("recommend", "hf://ann/shop@main", "--user", "3", "-k", "2") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_public_repository_is_asked_for(hub, run):
    assert call("push", run.folder, "ann/open", "--public") == 0
    assert not is_private(hub.made[0])


def test_a_file_that_was_changed_there_is_seen(hub, run):
    assert call("push", run.folder, "ann/shop") == 0
    hub.repos["ann/shop"]["recipe.yaml"] += b"\n"
    with pytest.raises(RunError) as caught:
        softrec.open_run("hf://ann/shop")
    assert "recipe.yaml was changed" in str(caught.value)


def test_what_is_not_there_is_told(hub, run, tmp_path, capsys):
    for address in ("hf://ann/none", "hf://ann", "hf://ann/shop/below", "hf://ann/../shop@x y"):
        with pytest.raises(RunError):
            fetched(address)
        assert call("from", address, "--out", tmp_path / "out") == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    hub.repos["ann/other"] = {"config.json": b"{}"}
    assert call("from", "hf://ann/other", "--out", tmp_path / "out") == 2
    assert "is not a run of softrec" in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))
    assert call("push", run.folder, "no-owner") == 2
    assert call("push", run.folder, "ann/../x") == 2


def test_a_place_that_is_no_address():
    for address in ("hf://ann", "hf://a/b/c"):
        with refused(RunError):
            fetched(address)


def test_without_the_extra_it_is_named(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert call("push", run.folder, "ann/shop") == 2
    assert 'pip install "softrec[hub]"' in capsys.readouterr().err
