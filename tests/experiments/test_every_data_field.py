"""Every field of the data of a recipe changes which events are in which part; none is forgotten.

The parts are worked out here from plain rows, as users would by hand.
"""

import csv
import warnings
from collections import Counter, defaultdict

import pytest

from messages import refused
from softrec.data.aside import LeakageWarning
from softrec.errors import DataError
from softrec.experiments.build.data import load_split
from softrec.recipe.recipe import read_recipe
from softrec.recipe.specs.data import PARAMETERS, DataSettings

COLUMNS = ("who", "whom", "what", "that", "when", "then", "stars", "hearts")
NAMED = {"user": "who", "item": "what", "time": "when", "weight": "stars"}


def written():
    """Rows in which every second column is another reading of the first."""
    rows = []
    for n in range(60):
        user, item = n * 7 % 8, n * n % 11
        rows.append((user, (user + n // 30) % 8, item, (item + n % 2) % 11, 10 * n,
                     10 * n + 300 * (n % 3 == 0), n % 5, (n + 2) % 5))  # fmt: skip
    return [
        *rows,
        (20, 21, 1, 2, 5000, 6000, 4, 4),
        (20, 20, 3, 3, 5010, 6010, 4, 4),
        (5, 5, 30, 31, 7000, 7000, 4, 4),
    ]  # a short user; an item taken once, last


ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in written()]


def events(rows, user="who", item="what", time="when", **_):
    """Return (user, item, time), in the order of events of each user."""
    return sorted(((r[user], r[item], r[time]) for r in rows), key=lambda e: (e[0], e[2]))


def last_out(found, short="keep", cold="drop"):
    by_user = defaultdict(list)
    for event in found:
        by_user[event[0]].append(event)
    parts = {"train": [], "valid": [], "test": []}
    for own in by_user.values():
        if len(own) >= 3:
            parts["train"] += own[:-2]
            parts["valid"] += own[-2:-1]
            parts["test"] += own[-1:]
        elif short == "keep":
            parts["train"] += own
    return without_cold(parts) if cold == "drop" else parts


def by_time(found, valid, test):
    late = sorted(found, key=lambda e: e[2])
    n = len(late)
    cuts = [
        late[-(-round((n - 1) * share * 1e9) // 10**9)][2] for share in (1 - valid - test, 1 - test)
    ]
    parts = {
        "train": [e for e in late if e[2] < cuts[0]],
        "valid": [e for e in late if cuts[0] <= e[2] < cuts[1]],
        "test": [e for e in late if cuts[1] <= e[2]],
    }
    return without_cold(parts)


def by_session(found, valid, test, end=-1):
    by_user = defaultdict(list)
    for event in found:
        by_user[event[0]].append(event)
    late = sorted(own[end][2] for own in by_user.values())
    cuts = [late[-(-round((len(late) - 1) * share * 1e9) // 10**9)]
            for share in (1 - valid - test, 1 - test)]  # fmt: skip
    parts = {"train": [], "valid": [], "test": []}
    whole = {n: [u for u, own in by_user.items() if low <= own[end][2] < high]
             for n, low, high in (("train", 0, cuts[0]), ("valid", *cuts),
                                  ("test", cuts[1], float("inf")))}  # fmt: skip
    parts["train"] = [event for user in whole["train"] for event in by_user[user]]
    known = {event[1] for event in parts["train"]}
    for name in ("valid", "test"):
        for user in whole[name]:
            own = [event for event in by_user[user] if event[1] in known]
            parts[name] += own[-1:] if len(own) > 1 else []
    return parts


THIRDS = {"valid_fraction": 0.34, "test_fraction": 0.33}


def without_cold(parts):
    warm = {item for _, item, _ in parts["train"]}
    kept = {name: [e for e in parts[name] if e[1] in warm] for name in ("valid", "test")}
    return {"train": parts["train"]} | kept


def first_of_each(found):
    seen: dict = {}
    for event in found:
        seen.setdefault(event[:2], event)
    return list(seen.values())


def frequent(found, user=1, item=1):
    counts = Counter(e[1] for e in found)
    found = [e for e in found if counts[e[1]] >= item]
    counts = Counter(e[0] for e in found)
    return [e for e in found if counts[e[0]] >= user]


def core(found, k):
    while (smaller := frequent(frequent(found, item=k), user=k)) != found:
        found = smaller
    return found


def in_pieces(found, length):
    """Return the events of each user in pieces, each a user of its own; `found` is in order."""
    seen: Counter = Counter()
    pieces = []
    for user, item, time in found:
        pieces.append((f"{user}/{seen[user] // length + 1}", item, time))
        seen[user] += 1
    return pieces


def counted(parts):
    return {name: Counter(found) for name, found in parts.items()}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Return a function of the fields of `data`: the events of each part, by raw ids."""
    monkeypatch.chdir(tmp_path)
    write("log.csv", ROWS)
    write("other.csv", [row for row in ROWS if row["stars"] != 1])
    write(
        "bare.csv", [{key: row[key] for key in ("who", "what", "when")} for row in ROWS], head=False
    )

    def found(fields):
        data = {"source": "log.csv", **NAMED} | fields
        recipe = read_recipe({"data": {k: v for k, v in data.items() if v is not None}})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeakageWarning)
            split = load_split(recipe.data)
        parts = {}
        for name in ("train", "valid", "test"):
            log = getattr(split, name)
            users, items = (v.ids(log.frame[k].to_numpy()) for k, v in
                            (("user", log.users), ("item", log.items)))  # fmt: skip
            time = log.frame["time"].to_list() if log.has_time else [None] * len(users)
            parts[name] = Counter(zip(users, items, time, strict=True))
        return parts

    return found


def write(name, rows, head=True):
    with open(name, "w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        if head:
            out.writeheader()
        out.writerows(rows)


def reading(**columns):
    return counted(last_out(events(ROWS, **columns)))


def rated(column, least):
    return counted(last_out(events([row for row in ROWS if row[column] >= least])))


ALL = events(ROWS)
SEEN: dict[str, list] = {
    "source": [({"source": "log.csv"}, reading()),
               ({"source": "other.csv"},
                counted(last_out(events([r for r in ROWS if r["stars"] != 1]))))],
    "user": [({"user": name}, reading(user=name)) for name in ("who", "whom")],
    "item": [({"item": name}, reading(item=name)) for name in ("what", "that")],
    "time": [({"time": name}, reading(time=name)) for name in ("when", "then")],
    "weight": [({"weight": name, "clean": "min-weight=2"}, rated(name, 2))
               for name in ("stars", "hearts")],
    "clean": [
        ({"clean": steps, "cold_items": "keep"}, counted(last_out(kept, cold="keep")))
        for steps, kept in (
            ("min-weight=1.5", events([row for row in ROWS if row["stars"] >= 1.5])),
            (["drop-duplicates"], first_of_each(ALL)), (["min-user=8"], frequent(ALL, user=8)),
            (["min-item=11"], frequent(ALL, item=11)),
            (["drop-duplicates", "k-core=3"], core(first_of_each(ALL), 3)),
            (["pieces=4"], in_pieces(ALL, 4)),
        )
    ],
    "short_users": [({"short_users": name}, counted(last_out(ALL, short=name)))
                    for name in ("keep", "drop")],
    "cold_items": [({"cold_items": name}, counted(last_out(ALL, cold=name)))
                   for name in ("keep", "drop")],
    "split": [({"split": "leave-last-out"}, reading()),
              ({"split": "time"}, counted(by_time(ALL, 0.1, 0.1))),
              ({"split": "session-time", **THIRDS}, counted(by_session(ALL, 1 / 3, 1 / 3)))],
    "session_moment": [({"split": "session-time", "session_moment": name, **THIRDS},
                        counted(by_session(ALL, 1 / 3, 1 / 3, end)))
                       for name, end in (("last", -1), ("first", 0))],
    "valid_fraction": [({"split": "time", "valid_fraction": share},
                        counted(by_time(ALL, share, 0.1)))
                    for share in (0.2, 0.4)],
    "test_fraction": [({"split": "time", "test_fraction": share},
                       counted(by_time(ALL, 0.1, share)))
                   for share in (0.2, 0.4)],
}  # fmt: skip


@pytest.mark.parametrize("field", SEEN)
def test_a_field_makes_the_parts_it_says(field, read):
    found = []
    for fields, expected in SEEN[field]:
        found.append(read(fields))
        assert found[-1] == expected, fields
    assert all(one != other for i, one in enumerate(found) for other in found[:i])


@pytest.mark.parametrize("field", ["short_users", "cold_items"])
def test_what_is_strict_is_refused(field, read):
    with pytest.raises(DataError):
        read({field: "error"})


@pytest.mark.parametrize("name", ["valid_fraction", "test_fraction"])
def test_shares_of_random_splits(name, read):
    """Each user gives about this share of their events."""
    sizes = []
    for share in (0.15, 0.5):
        parts = read({"split": "user-ratio", "cold_items": "keep", name: share, **(
            {"valid_fraction": 0.1} if name == "test_fraction" else {})})  # fmt: skip
        sizes.append(parts[name.removesuffix("_fraction")].total())
    assert sizes[0] < sizes[1]


def test_split_seed(read):
    fields = {"split": "user-ratio", "cold_items": "keep"}
    zero, again, one = (read(fields | {"split_seed": seed}) for seed in (0, 0, 1))
    assert zero == again
    assert zero != one
    assert sum(zero.values(), Counter()) == sum(one.values(), Counter()) == Counter(ALL)


@pytest.fixture
def cases(tmp_path, monkeypatch):
    """Return a function of the fields of `data`: history and relevant items of each test case."""
    monkeypatch.chdir(tmp_path)
    write("log.csv", ROWS)

    def found(fields):
        data = {"source": "log.csv", **NAMED, "split": "time", "test_fraction": 0.4} | fields
        split = load_split(read_recipe({"data": data}).data)
        cases, ids = split.cases("test"), split.train.items.ids
        return [
            (split.train.users.ids([user]).item(), ids(history).to_list(), ids(asked).to_list())
            for user, history, asked in zip(cases.user, cases.history, cases.relevant, strict=True)
        ]

    return found


def test_relevant(cases):
    """One of the events that are asked about by default, after the same history."""
    every = by_time(ALL, 0.1, 0.4)["test"]
    later = {user: [item for who, item, _ in every if who == user] for user, _, _ in every}
    whole = cases({})
    assert whole == [
        (user, history, list(dict.fromkeys(later[user]))) for user, history, _ in whole
    ]
    for relevant, place in (("first", 0), ("last", -1)):
        expected = [(user, history, [later[user][place]]) for user, history, _ in whole]
        assert cases({"relevant": relevant}) == expected
    one, other = (cases({"relevant": "random", "split_seed": seed}) for seed in (0, 1))
    assert one != other
    for user, _, asked in one + other:
        assert len(asked) == 1
        assert asked[0] in later[user]


def test_order(cases):
    """The same labels after the same items in another order."""
    whole, control, other = cases({}), cases({"order": "shuffled"}), cases(
        {"order": "shuffled", "split_seed": 1})  # fmt: skip
    assert whole != control != other
    for (user, history, asked), mixed in zip(whole, control, strict=True):
        assert (user, Counter(history), asked) == (mixed[0], Counter(mixed[1]), mixed[2])


@pytest.mark.filterwarnings("ignore::softrec.data.aside.LeakageWarning")
@pytest.mark.parametrize("first", [1, 2, 99])
def test_first_items(cases, first):
    """The same is asked for, after the first training items alone, without the validation item."""
    keep = {"split": "leave-last-out", "cold_items": "keep"}
    whole, cut = cases(keep), cases({**keep, "first_items": first})
    assert [(user, asked) for user, _, asked in cut] == [(user, asked) for user, _, asked in whole]
    for (_, history, _), (_, early, _) in zip(whole, cut, strict=True):
        assert early == history[:-1][:first]


def test_first_items_are_trained_on(read):
    own = last_out(ALL)["train"]
    first = [event for user in dict.fromkeys(e[0] for e in own)
             for event in [e for e in own if e[0] == user][:2]]  # fmt: skip
    found = read({"first_items": 2})
    assert found == counted({**last_out(ALL), "train": first})


@pytest.mark.filterwarnings("ignore::softrec.data.aside.LeakageWarning")
def test_false_positives(cases, read):
    """Half of the training items of each user are others; what is asked stays the same."""
    keep = {"split": "leave-last-out", "cold_items": "keep"}
    assert cases({**keep, "false_positives": 0.5}) == cases(keep)
    logged, known = read(keep), defaultdict(set)
    for user, item, _ in logged["train"]:
        known[user].add(item)
    for seed in (0, 1):
        noisy = read({**keep, "false_positives": 0.5, "split_seed": seed})
        assert (noisy["valid"], noisy["test"]) == (logged["valid"], logged["test"])
        gone, false = logged["train"] - noisy["train"], noisy["train"] - logged["train"]
        assert gone.total() == false.total() > 0
        assert all(item not in known[user] for user, item, _ in false)
        for user in known:
            n = sum(count for (who, *_), count in logged["train"].items() if who == user)
            own = sum(count for (who, *_), count in false.items() if who == user)
            assert n // 2 <= own <= (n + 1) // 2
    assert read({**keep, "false_positives": 0.5}) != noisy


def test_contamination(read):
    keep = {"split": "leave-last-out", "cold_items": "keep", "false_positives": 0.5}
    logged = read({**keep, "false_positives": 0})["train"]
    for how, gone in (("replace", True), ("add", False)):
        assert bool(logged - read({**keep, "contamination": how})["train"]) == gone


def test_given_parts(read):
    files = {name: [row for n, row in enumerate(ROWS) if n % 3 == place]
             for place, name in enumerate(("train", "valid", "test"))}  # fmt: skip
    for name, rows in files.items():
        write(f"{name}.csv", rows)
    for valid, test in (("valid", "test"), ("test", "valid")):
        fields = {"source": "train.csv", "valid": f"{valid}.csv", "test": f"{test}.csv"}
        parts = {"train": files["train"], "valid": files[valid], "test": files[test]}
        expected = without_cold({name: events(rows) for name, rows in parts.items()})
        assert read(fields | {"split": "given"}) == counted(expected)


def test_header(read):
    """Without a header the columns go by their places, and the first line is an event."""
    places = {"user": "column_1", "item": "column_2", "time": "column_3", "weight": None}
    assert read({"source": "bare.csv", "header": False} | places) == reading()
    with refused(DataError):
        read({"source": "bare.csv", "header": True} | places)


def test_text_ids(read):
    for text, kind in ((False, int), (True, str)):
        expected = {
            name: Counter(
                {(kind(user), kind(item), time): n for (user, item, time), n in c.items()}
            )
            for name, c in reading().items()
        }
        assert read({"text_ids": text}) == expected


OTHER = {
    "n_items": 40, "n_categories": 5, "n_archetypes": 6, "interests": 2, "skew": 0.2,
    "stickiness": 0.9, "complementarity": 0.9, "n_complements": 2, "memory": 0.8, "drift": 0.6,
    "noise": 0.5, "exposure_floor": 0.9, "seed": 3, "n_users": 11, "min_length": 5,
    "max_length": 30, "open_test": False, "times": True,
}  # fmt: skip
"""Another value of every parameter of the shop."""


@pytest.mark.slow
@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_parameter_of_the_shop_makes_another_log(parameter, read):
    """A parameter without another value in `OTHER` fails here."""
    small = {"n_items": 30, "n_categories": 4, "n_archetypes": 4, "n_users": 9}
    nothing = dict.fromkeys(NAMED)
    fields = nothing | {"source": "shop", "cold_items": "keep"}
    before = read(fields | {"shop": small})
    assert read(fields | {"shop": small}) == before
    assert read(fields | {"shop": small | {parameter: OTHER[parameter]}}) != before


def test_no_field_is_forgotten():
    apart = {
        "split_seed",
        "valid",
        "test",
        "header",
        "text_ids",
        "shop",
        "relevant",
        "order",
        "first_items",
        "false_positives",
        "contamination",
        "items",
        "user_table",
        "on_disk",
    }  # fmt: skip; items, user_table: test_item_tables.py; on_disk: test_on_disk.py
    seen = {*SEEN, *apart}
    assert set(DataSettings.model_fields) == seen
