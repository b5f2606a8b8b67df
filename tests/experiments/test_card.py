"""The model card of a run: every number in it is one of the run, and no text of it breaks it."""

import numpy as np
import polars as pl
import pytest
import yaml
from scipy import stats

import softrec
from softrec.cli import main as cli
from softrec.experiments.card import Licences, card_of

TINY = {"epochs": 1, "length": 5, "accelerator": "cpu", "progress": False}


def clicks(first=0):
    """Users who take six items in a row of 24, and then the next six."""
    places = range(first, first + 6)
    rows = [(f"u{u}", f"i{(u + s) % 24}", 100 * s + u) for u in range(40) for s in places]
    return pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return softrec.fit(
        clicks(), out=tmp_path_factory.mktemp("runs") / "first", split="time", target="pop+",
        model={"name": "gru4rec", "dim": 4}, alpha=0.3, **TINY,
    )  # fmt: skip


def read(card):
    """The front matter as plain data, and the rows of the tables below, by their heading."""
    _, front, text = card.split("---\n", 2)
    tables, heading = {}, ""
    for line in text.splitlines():
        heading = line[3:] if line.startswith("## ") else heading
        if line.startswith("| ") and "---" not in line:
            tables.setdefault(heading, []).append([c.strip() for c in line.strip("|").split(" | ")])
    return yaml.safe_load(front), tables, text


def test_the_front_matter_is_what_the_hub_reads(run):
    front, _, text = read(card_of(run, Licences("apache-2.0")))
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "softrec"
    assert {"gru4rec", "pop+"} < set(front["tags"])
    (model,) = front["model-index"]
    assert model["name"] == "first"
    found = {one["type"]: one["value"] for one in model["results"][0]["metrics"]}
    assert found == pytest.approx(run.test, abs=1e-6)
    assert "license" not in read(card_of(run))[0]
    assert "Licence of the data: not stated" in text
    assert "Licence of the data: ours" in card_of(run, Licences(data="ours"))


def test_metrics_have_the_intervals_of_their_users(run):
    _, tables, _ = read(card_of(run))
    head, *rows = tables["Metrics"]
    assert head == ["metric", "test", "from", "to", "validation"]
    assert [row[0] for row in rows] == list(run.test)
    for name, *numbers in rows:
        values = run.per_user[name].to_numpy()
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
        mean = run.test[name]
        wanted = [mean, mean - half, mean + half, run.valid[name]]
        assert [float(number) for number in numbers] == pytest.approx(wanted, abs=6e-5)


def test_slices_are_parts_of_the_users(run):
    _, tables, _ = read(card_of(run))
    rows = tables["Slices"][1:]
    for name in {row[0] for row in rows}:
        own = [(int(row[2]), float(row[3])) for row in rows if row[0] == name]
        assert sum(users for users, _ in own) == len(run.per_user)
        mean = sum(u * mean for u, mean in own) / len(run.per_user)
        assert mean == pytest.approx(run.test["ndcg@10"], abs=6e-5)


def test_what_a_user_should_know(run):
    text = card_of(run)
    assert "another seed gives other numbers" in text
    assert "is as confidential as they are" in text
    assert "240 events of 40 users and 24 items" in text
    assert "alpha: 0.3" in text
    assert "softrec.open_run" in text


def test_names_cannot_break_a_card(run, tmp_path):
    name = "<script>|x|\n# end\n---"
    front, tables, text = read(card_of(run, Licences(data="<b>a|b"), name))
    assert front["model-index"][0]["name"] == name
    assert "<script>" not in text
    assert "<b>" not in text
    assert [line for line in text.splitlines() if line.startswith("# ")] == [
        "# &lt;script&gt;\\|x\\| # end ---"
    ]
    assert tables.keys() == {"Metrics", "Slices"}


def test_a_card_tells_that_items_were_ranked_among_sampled_ones(tmp_path):
    options = {"model": "popularity", "evaluation.negatives": 5, "progress": False}
    ranked = softrec.fit(clicks(), out=tmp_path / "run", **options)
    assert "ranked among 5 sampled items, not among all" in card_of(ranked, Licences("mit"))


def test_a_counted_model_has_a_card_too(tmp_path):
    text = card_of(softrec.fit(clicks(), out=tmp_path / "run", model="markov", split="time",
                               progress=False))  # fmt: skip
    assert "markov on" in text
    assert "target:" not in text


@pytest.mark.parametrize("refit", [False, True])
def test_an_update_tells_what_its_gate_said(run, tmp_path, refit):
    new = softrec.update(run.folder, clicks(6), out=tmp_path / "new", margin=1, floor=0,
                         refit=refit, epochs=1, progress=False)  # fmt: skip
    _, tables, text = read(card_of(new.run))
    assert f"It is an update, accepted by its gate: {new.facts['gate']['reason']}." in text
    assert f"start: {run.folder.name}\n" in text
    assert str(run.folder) not in text
    assert ("trained once more on all events" in text) is refit
    assert ("Slices" in tables) is not refit
    assert ("480 events of 40 users and 24 items, all of them trained on" in text) is refit


def test_the_command_prints_or_writes_it(run, tmp_path, capsys):
    given = ["card", str(run.folder), "--license", "mit", "--data-license", "CC BY 4.0"]
    wanted = card_of(run, Licences("mit", "CC BY 4.0"))
    for arguments in ([], ["--out", str(tmp_path / "README.md")]):
        with pytest.raises(SystemExit) as done:
            cli.main([*given, *arguments])
        assert done.value.code == 0
        if not arguments:
            assert capsys.readouterr().out.strip() == wanted.strip()
    assert (tmp_path / "README.md").read_text() == wanted
    assert np.isfinite(list(run.test.values())).all()
