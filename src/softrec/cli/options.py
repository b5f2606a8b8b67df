"""The options that several commands have in common, each defined once.

The choices come from the specs of a recipe.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from softrec.errors import RecipeError
from softrec.losses.settings import LOSSES
from softrec.recipe.recipe import choices
from softrec.recipe.specs.models import MODELS

SOFTMAX = [name for name, loss in LOSSES.items() if loss.softmax]
DATA, MODEL, TARGET, TRAINING = "Data", "Model", "Target and loss", "Training"


def option(panel: str | None, text: str, *names: str) -> Any:
    """Return an option that may be left out, shown in a panel of `--help`.

    Its name is that of the command's parameter unless `names` says otherwise.
    """
    return typer.Option(*names, help=escape(text), rich_help_panel=panel, show_default=False)


class Command(TyperCommand):
    """A command that refuses an option given twice, of which the last would count in silence."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return what is left of the arguments, as the base class does.

        Raises:
            RecipeError: if an option with one value is given twice.
        """
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option in given:
            once = option.param_type_name == "option" and not getattr(option, "multiple", False)
            if once and given.count(option) > 1:
                times = given.count(option)
                raise RecipeError(f"{option.opts[0]} is given {times} times; give it once")
        return super().parse_args(ctx, args)


def _listed(names: Iterable[str], default: str | None = None) -> str:
    """Return `a, b (default) or c`."""
    *most, last = (f"{name} (default)" if name == default else name for name in names)
    return f"{', '.join(most)} or {last}"


# The options that several commands have in common.
Source = Annotated[
    str,
    typer.Argument(
        help="A log (CSV, TSV, JSON lines, Parquet file or folder, Arrow), the name of a data set "
        "(see `softrec data list`, or `shop`, the simulated one), or a recipe (a .yaml, or one of "
        "`softrec recipes`)."
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a finished run.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        envvar="SOFTREC_DATA", help="A folder with public data sets, used before any download."
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Take the run's files as they are; for edits made on purpose."),
]
Seeds = Annotated[int, typer.Option(min=1, help="Train each target so often; 1 gives no verdict.")]
Baselines = Annotated[
    bool,
    typer.Option(
        "--baselines/--no-baselines",
        help="Add rows of simple baselines, such as popularity and item-knn, each counted once.",
    ),
]
Model = Annotated[
    str | None,
    option(
        MODEL,
        f"{_listed(MODELS, 'sasrec')}.",
        "--model",
        "-m",
    ),
]
Preset = Annotated[
    str | None,
    option(
        MODEL,
        "The model's settings in a paper: "
        + "; ".join(f"{name}: {', '.join(m.PRESETS)}" for name, m in MODELS.items() if m.PRESETS)
        + ".",
    ),
]
Target = Annotated[
    str | None,
    option(
        TARGET,
        f"{_listed(choices('target'), 'one-hot')}. That is the label alone (one-hot), label "
        "smoothing (uniform), popularity (pop+), labels shared among similar contexts "
        "(interest-sharing), neighbours (csn), a teacher (kd any, skd of the same model, ckd of "
        "another), or several of them (mixture, in a recipe).",
        "--target",
        "-t",
    ),
]
Alpha = Annotated[
    float | None,
    option(
        TARGET,
        "Weight of the soft target, 0 to 1. pop+, csn and kd spread alpha/2, others alpha.",
    ),
]
Temperature = Annotated[float | None, option(TARGET, "Of pop+, csn and kd: more is flatter.")]
Teacher = Annotated[
    str | None,
    option(
        TARGET,
        "For kd, skd, ckd, interest-sharing and csn: the folder of a trained run, or a recipe "
        "(.yaml), whose run is found or trained first.",
    ),
]
Loss = Annotated[
    str | None,
    option(
        TARGET,
        f"{_listed(SOFTMAX, 'mixed')}; with --target one-hot also "
        f"{_listed(name for name in choices('loss') if name not in SOFTMAX)}.",
    ),
]
Candidates = Annotated[
    str | None,
    option(TARGET, f"Items the label is scored against: {_listed(choices('candidates'), 'full')}."),
]
Ratio = Annotated[float | None, option(TARGET, "Sampled candidates: fraction of the items.")]
Number = Annotated[int | None, option(TARGET, "Of sampled candidates: how many are drawn.")]
Score = Annotated[str | None, option(TARGET, "inner (default of most losses), cosine, euclidean.")]
ScoreTemperature = Annotated[
    float | None, option(TARGET, "Scores are divided by it in training (1; sl and bsl: 0.1).")
]
Balance = Annotated[
    str | None,
    option(TARGET, "Decoupled loss: the weight of 'label or not', or red-line."),
]
Epochs = Annotated[int | None, option(TRAINING, "At most (100).")]
BatchSize = Annotated[int | None, option(TRAINING, "Examples in a batch (128).")]
LearningRate = Annotated[float | None, option(TRAINING, "Learning rate of Adam (0.001).")]
Length = Annotated[int | None, option(TRAINING, "Longest history the model reads (50).")]
Windows = Annotated[
    str | None,
    option(
        TRAINING,
        f"What is predicted of a sequence: {_listed(choices('training.windows'), 'positions')}; "
        "interactions for mf, lightgcn and ngcf.",
    ),
]
Patience = Annotated[
    int | None, option(TRAINING, "Stop after so many epochs without improvement (5).")
]
Monitor = Annotated[
    str | None, option(TRAINING, "Validation metric that chooses the best epoch (ndcg@10).")
]
User = Annotated[str | None, option(DATA, "Column of the user.")]
Item = Annotated[str | None, option(DATA, "Column of the item.")]
Time = Annotated[
    str | None, option(DATA, "Column of the time; without one, the order of the rows counts.")
]
Weight = Annotated[str | None, option(DATA, "Column of the rating or weight.")]
TextIds = Annotated[
    bool | None, option(DATA, "Read ids as text even where they look like numbers.", "--text-ids")
]
Header = Annotated[
    bool | None,
    option(DATA, "Whether CSV and TSV files start with names; without, columns are column_1, ..."),
]
Clean = Annotated[
    list[str] | None,
    option(
        DATA,
        "A cleaning step: drop-duplicates, min-weight=4, k-core=5, min-user=5, min-item=5. May be "
        "given several times.",
    ),
]
SplitKind = Annotated[
    str | None,
    option(DATA, "leave-last-out (default), time, user-ratio, or given with --valid and --test."),
]
ValidFile = Annotated[str | None, option(DATA, "The validation part, as a file.")]
TestFile = Annotated[str | None, option(DATA, "The test part, as a file.")]
ShortUsers = Annotated[
    str | None,
    option(DATA, "Users with fewer than 3 events: keep to train on (default), drop, error."),
]
ColdItems = Annotated[
    str | None,
    option(DATA, "Items in no training event: drop their events (default), keep as misses, error."),
]
Set = Annotated[
    list[str] | None,
    option(
        None,
        "Any field of a recipe, such as --set model.dim=64 --set evaluation.metrics=[ndcg@5]. May "
        "be given several times.",
        "--set",
    ),
]
Plugins = Annotated[
    list[str] | None,
    option(
        None,
        "A module, or a file (.py), that registers targets, losses or models of your own. May be "
        "given several times.",
        "--plugin",
    ),
]
