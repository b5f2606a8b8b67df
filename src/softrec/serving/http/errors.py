"""Typed errors: every refusal is `{"error": {"type", "message", "fix"}}`, without a traceback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import to_json

from softrec.errors import DataError, RecipeError, RulesError, SoftrecError, one_line

SHOWN = 3  # faults of a request that a message names


class RefusedError(Exception):
    """A request is not answered.

    Args:
        status: of HTTP.
        kind: the type of the error, for programs.
        message: what was expected and what came, in one line.
        fix: what to do about it.
        headers: of the reply.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        fix: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = one_line(message)
        self.fix = one_line(fix)
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Return the reply as JSON."""
        return to_json({"error": {"type": self.kind, "message": self.message, "fix": self.fix}})


class Known(NamedTuple):
    """An error of the application that has no words of its own."""

    kind: str
    message: str
    fix: str


KNOWN = {
    404: Known("not_found", "there is nothing at this path", "see /openapi.json for the paths"),
    405: Known(
        "method_not_allowed", "this path has no such method", "see /openapi.json for the methods"
    ),
}


KINDS = {
    400: "The body is no JSON.",
    401: "A key is needed, or it is wrong.",
    404: "A user or an item is unknown.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is of another type than JSON.",
    422: "The request asks for too much, has a wrong field, or the model cannot do it.",
    503: "The server has too much to do; try again after Retry-After seconds.",
}
"""The statuses of refusals, for the description of the paths."""


def of_status(status: int) -> RefusedError:
    """Return the refusal for an error of routing."""
    known = KNOWN.get(
        status, Known("refused", "the request cannot be read", "see /openapi.json for examples")
    )
    return RefusedError(status, *known)


def of_softrec(error: SoftrecError) -> RefusedError:
    """Return the refusal for an error of the library, whose text ends with the way to mend it.

    Data and recipes of a request are the client's; a run that cannot be read is the server's.
    """
    message, _, fix = str(error).partition("; ")
    if isinstance(error, RulesError):
        return RefusedError(422, "wrong_rules", message, fix or "see /openapi.json for the rules")
    if isinstance(error, DataError | RecipeError):
        return RefusedError(422, "refused", message, fix or "ask for something else")
    return RefusedError(500, "unusable", message, fix or "tell whoever runs the server")


def of_validation(error: ValidationError) -> RefusedError:
    """Return the refusal for a body of other types than expected, or that is no JSON."""
    return of_faults(error.errors(include_url=False, include_input=False, include_context=False))


def of_faults(faults: Sequence[Any]) -> RefusedError:
    """Return the refusal for the faults of a request as pydantic lists them."""
    if faults[0]["type"] == "json_invalid":
        text = faults[0]["msg"].removeprefix("Invalid JSON: ")
        return RefusedError(400, "broken_json", f"the body is no JSON: {text}", "send valid JSON")
    texts = [fault["msg"].removeprefix("Value error, ") for fault in faults[:SHOWN]]
    told = [f"{_place(fault['loc'])}: {text}" for fault, text in zip(faults, texts, strict=False)]
    more = f" (and {len(faults) - SHOWN:,} more)" if len(faults) > SHOWN else ""
    return RefusedError(
        422,
        "invalid_request",
        "; ".join(told) + more,
        "see /openapi.json for the fields and examples",
    )


def _place(loc: tuple[int | str, ...]) -> str:
    """Return where a fault is: `histories.bob[3]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return one_line(text.removeprefix(".") or "the body", 80)


def internal(number: str) -> RefusedError:
    """Return the refusal for a fault of the server, which is told in its log under a number."""
    return RefusedError(
        500,
        "internal",
        "the server failed; nothing is wrong with the request as far as it knows",
        f"tell whoever runs the server to look for {number} in its log",
    )


def too_many(what: str, most: int, came: int) -> RefusedError:
    """Return the refusal for a list that is too long."""
    return RefusedError(
        422, "too_many", f"at most {most:,} {what}, got {came:,}", "send several smaller requests"
    )
