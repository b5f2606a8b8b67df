"""Options are made of the settings of a recipe, and made when a command asks for them."""

import typer
from pydantic import create_model

from softrec.cli import main as cli
from softrec.recipe.fields import options
from softrec.settings import setting
from softrec.targets.one_hot import OneHotSettings
from softrec.targets.settings import TARGETS


def commands():
    return typer.main.get_command(cli.app).commands


def flags(command):
    return {flag for one in commands()[command].params for flag in (*one.opts, *one.secondary_opts)}


def test_every_common_setting_is_an_option():
    made = {flag for one in options().values() if one.name != "source" for flag in one.flags}
    assert made <= flags("fit")
    of_targets = {f for one in options().values() if one.section == "target" for f in one.flags}
    assert made - flags("compare") == of_targets


def test_the_options_of_before_are_there():
    kept = set()
    for line in (
        "--model -m --preset --target -t --alpha --temperature --teacher --loss --balance",
        "--score --score-temperature --candidates --ratio --number --epochs --batch-size",
        "--lr --length --windows --patience --monitor --user --item --time --weight",
        "--text-ids --header --no-header --clean --split --valid --test --short-users",
        "--cold-items --seed --set --plugin --data-dir --overwrite --out -o",
    ):
        kept |= set(line.split())
    assert kept <= flags("fit")


def test_a_common_field_is_an_option(restored):
    """It is written in its settings class and nowhere else."""
    restored(TARGETS)
    assert "--own-sharpness" not in flags("fit")
    create_model(
        "OwnSettings",
        __base__=OneHotSettings,
        __cls_kwargs__={"name": "own-target"},
        own_sharpness=(float, setting(2.0, "how sharp it is", common=True)),
    )
    assert "--own-sharpness" in flags("fit")
    (option,) = (one for one in commands()["fit"].params if one.name == "own_sharpness")
    assert "own-target: how sharp it is (2)" in option.help
    context = commands()["fit"].make_context(
        "fit", ["x.csv", "--out", "run", "--target", "own-target", "--own-sharpness", "3"]
    )
    assert context.obj == {"target": "own-target", "own_sharpness": 3.0}


def test_what_reads_a_run_or_an_export_loads_plugins():
    """The error about a run whose model is a plugin's says so."""
    of_runs = [name for name, command in commands().items()
               if any(one.name == "run" for one in command.params)]  # fmt: skip
    assert {"recommend", "index", "export", "evaluate"} <= set(of_runs)
    assert [name for name in of_runs if "--plugin" not in flags(name)] == []


def test_similar_items_are_of_no_users():
    (out,) = (one for one in commands()["similar"].params if one.name == "out")
    assert "--all-users" not in out.help


def test_values_are_typed():
    arguments = ["x.csv", "-o", "run", "--epochs", "3", "--lr", "0.1", "--no-header",
                 "--clean", "k-core=2", "--clean", "min-user=3", "--balance", "0.3",
                 "--metrics", "ndcg@5,recall@5"]  # fmt: skip
    assert commands()["fit"].make_context("fit", arguments).obj == {
        "epochs": 3, "lr": 0.1, "header": False, "clean": ["k-core=2", "min-user=3"],
        "balance": "0.3", "metrics": ["ndcg@5,recall@5"],
    }  # fmt: skip
