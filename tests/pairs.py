"""Products of axes: every pair of values in the fast suite, the whole product in the slow one."""

from collections.abc import Callable, Iterable
from itertools import combinations, product
from typing import Any

import pytest

Case = dict[str, Any]


def pairs_of(case: Case) -> set[tuple]:
    """Return the pairs of values that a case tries, each with its axes."""
    return set(combinations(case.items(), 2))


def pairwise(cases: Iterable[Case]) -> list[Case]:
    """Return some of the cases, which try each pair of values that any of the cases tries.

    Greedy: the case that tries most pairs not tried yet comes next; of several the first. Small, as
    most bugs need two things together (Kuhn, Wallace and Gallo, Software Fault Interactions, 2004),
    and the same every time.
    """
    left = [(case, pairs_of(case)) for case in cases]
    missing = set[tuple]().union(*(pairs for _, pairs in left))
    chosen = []
    while missing:
        case, pairs = max(left, key=lambda each: len(each[1] & missing))
        chosen.append(case)
        missing -= pairs
    return chosen


def every(unless: Callable[[Case], bool] = lambda case: False, **axes: Iterable) -> Any:
    """Parametrize a test over the product of axes; what no pair needs is marked exhaustive.

    Args:
        unless: whether a case is none, because its values do not fit together.
        axes: the values of each, by the name of the test's argument.
    """
    cases = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    cases = [case for case in cases if not unless(case)]
    chosen = pairwise(cases)
    return pytest.mark.parametrize(
        list(axes),
        [
            pytest.param(
                *case.values(),
                id="-".join(map(str, case.values())),
                marks=() if case in chosen else pytest.mark.exhaustive,
            )
            for case in cases
        ],
    )
