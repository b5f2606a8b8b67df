"""A new run takes the place of the old one: nothing is dropped, nothing mixed, nothing lost."""

import asyncio
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from servers import asked, serving
from shops import shop, teas

from messages import refused
from softrec.errors import RunError, SoftrecError
from softrec.serving.http.app import create_app
from softrec.serving.http.live import Deployed, Live, place_of
from softrec.serving.http.metrics import Metrics

KEY = {"x-api-key": "k"}


def write_run(folder, name, content="{}"):
    """A folder with what says that it is a finished run."""
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "run.json").write_text(content)
    return folder / name


def lead(pointer, folder):
    """Let a link lead to another folder, at once."""
    fresh = pointer.with_name("fresh")
    fresh.symlink_to(folder)
    fresh.replace(pointer)


def load(folder):
    """Load the shop whose seed is the number at the end of the folder's name."""
    if folder.name.startswith("broken"):
        raise RunError(f"{folder} is damaged; train it again")
    if folder.name.startswith("bug"):
        raise KeyError("no such weight")
    return Deployed(shop(seed=int(folder.name[-1])), "run", folder.name)


@pytest.fixture
def pointer(tmp_path):
    for name in ("run1", "run2", "broken", "bug"):
        write_run(tmp_path, name)
    (tmp_path / "current").symlink_to(tmp_path / "run1")
    return tmp_path / "current"


def live_at(pointer, load=load):
    return Live(Metrics(), load, pointer)


def client(live, **options):
    return TestClient(create_app(live, key="k", **options), headers=KEY)


def version(reply):
    return reply["served"]["version"]


# --- where a pointer leads ---


def test_a_pointer_is_a_folder_a_link_or_a_file(tmp_path):
    folder = write_run(tmp_path, "run1")
    (tmp_path / "link").symlink_to("run1")
    (tmp_path / "relative").write_text("run1\n")
    (tmp_path / "absolute").write_text(str(folder))
    (tmp_path / "to a file").symlink_to("relative")
    places = {
        place_of(tmp_path / name) for name in ("run1", "link", "relative", "absolute", "to a file")
    }
    assert len(places) == 1
    assert places.pop().folder == folder


def test_an_export_is_found_by_its_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    assert place_of(tmp_path).folder == tmp_path


def test_what_replaces_a_run_in_its_place_is_another_one(tmp_path):
    folder = write_run(tmp_path, "run1")
    before = place_of(folder)
    (tmp_path / "other").write_text("{}")
    os.utime(tmp_path / "other", ns=(before.stamp[1], before.stamp[1]))
    (tmp_path / "other").replace(folder / "run.json")
    assert place_of(folder) != before


@pytest.mark.parametrize("name", ["nowhere", "empty", "to nowhere", "nothing", "dangling"])
def test_a_pointer_that_leads_nowhere(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "to nowhere").write_text("run7")
    (tmp_path / "nothing").write_text("")
    (tmp_path / "dangling").symlink_to("run8")
    with refused(SoftrecError):
        place_of(tmp_path / name)


# --- one takes the other's place ---


def test_a_new_run_is_served_when_it_is_asked_for(pointer):
    with client(live_at(pointer)) as asking:
        assert version(asking.post("/recommend", json={"users": ["u0"]}).json()) == "run1"
        lead(pointer, "run2")
        reply = asking.post("/reload").json()
        assert (version(reply), reply["reload"]["result"]) == ("run2", "done")
        found = asking.post("/recommend", json={"users": ["u0"], "k": 2}).json()
        table = shop(seed=2).recommend("u0", 2)
        rows = found["lists"][0]["items"]
        assert [row["score"] for row in rows] == table["score"].to_list()
        text = asking.get("/metrics").text
        assert 'softrec_model{kind="run",model="SASRec",version="run2"} 1.0' in text
        assert 'version="run1"' not in text
        assert 'softrec_reloads_total{result="done"} 1.0' in text


def test_the_same_run_is_not_loaded_again(pointer):
    loaded = []
    live = live_at(pointer, lambda folder: loaded.append(folder) or load(folder))
    with client(live) as asking:
        asking.post("/reload")
        asking.post("/reload")
        assert len(loaded) == 1
        write_run(pointer.parent, "run1", '{"another": 1}')
        asking.post("/reload")
        assert len(loaded) == 2


@pytest.mark.parametrize("name", ["broken", "bug", "nowhere"])
def test_one_that_cannot_be_loaded_leaves_the_old_one_and_says_why(pointer, name, caplog):
    with client(live_at(pointer)) as asking, caplog.at_level(logging.ERROR, "softrec.serve"):
        lead(pointer, name)
        reply = asking.post("/reload").json()
        assert (version(reply), reply["status"]) == ("run1", "ok")
        assert reply["reload"]["result"] == "failed"
        words = {"broken": "is damaged", "bug": "no such weight", "nowhere": "leads to"}[name]
        assert words in reply["reload"]["error"]
        assert words in caplog.text
        assert ("Traceback" in caplog.text) == (name == "bug")
        assert asking.get("/health").json()["reload"] == reply["reload"]
        found = asking.post("/recommend", json={"users": ["u0"]})
        assert (found.status_code, version(found.json())) == (200, "run1")
        assert 'softrec_reloads_total{result="failed"} 1.0' in asking.get("/metrics").text
        lead(pointer, "run2")
        assert version(asking.post("/reload").json()) == "run2"


def test_one_that_cannot_answer_is_not_served(pointer):
    class Mute:
        name, log, catalogue = "mute", teas(), None

        def recommend(self, *_, **__):
            raise RuntimeError("no weights")

    def either(folder):
        return load(folder) if folder.name == "run1" else Deployed(Mute(), "run", "mute")

    with client(live_at(pointer, either)) as asking:
        lead(pointer, "run2")
        reply = asking.post("/reload").json()
        assert (version(reply), reply["reload"]["result"]) == ("run1", "failed")


def test_a_server_does_not_start_with_one_that_cannot_be_loaded(pointer):
    lead(pointer, "broken")
    with refused(RunError):
        live_at(pointer)


def test_a_broken_run_is_tried_once_by_those_who_watch_and_again_by_those_who_ask(pointer):
    tried = []
    live = live_at(pointer, lambda folder: tried.append(folder.name) or load(folder))
    lead(pointer, "broken")

    async def ask():
        for only in (True, True, False, True):
            assert not await live.reload(changed_only=only)

    asyncio.run(ask())
    assert tried == ["run1", "broken", "broken"]


def test_without_a_key_nobody_can_reload(pointer):
    asking = TestClient(create_app(live_at(pointer)))
    assert asking.post("/reload").status_code == 404
    assert client(live_at(pointer)).post("/reload", headers={"x-api-key": "x"}).status_code == 401


def test_a_service_in_memory_cannot_be_reloaded():
    reply = TestClient(create_app(shop(), key="k"), headers=KEY).post("/reload")
    assert (reply.status_code, reply.json()["error"]["type"]) == (409, "nothing_to_reload")


# --- while requests come in ---


def test_requests_that_have_begun_end_with_the_old_run(pointer):
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        name, log, catalogue = "slow", teas(), None
        asked = 0

        def recommend(self, *args, **kwargs):
            if kwargs.get("mask_seen") is False:  # the one request of the test
                begun.set()
                assert go_on.wait(60)
            return shop(seed=1).recommend(*args, **kwargs)

        def interests(self, *args, **kwargs):
            return shop(seed=1).interests(*args, **kwargs)

    def either(folder):
        return Deployed(Slow(), "run", "slow") if folder.name == "run1" else load(folder)

    body = {"users": ["u0"], "k": 2, "mask_seen": False}
    with serving(live_at(pointer, either), key="k") as port, ThreadPoolExecutor(1) as other:
        waiting = other.submit(asked, port, "/recommend", body, **KEY)
        assert begun.wait(60)
        lead(pointer, "run2")
        assert version(asked(port, "/reload", {}, **KEY)[1]) == "run2"
        assert version(asked(port, "/recommend", body, **KEY)[1]) == "run2"
        go_on.set()
        status, reply = waiting.result()
        assert (status, version(reply)) == (200, "slow")
        wanted = shop(seed=1).recommend("u0", 2, mask_seen=False)["score"].to_list()
        assert [row["score"] for row in reply["lists"][0]["items"]] == wanted


def wait_for(port, name):
    """Wait until a run is served, or is told not to be."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        _, health = asked(port, "/health")
        if version(health) == name or f"/{name} " in str(health["reload"]):
            return
    raise AssertionError(f"{name} was never looked at")


@pytest.mark.slow
def test_nothing_is_lost_or_mixed_while_runs_change(pointer):
    """Each reply is wholly of the run that it names."""
    wanted = {
        f"run{seed}": shop(seed=seed).recommend("u1", 3)["score"].to_list() for seed in (1, 2)
    }
    stop = threading.Event()

    def hammer(port):
        found = []
        while not stop.is_set():
            status, reply = asked(port, "/recommend", {"users": ["u1"], "k": 3}, **KEY)
            assert status == 200
            rows = reply["lists"][0]["items"]
            assert [row["score"] for row in rows] == wanted[version(reply)]
            found.append(version(reply))
        return found

    with serving(live_at(pointer), key="k", watch=0.02) as port, ThreadPoolExecutor(4) as clients:
        hammering = [clients.submit(hammer, port) for _ in range(4)]
        try:
            for turn in range(6):
                name = "broken" if turn % 3 == 2 else f"run{2 - turn % 3}"
                lead(pointer, name)
                wait_for(port, name)
        finally:
            stop.set()
        replies = [one for each in hammering for one in each.result()]
    assert {*replies} == {"run1", "run2"}
    assert len(replies) > 40
