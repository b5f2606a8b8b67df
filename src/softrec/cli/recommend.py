"""`softrec recommend`, `similar` and `interests`: use a finished run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from softrec.cli.options import Plugins, RunOrExport, Trust, load
from softrec.cli.rules import (
    Allow,
    AtMost,
    Block,
    Items,
    Pin,
    RulesFile,
    Where,
    ids_of,
    rules_of,
)
from softrec.cli.show import print_line, show_table
from softrec.errors import DataError, RecipeError, shown

if TYPE_CHECKING:
    from softrec.data.vocabulary import Vocabulary
    from softrec.serving.base import RecommenderBase

KnownUsers = Annotated[
    list[str] | None,
    typer.Option("--user", "-u", help="A user of the log; may be given several times."),
]
UsersFile = Annotated[
    Path | None,
    typer.Option(
        help="A file with a column 'user', or with one id on each line (.txt). A user "
        "that occurs twice counts once."
    ),
]
Unknown = Annotated[
    str,
    typer.Option(
        help="What to do about users of the file who are not in the log: skip (leave them out, "
        "with a message) or error."
    ),
]
HistoryItems = Annotated[
    list[str] | None,
    typer.Option(
        help="The items of a user who is not in the log, oldest first, separated by commas; an "
        "id with a comma in it in double quotes."
    ),
]
Before = Annotated[
    str | None,
    typer.Option(
        help="valid or test: use only the events of each user before this part, as an evaluation "
        "does. If no users are given, recommend to all users of that part."
    ),
]
KeepSeen = Annotated[
    bool | None,
    typer.Option(
        "--keep-seen/--mask-seen",
        help="Whether seen items may be recommended; by default as in the evaluation of the run.",
    ),
]
TABLE = "Write to a file (.csv, .parquet or .json) instead of the screen"
TableFile = Annotated[Path | None, typer.Option("--out", "-o", help=f"{TABLE}.")]
TableOrFolder = Annotated[
    Path | None,
    typer.Option("--out", "-o", help=f"{TABLE}; with --all-users the folder to write."),
]

AllUsers = Annotated[
    bool,
    typer.Option(
        "--all-users",
        help="Recommend to all users of the log, and write lists and vectors of users and items to "
        "the folder --out, as Parquet in parts. An interrupted job goes on where it stopped.",
    ),
]
UsersOfAPart = Annotated[
    int,
    typer.Option(min=1, help="With --all-users: how many users a file has, at most."),
]


def recommend(
    run: RunOrExport,
    user: KnownUsers = None,
    users_file: UsersFile = None,
    unknown: Unknown = "skip",
    history: HistoryItems = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of items for each user.")] = 10,
    before: Before = None,
    keep_seen: KeepSeen = None,
    why: Annotated[
        bool,
        typer.Option(
            "--why",
            help="For models with several interests: add the interest that contributed most "
            "to the score of the item, and its contribution.",
        ),
    ] = False,
    items: Items = None,
    allow: Allow = None,
    block: Block = None,
    where: Where = None,
    at_most: AtMost = None,
    pin: Pin = None,
    rules: RulesFile = None,
    out: TableOrFolder = None,
    all_users: AllUsers = False,
    users_per_part: UsersOfAPart = 50_000,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="With --all-users: replace other lists in --out.")
    ] = False,
    trust: Trust = False,
    plugins: Plugins = None,
) -> None:
    """Recommend items to users of the log, or for any history.

    Give --user, --users-file or --history; --before alone stands for all users of a part. Business
    rules hold for all lists: see docs/serving.md.

    Examples:
      softrec recommend runs/first --user ann -k 10

      softrec recommend runs/first --history tea,jam --out best.csv

      softrec recommend runs/first --before test -k 50 --out lists.parquet

      softrec recommend runs/first --user ann --where "stock > 0" --at-most category=2

      softrec recommend runs/first --all-users --out lists
    """
    load(plugins)
    kept = rules_of(rules, allow, block, where, at_most, pin)
    if all_users:
        if user or users_file or history or why:
            raise RecipeError(
                "--all-users recommends to all users of the log; leave out --user, --users-file, "
                "--history and --why"
            )
        settings = {"k": k, "mask_seen": None if keep_seen is None else not keep_seen}
        settings |= {"rules": kept, "users_per_part": users_per_part, "overwrite": overwrite}
        _to_all(run, out, trust, items, before, settings)
        return
    recommender, people = _service(
        run, user, users_file, unknown, history, out, trust, before, items
    )
    mask_seen = None if keep_seen is None else not keep_seen
    table = recommender.recommend(**people, k=k, mask_seen=mask_seen, why=why, rules=kept)
    show_table(table, out)
    _tell_empty(table, [*people["users"], *people["histories"]])


def _tell_empty(table: Any, asked: list[object]) -> None:
    """Print whose lists have no item, because a table has no row for them."""
    listed = {str(name) for name in table["user"].unique()}
    empty = [name for name in asked if str(name) not in listed]
    if empty:
        print_line(
            f"no item is left for {len(empty):,} of {len(asked):,} lists, of {shown(empty)}: each "
            "is in the history, or left out by a rule; --keep-seen lists what is in the history",
            "[yellow]note:[/] ",
        )


def _to_all(
    run: Path,
    out: Path | None,
    trust: bool,
    items: Path | None,
    before: str | None,
    settings: dict[str, Any],
) -> None:
    """Write the lists of all users to a folder."""
    from softrec.experiments.store.folders import checked_output

    if out is None:
        raise RecipeError("the lists of all users need a folder; name one with --out")
    checked_output(out, [path for path in (run, items) if path is not None])
    recommender, _ = _opened(run, [], None, trust, items, _part(before))
    recommender.recommend_all(out, **settings)
    print_line(f"The lists are in {out / 'lists'}")


def _part(before: str | None) -> str | None:
    if before not in (None, "valid", "test"):
        raise RecipeError(f"--before must be valid or test, got {before!r}")
    return before


def similar(
    run: RunOrExport,
    item: Annotated[
        list[str] | None,
        typer.Option(
            "--item", "-i", help="An item; may be given several times, for a list for each."
        ),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            help="Several items for one list, separated by commas, perhaps with weights: tea:2,jam."
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of items of each list.")] = 10,
    items: Items = None,
    allow: Allow = None,
    block: Block = None,
    where: Where = None,
    at_most: AtMost = None,
    pin: Pin = None,
    rules: RulesFile = None,
    out: TableFile = None,
    trust: Trust = False,
    plugins: Plugins = None,
) -> None:
    """List the items that are similar to an item, or to several with weights.

    Trained models compare the vectors of the items, counted models have a table of them.

    Examples:
      softrec similar runs/first --item tea -k 5

      softrec similar runs/first --history tea:2,jam --where "stock > 0"
    """
    load(plugins)
    kept = rules_of(rules, allow, block, where, at_most, pin)
    recommender, _ = _opened(run, [], out, trust, items)
    if bool(item) == bool(history):
        raise RecipeError("expected items or a history; give either --item or --history")
    weights = None
    if history:
        item, weights = _weighted(recommender.log.items, history)
    show_table(recommender.similar(item, k, weights=weights, rules=kept), out)


def interests(
    run: RunOrExport,
    user: KnownUsers = None,
    users_file: UsersFile = None,
    unknown: Unknown = "skip",
    history: HistoryItems = None,
    items: Annotated[int, typer.Option(min=1, help="Number of items for each interest.")] = 5,
    item_table: Annotated[
        Path | None, typer.Option(help="A table of the items, as --items of `softrec recommend`.")
    ] = None,
    keep_seen: KeepSeen = None,
    out: TableFile = None,
    trust: Trust = False,
    plugins: Plugins = None,
) -> None:
    """Show the interests that a model has for a user: the items that each interest ranks first.

    For comirec-sa, comirec-dr, mind and timirec. For timirec it also shows the weight of each
    interest, its predicted probability.

    Example:
      softrec interests runs/first --user ann --items 3
    """
    load(plugins)
    recommender, people = _service(
        run, user, users_file, unknown, history, out, trust, items=item_table
    )
    mask_seen = None if keep_seen is None else not keep_seen
    show_table(recommender.interests(**people, items=items, mask_seen=mask_seen), out)


def _service(
    run: Path,
    user: list[str] | None,
    users_file: Path | None,
    unknown: str,
    history: list[str] | None,
    out: Path | None,
    trust: bool,
    before: str | None = None,
    items: Path | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Return the recommender of a run, and the users and histories that a command names."""
    from softrec.serving.files import read_users
    from softrec.serving.people import check_any_users

    if unknown not in ("skip", "error"):
        raise RecipeError(f"--unknown must be skip or error, got {unknown!r}")
    listed = read_users(users_file) if users_file else []
    histories = {f"history {n}": ids_of([text]) for n, text in enumerate(history or [], 1)}
    anybody = bool(user or listed or histories)
    if not anybody and _part(before) is None:
        raise RecipeError("expected users or a history; give --user, --users-file or --history")
    recommender, everybody = _opened(run, [users_file], out, trust, items, _part(before))
    user = user if anybody else everybody()
    if users_file and unknown == "skip":
        check_any_users(recommender.log.n_users)
        listed = _known(recommender.log.users, listed, users_file)
    people = list(dict.fromkeys([*(user or []), *listed]))
    return recommender, {"users": people, "histories": histories}


def _opened(
    run: Path,
    read: list[Path | None],
    out: Path | None,
    trust: bool,
    items: Path | None,
    before: Any = None,
) -> tuple[RecommenderBase, Callable[[], list[Any]]]:
    """Return the recommender of a run or an export, and a function for all users of a part.

    Before that, check that `out` can be written and is none of the files that are read.
    """
    from softrec.experiments.store.folders import check_apart
    from softrec.serving.files import writer_of
    from softrec.serving.manifest import is_export

    if out is not None:
        writer_of(out)
        for given in (run, items, *read):
            if given is not None:
                check_apart(out, given)
    if is_export(run):
        from softrec.serving.exported import ExportedRecommender

        if before is not None:
            raise RecipeError(
                "an export has the whole log, without its parts; leave out --before, or name the "
                "run"
            )
        recommender = ExportedRecommender(run, trust=trust)
        if items is not None:
            recommender.use_table(items)
        return recommender, list
    from softrec.evaluation.asked import Asked
    from softrec.experiments.train import open_run

    opened = open_run(run, trust=trust)

    def everybody() -> list[Any]:
        split = opened.split()
        asked = Asked.of(split, opened.mask_seen).cases(before).user
        return split.train.users.ids(asked).to_list()

    return opened.recommender(before, items=items), everybody


def _weighted(vocabulary: Vocabulary, history: str) -> tuple[list[str], list[float]]:
    """Return the items of a history and their weights, 1 where none is given.

    An id may have a colon itself: what is an item of the log as a whole has no weight.
    """
    items, weights = [], []
    for text in ids_of([history]):
        raw, colon, weight = text.rpartition(":")
        whole = not colon or bool(vocabulary.sorted_out([text])[0])
        items.append(text if whole else raw)
        try:
            weights.append(1.0 if whole else float(weight))
        except ValueError:
            raise DataError(f"the weight in {text!r} is no number; write item:weight") from None
    return items, weights


def _known(vocabulary: Vocabulary, listed: list[object], users_file: Path) -> list[object]:
    """Return the listed users that are in the log, and print which ones are left out."""
    known, unknown = vocabulary.sorted_out(listed)
    if not known:
        raise DataError(f"no user of {users_file} is in the log of the run: {shown(unknown)}")
    if unknown:
        are = "is" if len(unknown) == 1 else "are"
        print_line(
            f"{len(unknown):,} of {len(known) + len(unknown):,} users of "
            f"{users_file} {are} not in the log and {are} left out: {shown(unknown)}",
            "[yellow]note:[/] ",
        )
    return known
