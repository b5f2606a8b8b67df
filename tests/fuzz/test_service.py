"""Whatever is sent to the service, it answers: with a list, or with a typed error."""

import json
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from cases import cases
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))

from shops import TEAS, shop, table

from softrec.errors import LONGEST
from softrec.serving.http.app import create_app
from softrec.serving.http.limits import Sizes

STATUSES = {200, 400, 401, 404, 405, 408, 413, 415, 422, 503}
IDS = st.sampled_from(
    ["u0", "u5", *TEAS[:3], "", "\0", "\ud800", "é", "u" * 600, 0, -1, 2**63, 2**70]
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | IDS
ANYTHING = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
CONDITIONS = [
    "kind = 'x'", "title LIKE '%a%'", "1=1", "(", "kind in (select 1)", "'", "kind =", "--",
    "length(title) > 3 and not kind is null", "x" * 3000, "kind;drop",
]  # fmt: skip
WHERE = st.sampled_from(CONDITIONS)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "allow": st.lists(IDS, max_size=3) | ANYTHING,
        "block": st.lists(IDS, max_size=3) | ANYTHING,
        "pinned": st.lists(IDS, max_size=3) | ANYTHING,
        "where": WHERE | ANYTHING,
        "at_most": st.dictionaries(st.sampled_from(["kind", "id", "price"]), st.integers(-1, 3))
        | ANYTHING,
        "mask_seen": st.booleans() | ANYTHING,
        "other": ANYTHING,
    },
)
FIELDS = {
    "users": st.lists(IDS, max_size=4) | ANYTHING,
    "histories": st.lists(st.lists(IDS, max_size=4), max_size=3)
    | st.dictionaries(st.text(max_size=4), st.lists(IDS, max_size=4), max_size=3)
    | ANYTHING,
    "items": st.lists(IDS, max_size=4) | st.integers(-1, 9) | ANYTHING,
    "weights": st.lists(st.floats() | st.integers(-1, 3), max_size=4) | ANYTHING,
    "k": st.integers(-1, 12) | ANYTHING,
    "history": st.integers(-1, 5) | ANYTHING,
    "why": st.booleans() | ANYTHING,
    "mask_seen": st.booleans() | st.none() | ANYTHING,
    "unknown": st.sampled_from(["skip", "error", "x"]) | ANYTHING,
    "rules": RULES | ANYTHING,
}
ASKED = {
    "/recommend": ("users", "histories", "k", "why", "mask_seen", "unknown", "rules", "history"),
    "/similar": ("items", "weights", "k", "rules"),
    "/interests": ("users", "histories", "items", "mask_seen", "unknown"),
}
BODIES = st.one_of(
    *(st.tuples(st.just(path), st.fixed_dictionaries({}, optional={n: FIELDS[n] for n in names}))
      for path, names in ASKED.items()),
    st.tuples(st.sampled_from(sorted(ASKED)), ANYTHING),
)  # fmt: skip


@pytest.fixture(scope="module")
def asking():
    kinds = {"kind": ["black", "black", None, "blend", "white", "green", "green", "blend"]}
    service = shop("comirec-sa", catalogue=table(**kinds))
    sizes = Sizes(body=20_000, users=5, history=6, k=10, rows=40)
    with TestClient(create_app(service, sizes=sizes), raise_server_exceptions=True) as client:
        yield client


def check(reply):
    """An answer is JSON, and a refusal has its three words, each on one line."""
    assert reply.status_code in STATUSES, (reply.status_code, reply.text)
    told = json.loads(reply.content)
    if reply.status_code != 200:
        error = told["error"]
        assert error.keys() == {"type", "message", "fix"}
        for words in error.values():
            assert words
            assert words.isprintable()
            assert len(words) <= LONGEST


def post(asking, path, content):
    return asking.post(path, content=content, headers={"content-type": "application/json"})


@cases(120)
@given(asked=BODIES)
def test_any_json_is_answered(asking, asked):
    path, body = asked
    check(post(asking, path, json.dumps(body).encode()))


@cases(60)
@given(path=st.sampled_from(sorted(ASKED)), body=st.binary(max_size=200))
def test_any_bytes_are_answered(asking, path, body):
    check(post(asking, path, body))


@cases(60)
@given(asked=BODIES, place=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_json_with_a_wrong_byte_is_answered(asking, asked, place, byte):
    path, body = asked
    text = bytearray(json.dumps(body).encode())
    text[place % len(text)] = byte
    check(post(asking, path, bytes(text)))


@cases(60)
@given(
    path=st.sampled_from(["/items", "/similar", "/about", "/health"]),
    query=st.dictionaries(st.sampled_from(["q", "id", "item", "k", "offset", "limit", "x"]),
                          st.text(max_size=30) | st.integers().map(str), max_size=4),
)  # fmt: skip
def test_any_query_is_answered(asking, path, query):
    query = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    check(asking.get(path, params=query))


@cases(60)
@given(path=st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_path_is_answered(asking, path):
    reply = asking.get("/x" + quote(path))
    assert reply.status_code in (404, 405)
    check(reply)


DEEP = 100_000
NESTED = {
    "lists": "[" * DEEP + "]" * DEEP,
    "open lists": "[" * DEEP,
    "objects": '{"users":' * DEEP + "1" + "}" * DEEP,
    "a history": '{"histories": ' + "[" * DEEP + "]" * DEEP + "}",
    "rules": '{"users": ["u0"], "rules": ' + '{"at_most":' * DEEP + "1" + "}" * DEEP + "}",
}


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("path", sorted(ASKED))
def test_json_within_json_is_refused(name, path):
    with TestClient(create_app(shop())) as asking:
        reply = post(asking, path, NESTED[name].encode())
        assert reply.status_code in (400, 413, 422)
        check(reply)
        assert asking.get("/health").status_code == 200


HUGE = {
    "users": json.dumps({"users": ["u0"] * 100_000}),
    "histories": json.dumps({"histories": [["assam"]] * 80_000}),
    "a history": json.dumps({"histories": [["assam"] * 90_000]}),
    "a number": '{"users": ["u0"], "k": ' + "9" * 500_000 + "}",
    "an id": '{"users": [' + "9" * 500_000 + "]}",
    "a word": json.dumps({"users": ["u" * 1_000_000]}),
    "fields": json.dumps({f"x{n}": n for n in range(60_000)}),
    "faults": json.dumps({"users": [None] * 170_000}),
    "a block": json.dumps({"users": ["u0"], "rules": {"block": list(range(100_000))}}),
    "nothing": " " * 1_000_000,
}


@pytest.mark.parametrize("name", HUGE)
def test_huge_requests_are_refused(name):
    with TestClient(create_app(shop())) as asking:
        reply = post(asking, "/recommend", HUGE[name].encode())
        assert reply.status_code in (400, 422), reply.text
        check(reply)
        assert len(reply.content) < 2000
