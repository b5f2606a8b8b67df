"""What the service answers over HTTP: the recommender's own lists, and typed refusals."""

import logging

import polars as pl
import pytest
from fastapi.testclient import TestClient
from shops import N_ITEMS, TEAS, numbered, shop, table, teas

from softrec.errors import SoftrecError
from softrec.serving.http.app import create_app, key_of_environment
from softrec.serving.http.limits import Sizes
from softrec.serving.http.live import Deployed
from softrec.serving.service import Service

TIGHT = Sizes(body=2000, users=3, history=4, k=5, rows=9)


def client(service=None, **options):
    return TestClient(create_app(service or shop(), **options))


def listed(reply):
    """Return user -> [(item, score), ...] of a reply."""
    assert reply.status_code == 200, reply.text
    return {
        one["user"]: [(row["item"], row["score"]) for row in one["items"]]
        for one in reply.json()["lists"]
    }


def own(table: pl.DataFrame):
    """Return the same of a table of the recommender."""
    return {
        user: [(item, score) for *_, item, score in rows.iter_rows()]
        for (user,), rows in table.select("user", "rank", "item", "score").group_by(
            "user", maintain_order=True
        )
    }


def refusal(reply, status, kind):
    """Check that a reply is a typed error, and return it."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    (name, error), *rest = reply.json().items()
    assert (name, rest) == ("error", [])
    assert error.keys() == {"type", "message", "fix"}
    assert error["type"] == kind
    assert all(error.values())
    assert "Traceback" not in reply.text
    return error


# --- the same as the recommender ---


def test_a_recommender_is_a_service():
    assert isinstance(shop(), Service)


def test_lists_are_those_of_the_recommender():
    service = shop()
    reply = client(service).post("/recommend", json={"users": ["u0", "u1"], "k": 3})
    assert listed(reply) == own(service.recommend(["u0", "u1"], 3))
    assert [row["rank"] for row in reply.json()["lists"][0]["items"]] == [1, 2, 3]


@pytest.mark.parametrize("mask_seen", [True, False, None])
def test_histories_and_seen_items(mask_seen):
    service, histories = shop(), {"bob": ["assam", "irish"], "eve": ["ceylon"]}
    asked = {"histories": histories, "k": N_ITEMS, "mask_seen": mask_seen}
    wanted = service.recommend(None, N_ITEMS, histories=histories, mask_seen=mask_seen)
    assert listed(client(service).post("/recommend", json=asked)) == own(wanted)
    assert ("assam" in dict(own(wanted)["bob"])) == (mask_seen is False)


def test_users_and_histories_together_and_histories_without_names():
    service = shop()
    asked = {"users": ["u1"], "histories": [["assam"], ["irish", "ceylon"]], "k": 2}
    found = listed(client(service).post("/recommend", json=asked))
    assert [*found] == ["u1", "history 1", "history 2"]
    assert found == own(service.recommend("u1", 2, histories=asked["histories"]))


def test_numbers_stay_numbers_also_beside_named_histories():
    service = shop(log=numbered())
    found = listed(client(service).post(
        "/recommend", json={"users": [3, "2"], "histories": {"new": [1, "4"]}, "k": 2}
    ))  # fmt: skip
    assert [*found] == [3, "2", "new"]
    alone = own(service.recommend([3], 2))[3]
    assert found[3] == [(item, pytest.approx(score, rel=1e-5)) for item, score in alone]
    assert all(isinstance(item, int) for item, _ in found["new"])


def test_histories_are_told_where_they_are_asked_for():
    service = shop(catalogue=table())
    asked = {"users": ["u5", "u1"], "histories": {"bob": ["irish", "cola", "assam"]}, "history": 2}
    lists = client(service).post("/recommend", json=asked).json()["lists"]
    own = {user: service.log.items.ids(service.log.sequences[n]).to_list()
           for n, user in enumerate(service.log.users.raw)}  # fmt: skip
    told = [[row["item"] for row in one["history"]] for one in lists]
    assert told == [own["u5"][-2:], own["u1"][-2:], ["irish", "assam"]]
    assert lists[0]["history"][1] == {"item": "irish", "title": "Irish"}
    assert "history" not in client(service).post("/recommend", json={"users": ["u1"]}).text


def test_a_user_with_nothing_left_has_an_empty_list():
    found = listed(client().post("/recommend", json={"users": ["u5", "u0"], "k": 3}))
    assert found["u5"] == []
    assert len(found["u0"]) == 3


def test_a_user_who_is_named_twice_is_listed_once():
    reply = client().post("/recommend", json={"users": ["u0", "u1", "u0"]})
    assert [one["user"] for one in reply.json()["lists"]] == ["u0", "u1"]


@pytest.mark.parametrize("named", [[1, "1", 2], ["1", 1, "2"]])
def test_a_number_and_the_same_as_text_are_one_user_and_one_item(named):
    asking = client(shop("comirec-sa", log=numbered()))
    lists = asking.post("/recommend", json={"users": named, "k": 2}).json()["lists"]
    interests = asking.post("/interests", json={"users": named, "items": 1}).json()["users"]
    similar = asking.post("/similar", json={"items": named, "k": 2}).json()["lists"]
    for found, name in ((lists, "user"), (interests, "user"), (similar, "similar_to")):
        assert [one[name] for one in found] == [named[0], named[2]]
    assert [[row["rank"] for row in one["items"]] for one in lists + similar] == [[1, 2]] * 4
    assert [[row["interest"] for row in one["interests"]] for one in interests] == [[0, 1]] * 2


def test_why_and_interests():
    service = shop("comirec-sa")
    asking = client(service)
    reply = asking.post("/recommend", json={"users": ["u2"], "k": 2, "why": True}).json()
    rows = reply["lists"][0]["items"]
    wanted = service.recommend("u2", 2, why=True)
    assert [row["interest"] for row in rows] == wanted["interest"].to_list()
    assert rows[0]["contribution"] is None
    found = asking.post("/interests", json={"users": ["u2", "u3"], "items": 2}).json()["users"]
    table = service.interests(["u2", "u3"], items=2)
    assert [one["user"] for one in found] == ["u2", "u3"]
    assert [i["items"] for one in found for i in one["interests"]] == table["items"].to_list()


def test_unknown_items_of_a_history_are_noted_and_skipped():
    service = shop()
    reply = client(service).post(
        "/recommend", json={"histories": {"bob": ["cola", "assam", "water"]}, "k": 2}
    )
    assert listed(reply) == own(service.recommend(None, 2, histories={"bob": ["assam"]}))
    (note,) = reply.json()["notes"]
    assert "'bob'" in note
    assert "'cola', 'water'" in note
    assert "assam" not in note


def test_the_unknown_are_left_out_where_the_request_says_so():
    asked = {"users": ["u0", "ann"], "histories": {"bob": ["cola"]}, "unknown": "skip", "k": 1}
    reply = client().post("/recommend", json=asked)
    assert [*listed(reply)] == ["u0"]
    assert len(reply.json()["notes"]) == 2
    asked |= {"users": ["ann"]}
    assert listed(client().post("/recommend", json=asked)) == {}


# --- titles, rules, similar items ---

KINDS = {"kind": ["black", "black", "black", "blend", "white", "green", "green", "blend"]}


def test_titles_stand_beside_ids():
    service = shop("comirec-sa", catalogue=table(**KINDS))
    asking = client(service)
    rows = asking.post("/recommend", json={"users": ["u0"]}).json()["lists"][0]["items"]
    assert all(row["title"] == row["item"].title() for row in rows)
    found = asking.post("/interests", json={"users": ["u0"]}).json()["users"][0]["interests"]
    assert all(one["titles"] == [item.title() for item in one["items"]] for one in found)
    found = asking.get("/items", params={"q": "grey"}).json()["items"]
    assert found == [{"item": "earl grey", "title": "Earl Grey"}]
    assert asking.get("/about").json()["titles"] is True


def test_titles_are_searched_and_may_be_missing():
    titles = ["Malty", None, "First Flush", "", "Irish Breakfast", None, None, "Breakfast"]
    asking = client(shop(catalogue=table(title=titles)))
    found = asking.get("/items", params={"q": "breakf"}).json()["items"]
    assert [row["item"] for row in found] == ["irish", "fujian"]  # begins with it; has it
    assert asking.get("/items", params={"q": "none"}).json()["total"] == 0
    assert asking.get("/items", params={"q": "ceylon"}).json()["items"][0]["title"] is None


RULES = [
    {"allow": ["assam", "irish", "gyokuro"]},
    {"block": ["assam", "irish"], "mask_seen": False},
    {"where": "kind = 'green'"},
    {"at_most": {"kind": 1}},
    {"pinned": ["hojicha"], "mask_seen": False},
    {"allow": ["assam", "irish"], "pinned": ["irish"], "mask_seen": False},
]


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_rules_are_those_of_the_recommender(rules):
    service = shop(catalogue=table(**KINDS))
    asking = client(service)
    asked = {"users": ["u0", "u1"], "k": N_ITEMS, "rules": rules}
    wanted = service.recommend(["u0", "u1"], N_ITEMS, rules=rules).drop("title")
    assert listed(asking.post("/recommend", json=asked)) == own(wanted)
    reply = asking.post("/similar", json={"items": ["ceylon"], "k": 4, "rules": rules}).json()
    table_of = service.similar("ceylon", 4, rules=rules)
    assert [row["item"] for row in reply["lists"][0]["items"]] == table_of["item"].to_list()


WRONG_RULES = {
    "no such column": ({"where": "price > 3"}, "wrong_rules"),
    "no condition": ({"where": "kind"}, "wrong_rules"),
    "another table": ({"where": "kind in (select kind from self)"}, "wrong_rules"),
    "a file": ({"where": "kind in (select * from read_csv('/etc/passwd'))"}, "wrong_rules"),
    "a call": ({"where": "__import__('os').system('true')"}, "wrong_rules"),
    "no such column to limit": ({"at_most": {"price": 1}}, "wrong_rules"),
    "an unknown pinned item": ({"pinned": ["cola"]}, "wrong_rules"),
    "nothing allowed is known": ({"allow": ["cola"]}, "wrong_rules"),
    "nothing is allowed": ({"allow": []}, "wrong_rules"),
    "no such rule": ({"only": ["assam"]}, "invalid_request"),
    "none of a kind": ({"at_most": {"kind": 0}}, "invalid_request"),
    "text for a list": ({"block": "assam"}, "invalid_request"),
    "pinned and blocked": ({"block": ["assam"], "pinned": ["assam"]}, "invalid_request"),
    "an id of 70 bits": ({"block": [2**70]}, None),
    "rules that are a list": ([], "invalid_request"),
}


@pytest.mark.parametrize("name", WRONG_RULES)
def test_wrong_rules_are_refused(name):
    rules, kind = WRONG_RULES[name]
    asking = client(shop(catalogue=table(**KINDS)))
    reply = asking.post("/recommend", json={"users": ["u0"], "rules": rules})
    if kind is not None:
        assert "Value error" not in refusal(reply, 422, kind)["message"]
    else:
        assert reply.status_code == 200


def test_rules_without_a_table_of_items_are_refused():
    reply = client().post("/recommend", json={"users": ["u0"], "rules": {"where": "stock > 0"}})
    refusal(reply, 422, "wrong_rules")


@pytest.mark.parametrize("rules", [{"block": ["x"] * 11}, {"allow": ["x"] * 6, "pinned": ["y"] * 5},
                                   {"at_most": dict.fromkeys("abcdefghi", 1)}])  # fmt: skip
def test_too_many_rules_are_refused(rules):
    asking = client(sizes=Sizes(rules=10))
    refusal(asking.post("/recommend", json={"users": ["u0"], "rules": rules}), 422, "too_many")


def test_similar_items_are_those_of_the_recommender():
    service = shop()
    asking = client(service)
    wanted = service.similar(["assam", "irish"], 3)
    for reply in (
        asking.post("/similar", json={"items": ["assam", "irish", "assam"], "k": 3}),
        asking.get("/similar", params={"item": ["assam", "irish"], "k": 3}),
    ):
        lists = reply.json()["lists"]
        assert [one["similar_to"] for one in lists] == ["assam", "irish"]
        found = [(row["item"], row["score"]) for one in lists for row in one["items"]]
        assert found == list(wanted.select("item", "score").iter_rows())


def test_similar_to_several_with_weights():
    service = shop()
    asked = {"items": ["assam", "irish"], "weights": [3, 1], "k": 2}
    ((one),) = client(service).post("/similar", json=asked).json()["lists"]
    assert one["similar_to"] == ["assam", "irish"]
    wanted = service.similar(["assam", "irish"], 2, weights=[3, 1])
    assert [row["score"] for row in one["items"]] == wanted["score"].to_list()


@pytest.mark.parametrize(
    ("asked", "status", "kind"),
    [
        ({"items": ["cola"], "k": 1}, 404, "unknown_item"),
        ({"items": []}, 422, "invalid_request"),
        ({"items": "assam"}, 422, "invalid_request"),
        ({"items": ["assam"], "weights": [-1]}, 422, "invalid_request"),
        ({"items": ["assam"], "weights": [1, 2], "k": 1}, 422, "refused"),
        ({"items": ["assam"], "weights": [0], "k": 1}, 422, "refused"),
        ({"items": ["assam"] * 4, "k": 1}, 422, "too_many"),
        ({"items": ["assam"], "k": 6}, 422, "too_many"),
        ({"items": ["assam"] * 3, "k": 4}, 422, "too_many"),
    ],
)
def test_similar_items_that_cannot_be_listed(asked, status, kind):
    refusal(client(sizes=TIGHT).post("/similar", json=asked), status, kind)


@pytest.mark.parametrize("query", ["", "?item=", "?item=assam&k=0", "?item=assam&k=x"])
def test_wrong_queries_for_similar_items(query):
    assert client().get(f"/similar{query}").status_code in (404, 422)


# --- the catalogue and the server ---


def test_items_are_searched_and_paged():
    asking = client()
    everything = asking.get("/items", params={"limit": 200}).json()
    assert everything["total"] == N_ITEMS
    assert [row["item"] for row in everything["items"]] == TEAS
    page = asking.get("/items", params={"offset": 3, "limit": 2}).json()
    assert [row["item"] for row in page["items"]] == TEAS[3:5]
    found = asking.get("/items", params={"q": " EARL  g"}).json()
    assert (found["total"], [row["item"] for row in found["items"]]) == (1, ["earl grey"])
    assert asking.get("/items", params={"q": ".*"}).json()["total"] == 0


def test_items_are_looked_up_by_their_ids():
    asking = client(shop(catalogue=table()))
    found = asking.get("/items", params={"id": ["irish", "cola", "assam"]}).json()
    assert found["total"] == 2
    assert found["items"] == [
        {"item": "irish", "title": "Irish"}, {"item": "assam", "title": "Assam"},
    ]  # fmt: skip
    assert asking.get("/items", params={"id": "cola"}).json()["items"] == []
    found = client(shop(log=numbered())).get("/items", params={"id": ["5", "x"]}).json()["items"]
    assert found == [{"item": 5}]


def test_what_begins_with_the_text_comes_first():
    found = client().get("/items", params={"q": "i"}).json()["items"]
    assert [row["item"] for row in found] == ["irish", "darjeeling", "fujian", "hojicha"]


def test_numbers_are_searched_as_text():
    found = client(shop(log=numbered())).get("/items", params={"q": "7"}).json()
    assert found["items"] == [{"item": 7}]


def test_about_tells_what_the_model_can_do():
    able = {"sasrec": (True, False), "comirec-sa": (True, True), "mf": (False, False)}
    for model, (histories, interests) in able.items():
        about = client(shop(model)).get("/about").json()
        assert (about["histories"], about["interests"]) == (histories, interests)
        assert (about["users"], about["items"]) == (6, N_ITEMS)
        assert about["some_users"][0] == "u0"
        assert about["mask_seen"] is True


def test_health_and_version():
    asking = client(Deployed(shop(), "run", "abc"))
    health = asking.get("/health").json()
    assert health["status"] == "ok"
    assert health["served"] == {
        "model": "SASRec", "kind": "run", "version": "abc", "created": None,
    }  # fmt: skip
    served = asking.post("/recommend", json={"users": ["u0"]}).json()["served"]
    assert served == health["served"]


def test_metrics_count_requests_errors_and_lists():
    asking = client(Deployed(shop(), "run", "abc"))
    asking.post("/recommend", json={"users": ["u0", "u1"]})
    asking.post("/recommend", json={"users": ["nobody"]})
    asking.get("/nowhere")
    asking.get("/nowhere/else")
    text = asking.get("/metrics").text
    for line in [
        'softrec_requests_total{path="/recommend",status="200"} 1.0',
        'softrec_requests_total{path="/recommend",status="404"} 1.0',
        'softrec_requests_total{path="other",status="404"} 2.0',
        'softrec_request_seconds_count{path="/recommend"} 2.0',
        'softrec_errors_total{type="unknown_user"} 1.0',
        'softrec_errors_total{type="not_found"} 2.0',
        "softrec_lists_total 2.0",
        'softrec_model{kind="run",model="SASRec",version="abc"} 1.0',
    ]:
        assert line in text.splitlines()


def test_two_applications_count_apart():
    first, second = client(), client()
    first.get("/health")
    assert 'path="/health"' not in second.get("/metrics").text


def test_openapi_has_examples_that_are_answered():
    asking = client(shop(log=teas()))
    told = asking.get("/openapi.json").json()
    body = told["paths"]["/recommend"]["post"]["requestBody"]["content"]["application/json"]
    assert len(body["examples"]) >= 3
    for example in body["examples"].values():
        reply = asking.post("/recommend", json=example["value"])
        assert reply.status_code in (200, 404), reply.text  # their ids are not those of the shop
    assert body["schema"]["properties"]["users"]
    refs = set(_refs(told))
    assert refs
    for ref in refs:
        *_, name = ref.removeprefix("#/components/schemas/").split("/")
        assert name in told["components"]["schemas"]


def _refs(told):
    if isinstance(told, dict):
        yield from ([told["$ref"]] if "$ref" in told else [])
        for part in told.values():
            yield from _refs(part)
    elif isinstance(told, list):
        for part in told:
            yield from _refs(part)


# --- refusals ---

WRONG = {
    "unknown user": ({"users": ["ann"]}, 404, "unknown_user"),
    "one of them": ({"users": ["u0", "ann"]}, 404, "unknown_user"),
    "number for text": ({"users": [7]}, 404, "unknown_user"),
    "no known item": ({"histories": {"bob": ["cola"]}}, 404, "unknown_item"),
    "no item": ({"histories": {"bob": []}}, 404, "unknown_item"),
    "nobody": ({}, 422, "invalid_request"),
    "nobody listed": ({"users": [], "histories": {}}, 422, "invalid_request"),
    "a list": ([1, 2], 422, "invalid_request"),
    "text": ("users", 422, "invalid_request"),
    "one user": ({"users": "u0"}, 422, "invalid_request"),
    "no such field": ({"user": ["u0"]}, 422, "invalid_request"),
    "k zero": ({"users": ["u0"], "k": 0}, 422, "invalid_request"),
    "k text": ({"users": ["u0"], "k": "3"}, 422, "invalid_request"),
    "k true": ({"users": ["u0"], "k": True}, 422, "invalid_request"),
    "k half": ({"users": ["u0"], "k": 1.5}, 422, "invalid_request"),
    "an id that is a truth": ({"users": [True]}, 422, "invalid_request"),
    "an id that is null": ({"users": [None]}, 422, "invalid_request"),
    "an id that is a fraction": ({"users": [1.5]}, 422, "invalid_request"),
    "an id that is a list": ({"users": [["u0"]]}, 422, "invalid_request"),
    "an id that is long": ({"users": ["u" * 501]}, 422, "invalid_request"),
    "an id of 70 bits": ({"users": [2**70]}, 422, "invalid_request"),
    "a flat history": ({"histories": ["assam"]}, 422, "invalid_request"),
    "why without interests": ({"users": ["u0"], "why": True}, 422, "refused"),
    "a name twice": ({"users": ["u0"], "histories": {"u0": ["assam"]}}, 422, "invalid_request"),
    "unknown": ({"users": ["u0"], "unknown": "ignore"}, 422, "invalid_request"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_answered_is_refused(name):
    body, status, kind = WRONG[name]
    refusal(client().post("/recommend", json=body), status, kind)


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"users": ["u0", "u1", "u2", "u3"]}, "too_many"),
        ({"histories": [["assam"]] * 4}, "too_many"),
        ({"histories": [["assam"] * 5]}, "too_many"),
        ({"users": ["u0"], "k": 6}, "too_many"),
        ({"users": ["u0", "u1"], "k": 5}, "too_many"),
    ],
)
def test_what_is_too_much_is_refused(asked, kind):
    assert (
        "at most"
        in refusal(client(sizes=TIGHT).post("/recommend", json=asked), 422, kind)["message"]
    )


def test_what_is_just_small_enough_is_answered():
    asking = client(sizes=TIGHT)
    for asked in ({"users": ["u0", "u1", "u2"], "k": 3}, {"histories": [["assam"] * 4], "k": 5}):
        assert asking.post("/recommend", json=asked).status_code == 200


def test_models_that_read_no_history_say_so():
    asked = {"histories": {"bob": ["assam"]}}
    error = refusal(client(shop("mf")).post("/recommend", json=asked), 422, "refused")
    assert "train a model that reads histories" in error["fix"]
    assert error["message"].startswith("the history of 'bob' cannot be used: MF ")
    assert "reads no history" in error["message"]


def test_models_without_interests_say_so():
    refusal(client().post("/interests", json={"users": ["u0"]}), 422, "refused")


@pytest.mark.parametrize("body", ["", "{", "{'users': 1}", '{"users": ["u0"]', "\x00", "tea"])
def test_a_body_that_is_no_json(body):
    reply = client().post("/recommend", content=body, headers={"content-type": "application/json"})
    refusal(reply, 400, "broken_json")


@pytest.mark.parametrize("body", [b"\xff\xfe", b'{"users": ["\xff"]}'])
def test_a_body_that_is_no_text(body):
    reply = client().post("/recommend", content=body, headers={"content-type": "application/json"})
    refusal(reply, 400, "broken_json")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_of_another_type_is_refused_with_the_header_to_send(kind):
    headers = {} if kind is None else {"content-type": kind}
    reply = client().post("/recommend", content='{"users": ["u0"]}', headers=headers)
    assert "Content-Type: application/json" in refusal(reply, 415, "unsupported_media_type")["fix"]


def test_a_body_that_is_too_large_is_refused():
    asking = client(sizes=TIGHT)
    for size in (2001, 50_000):
        reply = asking.post("/recommend", json={"users": ["u" * size]})
        refusal(reply, 413, "too_large")
    assert asking.get("/health").status_code == 200


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 201}, {"limit": "x"}, {"offset": -1},
                                   {"offset": 2**80}, {"q": "x" * 201}])  # fmt: skip
def test_wrong_pages_are_refused(query):
    refusal(client().get("/items", params=query), 422, "invalid_request")


def test_paths_and_methods_that_are_not_there():
    asking = client()
    refusal(asking.get("/recommend"), 405, "method_not_allowed")
    refusal(asking.get("/docs"), 404, "not_found")
    refusal(asking.post("/reload"), 404, "not_found")


def test_a_fault_of_the_server_is_logged_under_a_number_and_not_told(caplog):
    class Broken:
        name, log, catalogue = "broken", teas(), None

        def recommend(self, *_, **__):
            raise KeyError("secret")

    with caplog.at_level(logging.ERROR, "softrec.serve"):
        reply = client(Broken()).post("/recommend", json={"users": ["u0"]})
    error = refusal(reply, 500, "internal")
    assert "secret" not in reply.text
    (record,) = caplog.records
    assert record.getMessage().rpartition(" ")[2] in error["fix"]
    assert record.exc_info


# --- keys ---


def test_a_key_is_needed_for_all_that_tells_something():
    asking = client(key="s3cret")
    refusal(asking.get("/items"), 401, "unauthorized")
    refusal(asking.get("/metrics"), 401, "unauthorized")
    refusal(asking.get("/openapi.json"), 401, "unauthorized")
    refusal(asking.post("/recommend", json={"users": ["u0"]}), 401, "unauthorized")
    assert asking.get("/health").status_code == 200
    assert asking.get("/").status_code == 200
    for headers in ({"x-api-key": "s3cret"}, {"authorization": "Bearer s3cret"}):
        assert asking.get("/items", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "S3cret"},
        {"x-api-key": "s3cre"},
        {"x-api-key": ""},
        {"authorization": "Basic s3cret"},
        {"authorization": "s3cret"},
        {"x-api-key": "s3cret", "authorization": "Bearer s3cret"},
    ],
)
def test_wrong_keys_are_refused(headers):
    reply = client(key="s3cret").get("/items", headers=headers)
    refusal(reply, 401, "unauthorized")
    assert reply.headers["www-authenticate"] == "Bearer"


def test_a_body_without_a_key_is_not_read():
    reply = client(key="s3cret", sizes=TIGHT).post("/recommend", json={"users": ["u" * 9000]})
    refusal(reply, 401, "unauthorized")


def test_the_key_of_the_environment():
    assert key_of_environment({}) is None
    assert key_of_environment({"SOFTREC_API_KEY": " k "}) == "k"
    with pytest.raises(SoftrecError):
        key_of_environment({"SOFTREC_API_KEY": ""})
