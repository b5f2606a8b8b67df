"""Many requests at once: some are answered together, too many are told to come back."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from shops import numbered, shop

from softrec.errors import DataError
from softrec.serving.http.app import create_app
from softrec.serving.http.limits import Load
from softrec.serving.http.live import Deployed


class Counted:
    """A shop whose first request waits until it is told to go on; it keeps what it is asked."""

    name, catalogue, mask_seen = "counted", None, True

    def __init__(self, wrong=None, log=None, model="sasrec"):
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.asked = []
        self.wrong = wrong
        self.shop = shop(model, log)
        self.log = self.shop.log

    def recommend(self, users=None, k=10, **given):
        self.asked.append((users or [], k))
        self.begun.set()
        assert self.go_on.wait(60)
        if self.wrong is not None and self.wrong in (users or []):
            raise DataError(f"{self.wrong} cannot be served; ask for another user")
        return self.shop.recommend(users, k, **given)


@pytest.fixture
def service():
    return Counted()


def held(asking, number):
    """Wait until a number of requests is held."""
    while f"softrec_requests_held {float(number)}" not in asking.get("/metrics").text:
        pass


def at_once(service, bodies, load=None):
    """Return the replies to requests that come while the only thread is busy with the first."""
    app = create_app(Deployed(service), load=load or Load(threads=1))
    with TestClient(app) as asking, ThreadPoolExecutor(len(bodies)) as clients:
        replies = [clients.submit(asking.post, "/recommend", json=bodies[0])]
        assert service.begun.wait(60)
        for number, body in enumerate(bodies[1:], 2):
            replies.append(clients.submit(asking.post, "/recommend", json=body))
            held(asking, number)
        service.go_on.set()
        return [reply.result() for reply in replies]


def lists(reply):
    assert reply.status_code == 200, reply.text
    return {
        one["user"]: [(row["item"], pytest.approx(row["score"], rel=1e-4)) for row in one["items"]]
        for one in reply.json()["lists"]
    }


def test_requests_that_wait_are_answered_by_one_call_each_with_its_own_lists(service):
    bodies = [
        {"users": ["u0"], "k": 3},
        {"users": ["u1"], "k": 3},
        {"users": ["u2", "u1"], "k": 3},
        {"histories": {"x": ["assam"]}, "k": 3},
        {"histories": {"x": ["irish", "cola"]}, "k": 3, "unknown": "skip"},
        {"users": ["u1"], "k": 2},
    ]
    replies = at_once(service, bodies)
    assert service.asked == [(["u0"], 3), (["u1", "u2"], 3), (["u1"], 2)]
    alone = TestClient(create_app(shop()))
    for body, reply in zip(bodies, replies, strict=True):
        wanted = alone.post("/recommend", json=body)
        assert lists(reply) == lists(wanted)
        assert reply.json()["notes"] == wanted.json()["notes"]
    assert len(replies[4].json()["notes"]) == 1


def test_a_user_is_asked_for_once_as_a_number_and_as_text():
    service = Counted(log=numbered())
    bodies = [{"users": [0], "k": 3}, {"users": [1], "k": 3}, {"users": ["1", 2], "k": 3}]
    replies = at_once(service, bodies)
    assert service.asked[1:] == [([1, 2], 3)]
    names = [[one["user"] for one in reply.json()["lists"]] for reply in replies]
    assert names == [[0], [1], ["1", 2]]
    one, two = (reply.json()["lists"][0]["items"] for reply in replies[1:])
    assert one == two
    assert [row["rank"] for row in one] == [1, 2, 3]


def test_histories_that_cannot_be_used_are_named_as_each_request_did():
    bodies = [{"users": ["u0"]}, *({"histories": {name: ["assam"]}} for name in ("ann", "bob"))]
    replies = at_once(Counted(model="mf"), bodies)
    assert [reply.status_code for reply in replies] == [200, 422, 422]
    for reply, name in zip(replies[1:], ("ann", "bob"), strict=True):
        assert reply.json()["error"]["message"].startswith(f"the history of '{name}' cannot")


def test_rules_keep_requests_apart(service):
    bodies = [{"users": ["u0"]}, *({"users": ["u1"], "rules": {"block": [tea]}} for tea in
                                   ("assam", "irish", "assam"))]  # fmt: skip
    replies = at_once(service, bodies)
    assert len(service.asked) == 3
    for reply, tea in zip(replies[1:], ("assam", "irish", "assam"), strict=True):
        assert tea not in dict(lists(reply)["u1"])


def test_a_wrong_request_is_refused_alone(service):
    bodies = [{"users": ["u0"]}, {"users": ["u1"]}, {"users": ["nobody"]}, {"users": ["u2"]}]
    replies = at_once(service, bodies)
    assert [reply.status_code for reply in replies] == [200, 200, 404, 200]
    assert service.asked[1:] == [(["u1", "u2"], 10)]


def test_a_request_that_cannot_be_served_does_not_take_others_with_it():
    service = Counted(wrong="u2")
    bodies = [{"users": [f"u{n}"]} for n in range(4)]
    replies = at_once(service, bodies)
    assert [reply.status_code for reply in replies] == [200, 200, 422, 200]
    assert "u2 cannot be served" in replies[2].text
    assert lists(replies[3]).keys() == {"u3"}


def test_a_call_is_not_made_too_large(service):
    bodies = [{"users": ["u0"]}, *({"users": ["u1", "u2", "u3"]} for _ in range(12))]
    at_once(service, bodies)
    assert len(service.asked) == 3  # 30 and 6 lists


def test_when_too_many_wait_the_rest_is_told_to_come_back(service):
    with (
        TestClient(create_app(Deployed(service), load=Load(threads=1, waiting=1))) as asking,
        ThreadPoolExecutor(2) as clients,
    ):
        asked = [clients.submit(asking.post, "/recommend", json={"users": ["u0"]}) for _ in "ab"]
        held(asking, 2)
        for path, body in (("/recommend", {"users": ["u0"]}), ("/similar", {"items": ["assam"]})):
            reply = asking.post(path, json=body)
            assert (reply.status_code, reply.json()["error"]["type"]) == (503, "busy")
            assert reply.headers["retry-after"] == "1"
        assert asking.get("/health").status_code == 200
        service.go_on.set()
        assert [one.result().status_code for one in asked] == [200, 200]
        assert asking.post("/recommend", json={"users": ["u0"]}).status_code == 200
        held(asking, 0)
