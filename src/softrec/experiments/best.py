"""The recipe that fits a log, `--preset best`: its kind is measured, and told with why."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from softrec.data.aside import LeakageWarning
from softrec.data.cases import Cases
from softrec.data.interactions import Interactions
from softrec.data.splits import Split
from softrec.data.units import PER_SECOND, unit_of_all
from softrec.data.values import WHOLE
from softrec.errors import RecipeError
from softrec.experiments.build.data import load_split, split_of
from softrec.extras import optional
from softrec.products import product_blocks
from softrec.recipe import shipped
from softrec.recipe.options import dotted, recipe_of
from softrec.recipe.reading import read_yaml
from softrec.recipe.recipe import merged

if TYPE_CHECKING:
    from scipy import sparse
else:
    sparse = optional("scipy.sparse", "the kind of a log")

LOGGER = logging.getLogger(__name__)

BEST = "best"
ASKED = 2_000  # validation cases that are looked at
FEWEST = 50  # with fewer cases the order is judged by whether there are times
NEARER = 1.05  # times as similar, from which on the order matters
ERRORS = 2.0  # standard errors by which it must be above 1
SHORT = 10  # events of a history, in the mean, below which it may be a session
DAY = 86_400  # seconds
DENSE = 20  # training events of an item, in the mean
BY_TIME = ("time", "session-time")
SHARPNESS = 1.8  # the highest temperature of cosines times ln N
SHARES = (1.0, 0.75, 0.55)  # of it, which are tried


class Kind(NamedTuple):
    """The kind of a log, which is the name of a recipe in recipes/best, and the reason."""

    name: str
    reason: str


def with_best(
    fields: Mapping[str, Any],
    options: Mapping[str, Any],
    log: Interactions | None,
    data_dir: Path | None,
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return fields and options with the best recipe of the log in place of the preset `best`.

    Args:
        fields: of a recipe, which has data alone.
        options: that change it; unchanged if the preset is another.
        log: the log, if it is in memory.
        data_dir: a folder with public data sets.

    Raises:
        RecipeError: if the fields are those of a whole recipe.
    """
    asked = options.get("preset", options.get("model.preset"))
    if asked != BEST:
        return fields, options
    others = [name for name in fields if name not in ("data", "plugins", "seed")]
    if others:
        raise RecipeError(
            f"--preset {BEST} chooses the recipe for a log, but the source is a recipe that has "
            f"{others[0]} of its own; name the log, or leave out the preset"
        )
    rest = {name: v for name, v in options.items() if name not in ("preset", "model.preset")}
    own = {place: value for place, value in dotted(rest).items() if place.startswith("data.")}
    spec = recipe_of({"data": fields["data"]}, own).data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakageWarning)  # the run warns where it reads the log
        split = load_split(spec, data_dir) if log is None else split_of(log, spec)
    kind = kind_of(split)
    path = shipped.best()[kind.name]
    LOGGER.info("preset %s: %s (recipes/best/%s), because %s", BEST, kind.name, path.name,
                kind.reason)  # fmt: skip
    recipe = _for_items(read_yaml(path), split.train.n_items)
    tried = [place for place in dotted(rest) if place.startswith("trials.")]
    if tried and "trials" not in recipe and "trials.settings" not in tried:
        raise RecipeError(
            f"{tried[0]} changes what is tried, but this log has the recipe recipes/best/"
            f"{path.name}, which tries nothing; leave it out, or give trials.settings, too"
        )
    if spec.first_items is not None:  # of a cold start, which has no refit
        recipe["training"] = recipe["training"] | {"refit": "none"}
    return {**recipe, **fields}, rest


def _for_items(recipe: dict[str, Any], n_items: int) -> dict[str, Any]:
    """Return a recipe with what depends on the number of items.

    All items are candidates if it samples more than there are. The highest temperature of cosines
    that is tried is 1.8 / ln N: as a cosine is at most 1, a label among more items needs longer
    logits for a share of its own. Logs with many events have lower best ones (docs/log.md).
    """
    found = dict(recipe)
    if "trials" in recipe:
        highest = SHARPNESS / math.log(max(n_items, 10))
        tried = [{"loss.score_temperature": round(share * highest, 3)} for share in SHARES]
        found = merged(found, tried[0])  # where nothing is tried, as in a search
        found["trials"] = {**recipe["trials"], "settings": tried}
    if recipe.get("candidates", {}).get("number", 0) >= n_items:
        found["candidates"] = {"name": "full"}
    return found


def kind_of(split: Split) -> Kind:
    """Return the kind of the training part of a log.

    It is `sets` if the order of the events tells nothing: the item to predict is no more similar
    to the last item of a history than to the others. Else it is `sessions` if the histories are
    short and, where there are times, of a day; or `sequences`, which are `sparse-sequences` if
    their items have few events.
    """
    lengths = split.train.sequences.lengths
    mean = float(lengths[lengths > 0].mean())
    each = len(split.train) / split.train.n_items
    ordered, why = _ordered(split)
    if not ordered:
        return Kind("sets", why)
    span, unsure = _span(split.train)
    about = f"histories have {mean:.1f} events on average"
    if mean < SHORT and (span is None or span <= DAY):
        within = "" if span is None else f", within {span / 3600:.1f} hours in the median{unsure}"
        return Kind("sessions", f"{why}, and {about}{within}")
    if mean < SHORT and span is not None:
        about += f", over {span / DAY:.1f} days in the median{unsure}"
    items = f"an item has {each:.1f} training events"
    return Kind(
        "sequences" if each >= DENSE else "sparse-sequences", f"{why}, {about}, and {items}"
    )


def _ordered(split: Split) -> tuple[bool, str]:
    """Return whether the order of the events matters, and why."""
    if split.name in BY_TIME:
        return True, "the split is by time"
    ratios = nearness(split)
    if len(ratios) < FEWEST:
        timed = split.train.has_time
        return timed, f"the log has {'' if timed else 'no '}times"
    ratio, error = ratios.mean(), ratios.std(ddof=1) / np.sqrt(len(ratios))
    matters = bool(ratio >= NEARER and ratio - 1 >= ERRORS * error)
    return matters, (
        f"the next item is {ratio:.2f} times as similar to the last one as to the mean of the "
        f"history, so that the order {'matters' if matters else 'tells nothing'}"
    )


def nearness(split: Split) -> np.ndarray:
    r"""Return how much more similar held-out items are to the last item than to all of a history.

    $$\frac{c(h_n, y)}{\frac1n \sum_t c(h_t, y)}$$

    with the cosines c of the users of two items in the training part, for at most 2,000 validation
    cases whose item y occurs together with an item of the history h_1 .. h_n, n > 1. It is 1 on
    average if the order is random.
    """
    cases = split.cases("valid").new_only()
    order = np.random.default_rng(0).permutation(len(cases))
    cases = cases.rows(np.sort(order[:ASKED]))
    if not len(cases):
        return np.empty(0)
    owner = np.repeat(np.arange(len(cases)), cases.history.lengths)
    similar = _cosines(split.train, cases, owner)
    total = np.bincount(owner, similar, minlength=len(cases))
    lengths = cases.history.lengths
    kept = (total > 0) & (lengths > 1)
    last = similar[cases.history.offsets[1:][kept] - 1]
    return last * lengths[kept] / total[kept]


def _cosines(train: Interactions, cases: Cases, owner: np.ndarray) -> np.ndarray:
    """Return the cosine of each item in the histories with the item of its case, up to a factor."""
    events = train.sequences
    shape = (len(events), train.n_items)
    users = sparse.csr_matrix((np.ones(len(events.items)), events.items, events.offsets), shape)
    users.sum_duplicates()
    users.data[:] = 1
    counts = np.maximum(np.asarray(users.sum(0)).ravel(), 1)
    asked = users.T.tocsr()[cases.relevant.items[cases.relevant.offsets[:-1]]]
    items, found = cases.history.items, np.zeros(len(owner))
    for rows in product_blocks(asked, users):
        inside = (owner >= rows.start) & (owner < rows.stop)
        together = sparse.csr_matrix(asked[rows] @ users)
        found[inside] = np.asarray(together[owner[inside] - rows.start, items[inside]]).ravel()
    return found / np.sqrt(counts[items])


def _span(log: Interactions) -> tuple[float | None, str]:
    """Return the median seconds from first to last event of a history; None without times.

    Whole numbers are in the unit that they seem to have, all other times are microseconds. The
    words say so where the numbers do not count from 1970 in any unit, as they may be days.
    """
    sequences = log.sequences
    long = np.flatnonzero(sequences.lengths > 1)
    if sequences.times is None or not len(long):
        return None, ""
    first, end = sequences.offsets[long], sequences.offsets[long + 1]
    median = float(np.median(sequences.times[end - 1] - sequences.times[first]))
    if log.times not in (None, WHOLE):
        return median / PER_SECOND["microseconds"], ""
    unit = unit_of_all(log.frame["time"])
    unsure = "" if unit else " (their times are taken for seconds)"
    return median / PER_SECOND[unit or "seconds"], unsure
