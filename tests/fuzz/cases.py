"""How many cases a property of damaged input is tried on: few in the suite, many by hand.

SOFTREC_FUZZ=100000 pytest tests/fuzz tries each property on so many, others every time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from softrec.errors import LONGEST, SoftrecError


def cases(usual: int) -> settings:
    """Return the settings of a property that the suite tries on `usual` cases."""
    wanted = os.environ.get("SOFTREC_FUZZ")
    return settings(
        max_examples=int(wanted or usual),
        derandomize=not wanted,
        database=None,
        deadline=None,
        suppress_health_check=(
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.large_base_example,
            HealthCheck.function_scoped_fixture,
        ),
    )


def attempted(action: Callable[[], Any]) -> Any:
    """Return what `action` returns, or None if it refuses its input as it should: in one line."""
    try:
        return action()
    except SoftrecError as error:
        text = str(error)
        if not text or "\n" in text or len(text) > LONGEST:
            pytest.fail(f"not one line of at most {LONGEST} characters: {text!r}")
        return None
