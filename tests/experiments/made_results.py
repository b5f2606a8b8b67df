"""Results of comparisons made up by hand, and what a reader finds on the page of a report."""

import copy
import itertools
from html.parser import HTMLParser

import numpy as np

from softrec.report.results import Results

METRICS = ["recall@10", "ndcg@10"]
NASTY = '<b>& "x" $a_1$ --> [bold] </svg>'


def typed(results: dict) -> Results:
    return Results.model_validate(results)


def one_run(seed: int, height: float, rng: np.random.Generator) -> dict:
    curve = [
        {
            "epoch": epoch,
            "train_loss": 6.0 - height - 0.3 * epoch,
            "valid": {m: height * (1 - 0.6**epoch) + 0.001 * rng.random() for m in METRICS},
        }
        for epoch in range(1, 8)
    ]
    return {
        "seed": seed,
        "best_epoch": 4,
        "epochs": 7,
        "levelled_off": True,
        "seconds": 7 * (1 + height),
        "seconds_per_epoch": 1 + height,
        "peak_memory_mib": 512.0 + seed,
        "curve": curve,
    }


def one_variant(name: str, gain: float | None, p_holm: float, seeds: int) -> dict:
    rng = np.random.default_rng(seeds)
    values = {}
    for number, metric in enumerate(METRICS):
        per_seed = (0.1 + 0.1 * number + (gain or 0.0) + 0.002 * rng.random(seeds)).tolist()
        values[metric] = {"mean": float(np.mean(per_seed)), "per_seed": per_seed}
    difference = {
        metric: {
            "mean": gain,
            "low": gain - 0.0042,
            "high": gain + 0.0042,
            "relative": gain / 0.2,
            "p": p_holm / 3,
            "p_holm": p_holm,
            "detectable": 0.0063,
            "effect": gain / 0.25,
            "low_bootstrap": gain - 0.0057,
            "high_bootstrap": gain + 0.0057,
            "low_users": gain - 0.0021,
            "high_users": gain + 0.0021,
            "p_wilcoxon": p_holm / 4,
            "wins": 1234,
            "ties": 5678,
            "losses": 910,
            "n": 7822,
        }
        for metric in METRICS
        if gain is not None
    }
    return {
        "name": name,
        "kind": "trained",
        "model": {"name": "sasrec"},
        "loss": {"name": "mixed"},
        "windows": "positions",
        "tuned": None,
        "calibration": None,
        "group": "",
        "series": name,
        "grid": {},
        "baseline": None if gain is None else "one-hot",
        "target": {"kind": name, "alpha": 0.4} if gain is not None else {"kind": "one-hot"},
        "soft_weight": 0.2 if gain is not None else 0.0,
        "test": values,
        "valid": copy.deepcopy(values),
        "difference": difference or None,
        "runs": [one_run(seed, 0.2 + (gain or 0.0), rng) for seed in range(seeds)],
        "regret": {"ndcg@10": 0.0321} if gain is not None else None,
        "lists": {
            "coverage": {"mean": 0.5, "per_seed": [0.5] * seeds},
            "tail_fraction": {"mean": 0.25 + (gain or 0.0), "per_seed": [0.25] * seeds},
        },
    }


def synthetic(seeds: int = 3) -> dict:
    """A small experiment with one variant of each kind."""
    return {
        "title": "Soft targets on a simulated log",
        "command": "softrec run recipes/simulated.yaml --seeds 3",
        "created": "2024-05-06T07:08:09+00:00",
        "versions": {"softrec": "0.1.0", "torch": "2.6.0"},
        "seed_note": "Seeds set the initial weights and the order of the batches.",
        "data": {"name": "simulated", "users": 8000, "items": 1200, "split": "leave-one-out"},
        "model": {"kind": "sasrec", "width": 64, "layers": [1, 2], "tied": False},
        "budget": {"epochs": 7, "patience": 2, "batch_size": 256, "lr": 0.001},
        "selection": {"metric": "ndcg@10", "on": "validation"},
        "baseline": "one-hot",
        "metrics": list(METRICS),
        "variants": [
            one_variant("one-hot", None, 1.0, seeds),
            one_variant("pop+ (alpha 0.4)", 0.0124, 0.0031, seeds),
            one_variant("label smoothing (0.1)", 0.0011, 0.4, seeds),
            one_variant("teacher (self, T 2)", -0.0152, 0.00001, seeds),
        ],
        "ceiling": {
            "name": "best possible ranking (the simulator knows the truth)",
            "test": {"recall@10": 0.21, "ndcg@10": 0.31},
        },
        "simple": None,
        "notes": ["Users with fewer than 5 events were left out."],
    }


def some_slices() -> list[dict]:
    """Two ways to slice; pop+ gains in the first slice with evidence, and loses in the last."""
    found = []
    for place, (slicing, name) in enumerate(
        [("label count", "0"), ("label count", "1"), ("user", "new"), ("user", "known")]
    ):
        for variant in synthetic()["variants"]:
            one = {"slicing": slicing, "slice": name, "variant": variant["name"], "n": 10 + place}
            unknown = dict.fromkeys(
                ("difference", "low", "high", "low_users", "high_users", "p", "p_holm")
            )
            gain = 0.03 - 0.02 * place
            known = {
                "difference": gain, "low": gain - 0.01, "high": gain + 0.01, "low_users": -0.5,
                "high_users": 0.5, "p": 0.001, "p_holm": 0.01 if place in (0, 3) else 0.3,
            }  # fmt: skip
            found.append(
                {**one, "mean": 0.1 + place, **(known if variant["difference"] else unknown)}
            )
    return found


class Page(HTMLParser):
    """What a reader finds on a page: tables by caption, elements, attributes, ids, text."""

    def __init__(self, text: str):
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._rows: list[list[str]] = []
        self._into = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self._open.append(tag)
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        if tag in ("td", "th", "caption"):
            self._into = tag
        if tag == "caption":
            self._caption = ""

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag in ("td", "th", "caption"):
            self._into = ""
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        self.text += data
        if self._into in ("td", "th"):
            self._rows[-1][-1] += data
        elif self._into == "caption":
            self._caption += data

    def table(self, start: str) -> dict[str, dict[str, str]]:
        """The table whose caption begins so: {row name: {column: cell}}."""
        (rows,) = [rows for caption, rows in self.tables.items() if caption.startswith(start)]
        head, *body = rows
        return {row[0]: dict(zip(head, row, strict=True)) for row in body}


def with_values(base: dict, grid: dict, test: float, valid: float) -> dict:
    """A variant with values of a grid: its name, and its means of all metrics."""
    one = copy.deepcopy(base)
    inside = ", ".join(f"{place.rpartition('.')[2]} {value}" for place, value in grid.items())
    group = f"{one['group']}: " if one["group"] else ""
    one["series"] = f"{group}{base['name'].partition(' (')[0]}"
    one["name"] = f"{one['series']} ({inside})"
    one["grid"] = grid
    for part, mean in (("test", test), ("valid", valid)):
        one[part] = {
            m: {"mean": mean, "per_seed": [mean - 0.01, mean, mean + 0.01]} for m in METRICS
        }
    return one


def gridded(**values: list) -> dict:
    """One-hot, pop+ and all values of uniform; the higher the sum of the values the better on test,
    and the other way on validation."""
    results = synthetic()
    base = {**results["variants"][2], "name": "uniform"}
    places = [name.replace("_", ".") for name in values]
    found = [
        with_values(base, dict(zip(places, one, strict=True)), test=0.2 + total, valid=0.3 - total)
        for one in itertools.product(*values.values())
        for total in [sum(v for v in one if not isinstance(v, str)) / 100]
    ]
    results["variants"] = [*results["variants"][:2], *found]
    return results


def several_models(models: tuple[str, ...] = ("sasrec", "mf", "gru4rec")) -> dict:
    """The same variants of each model, each with a baseline of its own."""
    results = synthetic()
    found = []
    for number, model in enumerate(models):
        for variant in copy.deepcopy(results["variants"]):
            variant["group"], variant["model"] = model, {"name": model}
            variant["name"] = variant["series"] = f"{model}: {variant['name']}"
            if variant["baseline"]:
                variant["baseline"] = f"{model}: one-hot"
            for part in ("test", "valid"):
                variant[part]["ndcg@10"]["mean"] += 0.05 * number
            found.append(variant)
    return {**results, "variants": found, "baseline": f"{models[0]}: one-hot"}


def a_simple_baseline(name: str, gain: float, p_holm: float = 0.001) -> dict:
    """A row that is counted."""
    one = one_variant(name, gain, p_holm, 1)
    return {**one, "kind": "counted", "soft_weight": 0.0, "regret": None, "loss": {}}
