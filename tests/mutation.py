"""Do the tests notice a bug? Mutate the code in small ways and see which mutants survive.

    python -m venv .venv-mutation
    .venv-mutation/bin/pip install -c constraints.txt -e ".[dev]" cosmic-ray
    .venv-mutation/bin/python tests/mutation.py --sample 400 --out mutation.jsonl

The mutants are those of cosmic-ray's operators, a sample of each part in proportion to its size,
each place with one change, but for
annotations and docstrings, where a change does nothing. Each is tried by the tests of its
part in a fork of a process that has the large libraries loaded already. Results are appended to
`--out`: what stands there is not tried again. `--retry` tries the survivors of a file once more.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS: dict[str, list[str]] = {
    "losses": ["tests/losses", "tests/test_axes.py", "tests/test_objective_interests.py"],
    "targets": [
        "tests/targets",
        "tests/losses/test_confident_targets.py",
        "tests/experiments/test_target_sources.py",
        "tests/test_axes.py",
    ],
    "candidates": [
        "tests/test_candidates.py",
        "tests/experiments/test_leaks.py",
        "tests/test_axes.py",
    ],
    "evaluation": [
        "tests/evaluation",
        "tests/experiments/test_examination.py",
        "tests/experiments/test_differences.py",
    ],
    "data/splits.py": ["tests/data/test_splits.py", "tests/evaluation", "tests/data"],
    "experiments/compare.py": [
        "tests/experiments/test_differences.py",
        "tests/experiments/test_report.py",
        "tests/cli/test_compare.py",
    ],
}
"""Part of src/softrec -> the tests that should notice a bug in it, the quickest first."""

LOADED = ("torch", "lightning", "polars", "pyarrow", "scipy.stats", "pydantic", "hypothesis",
          "matplotlib.pyplot", "faiss", "typer", "rich", "pytest")  # fmt: skip


def main() -> None:
    """Try a sample of mutants and print how many of each part were killed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=400, help="mutants in all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--out", type=Path, default=Path("mutation.jsonl"))
    parser.add_argument("--limit", type=float, default=600.0, help="seconds a mutant may take")
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--retry", action="store_true", help="try the survivors of --out again")
    options = parser.parse_args()
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    kept = {tuple(row["mutant"]): row for row in map(json.loads, lines)}
    chosen = sampled(options.parts, options.sample, options.seed)
    for name in LOADED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".*", "__pycache__", "runs", "demo")
        shutil.copytree(ROOT, tree, ignore=ignored)
        for part in sorted({part for part, *_ in chosen}):
            if tried(tree, part, options.limit * 3) != "survived":
                raise SystemExit(f"the tests of {part} fail without any change: mend them first")
        for number, mutant in enumerate(chosen, 1):
            known = kept.get(mutant)
            if known and not (options.retry and known["outcome"] == "survived"):
                continue
            row = attempt(tree, mutant, options.limit)
            if row is None:
                continue
            kept[mutant] = row
            with options.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            told = f"{row['outcome']} in {row['seconds']:.0f} s: {' '.join(map(str, mutant[1:]))}"
            print(f"{number} of {len(chosen)}: {told}", flush=True)
    report([kept[mutant] for mutant in chosen if mutant in kept])


def sampled(parts: list[str], sample: int, seed: int) -> list[tuple]:
    """Return mutants (part, file, operator, occurrence), each part by its share of all places."""
    everything = {part: [p for file in files(part) for p in places(part, file)] for part in parts}
    total = sum(map(len, everything.values()))
    chosen = []
    for part, found in everything.items():
        chance = random.Random(f"{seed}{part}")
        number = round(sample * len(found) / total)
        for mutants in chance.sample(found, len(found)):
            mutant = chance.choice(mutants)
            if number and changes(mutant):
                chosen.append(mutant)
                number -= 1
    return chosen


def files(part: str) -> list[Path]:
    """Return the source files of a part."""
    path = ROOT / "src" / "softrec" / part
    return [path] if path.suffix else sorted(path.rglob("*.py"))


def places(part: str, path: Path) -> list[list[tuple]]:
    """Return the mutants of a file, a list for each place, which may be changed in several ways."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    operators = {  # those of variables need to be told which
        name: plugins.get_operator(name)()
        for name in plugins.operator_names()
        if "Variable" not in name
    }
    occurrences: Counter[str] = Counter()
    found: dict[tuple, list[tuple]] = {}
    for node in ast_nodes(get_ast(path.read_text())):
        for name, operator in operators.items():
            for place in operator.mutation_positions(node):
                mutant = (part, str(path.relative_to(ROOT)), name, occurrences[name])
                found.setdefault(place, []).append(mutant)
                occurrences[name] += 1
    return list(found.values())


def changes(mutant: tuple) -> bool:
    """Return whether a mutant parses and differs in more than annotations and docstrings."""
    source = (ROOT / mutant[1]).read_text()
    changed = mutated(source, mutant)
    return changed is not None and bare(changed) not in (None, bare(source))


def mutated(source: str, mutant: tuple) -> str | None:
    """Return the source with one place changed, or None if there is no such place."""
    from cosmic_ray import plugins
    from cosmic_ray.mutating import mutate_code

    _, _, name, occurrence = mutant
    return mutate_code(source, plugins.get_operator(name)(), occurrence)


def bare(source: str) -> str | None:
    """Return the syntax tree without annotations and docstrings; None if it does not parse."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def attempt(tree: Path, mutant: tuple, limit: float) -> dict | None:
    """Put a mutant into the tree, run the tests of its part, and take it out again."""
    part, file, *_ = mutant
    path = tree / file
    source = path.read_text()
    changed = mutated(source, mutant)
    if changed is None:
        return None
    path.write_text(changed)
    begun = time.monotonic()
    try:
        outcome = tried(tree, part, limit)
    finally:
        path.write_text(source)
    diff = difflib.unified_diff(source.splitlines(), changed.splitlines(), lineterm="", n=0)
    return {"mutant": list(mutant), "outcome": outcome, "seconds": time.monotonic() - begun,
            "diff": [line for line in diff if line[:3] not in ("---", "+++")]}  # fmt: skip


def tried(tree: Path, part: str, limit: float) -> str:
    """Run the tests of a part in a fork: "killed" if one fails, or none ends in time."""
    child = os.fork()
    if not child:
        os.setsid()
        os._exit(tests_of(tree, part))
    ends = time.monotonic() + limit
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "killed"


def tests_of(tree: Path, part: str) -> int:
    """Run pytest on the tests of a part; called in the fork."""
    import pytest

    os.chdir(tree)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os.environ |= {"PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.path.insert(0, str(tree / "src"))
    there = [path for path in PARTS[part] if (tree / path).exists()]
    return int(pytest.main(["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", *there]))


def report(rows: list[dict]) -> None:
    """Print the shares of each part, and the survivors."""
    for row in rows:
        if row["outcome"] == "survived":
            print(row["mutant"][1], row["mutant"][2], *row["diff"], sep="\n    ")
    total, killed = Counter(), Counter()
    for row in rows:
        for name in (row["mutant"][0], "all"):
            total[name] += 1
            killed[name] += row["outcome"] == "killed"
    for name, number in total.items():
        print(f"{name}: {killed[name]} of {number} killed ({killed[name] / number:.1%})")


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main()
