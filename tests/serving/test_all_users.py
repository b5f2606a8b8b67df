"""Lists of all users in parts: those of `recommend`, also after a kill, never of two runs."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from shops import N_ITEMS, N_USERS, shop, table, teas

from messages import refused
from softrec.data.interactions import Interactions
from softrec.errors import DataError, RunError
from softrec.files import read_facts
from softrec.models.counted.popularity import Popularity
from softrec.serving.recommender import Recommender
from softrec.types import Events


def read(out: Path, folder: str) -> pl.DataFrame:
    files = sorted((out / folder).glob("*.parquet"))
    return pl.concat([pl.read_parquet(file) for file in files])


def everybody(service: Recommender, k: int, **options) -> pl.DataFrame:
    return service.recommend(service.log.users.raw.to_list(), k, **options)


@pytest.mark.parametrize("size", [1, 2, N_USERS, 100])
@pytest.mark.parametrize("model", ["sasrec", "comirec-sa", "mf"])
def test_the_lists_are_those_of_recommend(tmp_path, model, size):
    service = shop(model, catalogue=table())
    rules = {"block": ["assam"]}
    out = service.recommend_all(tmp_path / "all", 3, rules=rules, users_per_part=size)
    assert len(list((out / "lists").glob("*.parquet"))) == -(-N_USERS // size)
    # Of one user and of many the last digit of a score may differ.
    assert_frame_equal(read(out, "lists"), everybody(service, 3, rules=rules), abs_tol=1e-6)


@pytest.mark.parametrize("model", ["sasrec", "comirec-sa", "mf"])
def test_the_vectors_give_the_scores(tmp_path, model):
    service = shop(model)
    out = service.recommend_all(tmp_path / "all", N_ITEMS, mask_seen=False, users_per_part=4)
    users, items = read(out, "users"), read(out, "items")
    assert users["user"].to_list() == service.log.users.raw.to_list()
    assert items["item"].to_list() == service.log.items.raw.to_list()
    vectors = users["vector"].to_numpy().reshape(N_USERS, -1, items["vector"].dtype.shape[0])
    scores = np.einsum("ukd,nd->ukn", vectors, items["vector"].to_numpy()).max(1)
    if "bias" in items.columns:
        scores += items["bias"].to_numpy()
    lists = read(out, "lists")
    of = {raw: number for number, raw in enumerate(items["item"])}
    own = lists["item"].replace_strict(of).to_numpy().reshape(N_USERS, N_ITEMS)
    found = lists["score"].to_numpy().reshape(N_USERS, N_ITEMS)
    np.testing.assert_allclose(np.take_along_axis(scores, own, 1), found, atol=1e-5)


class KilledError(Exception):
    """Stands for a kill."""


def killed_after(service: Recommender, blocks: int) -> None:
    """Let a recommender answer for some blocks of users only."""
    answer, left = service.lists_and_vectors, iter(range(blocks))

    def one_of_few(*arguments):
        if next(left, None) is None:
            raise KilledError
        return answer(*arguments)

    service.lists_and_vectors = one_of_few


@pytest.mark.parametrize("done", range(3))
def test_an_interrupted_job_goes_on_after_the_last_part(tmp_path, done):
    shop().recommend_all(tmp_path / "whole", 3, users_per_part=2)
    service = shop()
    killed_after(service, done)
    with pytest.raises(KilledError):
        service.recommend_all(tmp_path / "parts", 3, users_per_part=2)
    kept = {file: file.stat().st_ino for file in (tmp_path / "parts" / "lists").glob("*")}
    assert len(kept) == done
    assert not read_facts(tmp_path / "parts" / "manifest.json")["complete"]
    again = shop()
    killed_after(again, 3 - done)  # no block is asked for twice
    again.recommend_all(tmp_path / "parts", 3, users_per_part=2)
    assert {file: file.stat().st_ino for file in kept} == kept
    files = [sorted((tmp_path / name).rglob("*.parquet")) for name in ("whole", "parts")]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
    hashes = [read_facts(tmp_path / name / "manifest.json") for name in ("whole", "parts")]
    assert hashes[0] == hashes[1]
    assert hashes[0]["complete"]


KILL = """
    import os, signal
    from pathlib import Path
    from shops import shop
    import softrec.serving.all_users as job
    write, parts = job._write, []
    def killed(table, path):
        parts.append(path)
        if len(parts) == {number}:
            Path(f"{{path}}.12345678.part").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        write(table, path)
    job._write = killed
    shop().recommend_all({out!r}, 3, users_per_part=2)
"""


def test_a_killed_process_leaves_nothing_that_matters(tmp_path):
    out = tmp_path / "parts"
    shop().recommend_all(tmp_path / "whole", 3, users_per_part=2)
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, paths])}
    code = textwrap.dedent(KILL).format(number=4, out=str(out))
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == -9
    assert len(list((out / "lists").glob("part-*.parquet"))) == 1
    assert list(out.rglob("*.part"))
    shop().recommend_all(out, 3, users_per_part=2)
    assert not list(out.rglob("*.part"))
    for folder in ("users", "lists", "items"):
        assert_frame_equal(read(out, folder), read(tmp_path / "whole", folder))


def test_a_complete_job_is_not_done_again(tmp_path):
    out = shop().recommend_all(tmp_path / "all", 3)
    again = shop()
    killed_after(again, 0)
    assert again.recommend_all(out, 3) == out


def more_events() -> Interactions:
    log = teas()
    return Interactions.from_sequences(
        log.sequences.of([*(log.sequences[user][::-1] for user in range(log.n_users))]),
        users=log.users, items=log.items,
    )  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        {"service": {"seed": 2}},
        {"service": {"log": more_events()}},
        {"service": {"model": "mf"}},
        {"job": {"k": 4}},
        {"job": {"users_per_part": 3}},
        {"job": {"rules": {"block": ["assam"]}}},
        {"job": {"mask_seen": False}},
    ],
    ids=str,
)
def test_another_run_and_other_settings_are_refused(tmp_path, other):
    out = shop().recommend_all(tmp_path / "all", 3, users_per_part=2)
    job = {"k": 3, "users_per_part": 2} | other.get("job", {})
    service = shop(**other.get("service", {}))
    with pytest.raises(RunError) as error:
        service.recommend_all(out, **job)
    assert ("another run" in str(error.value)) == ("service" in other)
    assert_frame_equal(
        read(service.recommend_all(out, **job, overwrite=True), "lists"),
        everybody(service, job["k"], rules=job.get("rules"), mask_seen=job.get("mask_seen")),
        abs_tol=1e-6,
    )


def test_says_what_differs(tmp_path):
    out = shop().recommend_all(tmp_path / "all", 3)
    with refused(RunError):
        shop().recommend_all(out, 4)
    with refused(RunError):
        shop(seed=2).recommend_all(out, 3)


def test_a_folder_of_others_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with refused(RunError):
        shop().recommend_all(tmp_path, 3)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("wrong", [{"k": 0}, {"users_per_part": 0}], ids=str)
def test_nonsense_is_refused(tmp_path, wrong):
    with refused(DataError):
        shop().recommend_all(tmp_path / "all", **wrong)


def test_a_counted_model_has_lists_alone(tmp_path):
    log = teas()
    model = Popularity(log.n_items)
    rows = log.sequences
    model.fit(Events(torch.from_numpy(rows.offsets), torch.from_numpy(rows.items)))
    service = Recommender(model, log, length=4)
    out = service.recommend_all(tmp_path / "all", 3)
    vectors = service.item_vectors()
    assert (out / "users").exists() == (vectors is not None)
    assert_frame_equal(read(out, "lists"), everybody(service, 3))


def test_users_without_an_event_are_left_out(tmp_path):
    log = teas()
    fewer = Interactions(log.frame.filter(pl.col("user") != 2), log.users, log.items)
    out = shop(log=fewer).recommend_all(tmp_path / "all", 3)
    assert "u2" not in read(out, "lists")["user"].to_list()
    assert len(read(out, "users")) == N_USERS - 1
