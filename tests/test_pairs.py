from itertools import combinations, product

import pytest

from pairs import every, pairwise

AXES = {"a": range(4), "b": "xyz", "c": (True, False)}
CASES = [dict(zip(AXES, values, strict=True)) for values in product(*AXES.values())]


def test_each_pair_is_tried_by_few_cases():
    chosen = pairwise(CASES)
    for one, other in combinations(AXES, 2):
        tried = {(case[one], case[other]) for case in chosen}
        assert tried == set(product(AXES[one], AXES[other]))
    assert len(chosen) < len(CASES) * 0.75
    assert all(case in CASES for case in chosen)


def test_no_case_that_does_not_fit_is_asked_for_and_its_values_are_still_tried():
    marked = every(lambda case: case["a"] == 0 and case["b"] == "x", **AXES)
    names, cases = marked.args
    assert names == list(AXES)
    assert len(cases) == 24 - 2
    fast = [case.values for case in cases if not case.marks]
    assert {(a, b) for a, b, _ in fast} == set(product(AXES["a"], AXES["b"])) - {(0, "x")}
    assert len({case.id for case in cases}) == len(cases)


@pytest.mark.parametrize("cases", [[], [{"a": 1, "b": 2}]])
def test_of_little_all_is_tried(cases):
    assert pairwise(cases) == cases
