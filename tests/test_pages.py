"""The page on a log says what the comparison found, and keeps what was written by hand."""

import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # they are no part of the package

from benchmarks import pages, pages_summary

import softrec
from softrec.report import markdown
from softrec.report.tables import Table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("pages") / "compared"
    return softrec.compare(
        "shop", targets="one-hot,uniform", out=out, seeds=2, epochs=1, model="youtubednn",
        progress=False, windows="last",
        **{"data.shop": {"n_items": 60, "n_users": 120}, "model.dim": 8},
    )  # fmt: skip


def cells(page, row):
    """Return the cells of the first row with a name."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {row} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_best_row_comes_first_and_may_be_a_simple_baseline(compared):
    first = pages.page(compared.results).splitlines()[2]
    rows = compared.results.variants
    best = max(rows, key=lambda row: row.valid["ndcg@10"].mean)
    assert best.kind == "counted"  # one epoch is no match for it
    assert first.startswith(f"Best on validation: {best.name} (a simple baseline), on test")
    assert f"ndcg@10 **{best.test['ndcg@10'].mean:.4f}**" in first


def test_rows_and_slices_are_those_of_the_results(compared):
    results = compared.results
    made = pages.page(results)
    uniform = results.variant("uniform (alpha 0.1)")
    row = cells(made, uniform.name)
    assert row[1 + results.metrics.index("ndcg@10")].startswith(
        f"{uniform.test['ndcg@10'].mean:.4f}"
    )
    assert row[-1] == "2"
    sliced = next(e for e in results.slices if e.variant == "one-hot" and e.n > 3)
    found = cells(made, f"{sliced.slicing}: {sliced.slice}")[1:3]
    assert found == [str(sliced.n), f"{sliced.mean:.4f}"]


def test_share_of_labels_never_seen_as_a_label(compared):
    results = compared.results
    never = [e for e in results.slices if (e.slicing, e.variant) == ("label count", "one-hot")]
    share = 100 * sum(e.n for e in never if e.slice == "0") / results.data["test"]
    assert share > 0  # of `windows: last` most items are no label
    told = cells(pages.page(results), "test cases whose label never is a label in training")
    assert told[1] == f"{share:.1f} %"


def test_what_is_written_by_hand_is_kept(compared, tmp_path):
    path, trials = tmp_path / "shop.md", tmp_path / "trials.jsonl"
    trial = {"row": "one-hot", "settings": "dropout 0.2", "valid": 0.12345}
    trials.write_text(json.dumps(trial) + "\n" + json.dumps({**trial, "row": "uniform"}) + "\n")
    pages.main([str(compared.folder), str(path)])
    path.write_text(path.read_text().replace(pages.NOTHING, "Two\n\nparagraphs."))
    pages.main([str(compared.folder), str(path), "--trials", str(trials)])
    made = path.read_text()
    assert pages.written_in(path) == "Two\n\nparagraphs."
    assert "Each row had 1 trial," in made
    assert cells(made, "uniform") == ["uniform", "dropout 0.2", "0.1235"]


def test_table_over_logs_keeps_the_text_around_it(compared, tmp_path):
    log = tmp_path / "shop" / "runs"
    log.mkdir(parents=True)
    shutil.copytree(compared.folder, log / "compared")
    page = tmp_path / "README.md"
    page.write_text(f"Before\n{pages_summary.PLACE[0]}\n{pages_summary.PLACE[1]}\nAfter\n")
    for _ in range(2):
        pages_summary.main([str(page), str(log / "compared")])
    made, results = page.read_text(), compared.results
    assert (made.splitlines()[0], made.splitlines()[-1]) == ("Before", "After")
    row = cells(made, "[shop](shop.md)")
    assert row[1:4] == [
        "ndcg@10",
        row[2],
        pages.text.mean_and_spread(results.baseline_variant.test["ndcg@10"]),
    ]
    best = max(results.counted, key=lambda each: each.valid["ndcg@10"].mean)
    assert row[2] == f"{best.name} {best.test['ndcg@10'].mean:.4f}"
    assert row[5].startswith(f"{results.variants[1].difference['ndcg@10'].mean:+.4f} (")
    assert row[-1] == "2"


def test_command_can_be_pasted():
    command = "softrec compare shop --targets one-hot,pop+(alpha=1.0)"
    assert shlex.split(pages.quoted(command)) == command.split()
    assert "'" in pages.quoted(command)
    assert pages.quoted(pages.quoted(command)) == pages.quoted(command)
    assert pages.quoted("softrec.compare('a b', k=f(1))") == "softrec.compare('a b', k=f(1))"


def test_cells_do_not_break_the_table():
    made = markdown.table(Table("", ["a", "b"], [["x|y", "1 *"], ["head"]]))
    assert made.splitlines()[2:] == ["| x\\|y | 1 \\* |", "| *head* |  |"]
