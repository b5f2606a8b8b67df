"""`softrec tune` as it is typed."""

import pytest

from softrec.cli import main as cli
from softrec.experiments.tuning.result import open_tuning

SHOP = ["--model", "gru4rec", "--epochs", "1", "--length", "8", "--metrics", "ndcg@10",
        "--set", "data.shop.n_items=40", "--set", "data.shop.n_users=60"]  # fmt: skip


def typed(*arguments):
    with pytest.raises(SystemExit) as done:
        cli.main(["tune", "shop", *arguments])
    return done.value.code


def test_a_search_prints_a_line_a_trial_and_what_won(tmp_path, capsys):
    out = tmp_path / "tuned"
    space = ["--space", "model.dim=4,8", "--space", "lr=1e-3..1e-1:log"]
    code = typed("--out", str(out), "--trials", "2", "--seeds", "1", "--target", "uniform",
                 *space, *SHOP)  # fmt: skip
    said = capsys.readouterr()
    assert code == 0
    lines = [line for line in said.err.splitlines() if line.startswith("trial ")]
    assert [line.partition(":")[0] for line in lines] == [
        "trial 1 of 2 (as given)", "trial 2 of 2 (from the data)",
    ]  # fmt: skip
    found = open_tuning(out)
    assert f"trial {found.best.number} of 2 is the best" in said.out
    assert f"{found.test['ndcg@10']:.4f}" in said.out
    assert "history.html" in said.err


@pytest.mark.parametrize("space", ["lr=1..0.1", "model.dimm=4,8", "epochs=1,2", "lr"])
def test_a_space_that_cannot_be_is_a_line_and_leaves_nothing(space, tmp_path, capsys):
    assert typed("--out", str(tmp_path / "tuned"), "--space", space, *SHOP) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []
