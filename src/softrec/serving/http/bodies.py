"""What a request may say: pydantic models, with the examples of the OpenAPI page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from softrec.errors import no_such, one_line
from softrec.serving.http.errors import RefusedError, too_many
from softrec.serving.http.limits import Sizes
from softrec.serving.rules import Rules

LARGEST = 2**63
LONGEST = 500
"""Letters of an id."""
IDS_OF_RULES = 10_000
"""Ids of a rule; with more the request is refused before each of them is looked at."""

Number = Annotated[StrictInt, Field(ge=-LARGEST, lt=LARGEST)]
Text = Annotated[StrictStr, Field(max_length=LONGEST)]
Id = Number | Text
"""A raw id as it stands in the log: text, or a whole number."""

RULES: Any = Field(
    default=Rules(),
    description="Which items may come, how many of a kind, and which come first: allow, block, "
    "where (SQL over the columns of the items), at_most, pinned, mask_seen.",
)


def fault(said: str) -> PydanticCustomError:
    """Return the one error that is told of a value.

    pydantic would list one for each of its parts, which takes seconds for a long list.
    """
    return PydanticCustomError("fault", "{said}", {"said": said})


def _ids(given: list[Any]) -> list[Any]:
    """Check a list of ids up to the first that is none."""
    for place, one in enumerate(given):
        if type(one) is str and len(one) <= LONGEST:
            continue
        if type(one) is int and -LARGEST <= one < LARGEST:
            continue
        raise fault(
            f"place {place}: expected text of at most {LONGEST} letters or a whole number of 64 "
            f"bits, got {one_line(repr(one), 40)}"
        )
    return given


def _weights(given: list[Any]) -> list[Any]:
    """Check a list of weights up to the first that is none."""
    for place, one in enumerate(given):
        if type(one) not in (int, float) or not 0 <= one < LARGEST:
            raise fault(f"place {place}: expected a number of at least 0")
    return given


def _histories(given: Any) -> Any:
    """Check histories, and give those without names the names "history 1", "history 2", ..."""
    if isinstance(given, list):
        given = {f"history {n}": history for n, history in enumerate(given, 1)}
    if not isinstance(given, dict):
        raise fault("expected lists of items, or lists of items by name")
    for name, history in given.items():
        if len(name) > LONGEST:
            raise fault(f"expected names of at most {LONGEST} letters")
        if not isinstance(history, list):
            raise fault(f"{one_line(repr(name), 40)}: expected a list of items")
        try:
            _ids(history)
        except PydanticCustomError as error:
            raise fault(f"{one_line(repr(name), 40)}, {error.message()}") from None
    return given


Ids = Annotated[
    list[Any], AfterValidator(_ids), WithJsonSchema(TypeAdapter(list[Id]).json_schema())
]
Weights = Annotated[
    list[Any], AfterValidator(_weights), WithJsonSchema(TypeAdapter(list[float]).json_schema())
]
Histories = Annotated[
    Any,
    AfterValidator(_histories),
    WithJsonSchema(TypeAdapter(dict[Text, list[Id]] | list[list[Id]]).json_schema()),
]


class Body(BaseModel):
    """A body that names no field that does not exist."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _fields(cls, given: Any) -> Any:
        """Refuse the first field that does not exist, and rules that are too long to look at."""
        _known_fields(given, cls.model_fields)
        rules: Any = given.get("rules") if isinstance(given, dict) else None
        _known_fields(rules, Rules.model_fields, "rules: ")
        for name, rule in rules.items() if isinstance(rules, dict) else ():
            if isinstance(rule, list | dict) and len(rule) > IDS_OF_RULES:
                raise fault(f"rules.{name}: expected at most {IDS_OF_RULES:,} ids")
        return given


def _known_fields(given: Any, fields: Iterable[str], place: str = "") -> None:
    """Refuse the first field that does not exist; what is no mapping is refused elsewhere."""
    known = [*fields]
    for name in given if isinstance(given, dict) else ():
        if name not in known:
            raise fault(place + no_such("field", name, known))


class People(Body):
    """Whom a request is about."""

    users: Ids = Field(default=[], description="Ids of users of the log.")
    histories: Histories = Field(
        default={},
        description="Items of people who are not in the log, oldest first, by any name; or a list "
        "of such lists.",
    )
    unknown: Literal["error", "skip"] = Field(
        default="error",
        description="What to do about unknown users, and histories without a known item: refuse "
        "the request, or leave them out and say so in `notes`.",
    )
    mask_seen: StrictBool | None = Field(
        default=None,
        description="Leave out items of the history; by default as in the evaluation of the run.",
    )

    def check(self, sizes: Sizes) -> None:
        """Refuse a request that is too large, or about nobody.

        Raises:
            RefusedError: if it is.
        """
        people = len(self.users) + len(self.histories)
        if not people:
            raise RefusedError(
                422,
                "invalid_request",
                "expected users or histories, got neither",
                'give {"users": [ID, ...]} or {"histories": {"NAME": [ITEM, ...]}}',
            )
        if people > sizes.users:
            raise too_many("users and histories in a request", sizes.users, people)
        longest = max(map(len, self.histories.values()), default=0)
        if longest > sizes.history:
            raise too_many("items in a history", sizes.history, longest)
        names = [str(user) for user in self.users]
        twice = {*names} & {*self.histories}
        if twice:
            raise RefusedError(
                422,
                "invalid_request",
                f"a history has the name of a user of the same request: {min(twice)!r}",
                "give the history another name",
            )


class Recommend(People):
    """Lists for users of the log and for given histories."""

    k: Annotated[StrictInt, Field(ge=1)] = Field(default=10, description="Items of a list.")
    rules: Rules = RULES
    why: StrictBool = Field(
        default=False,
        description="For models with interests: tell the interest that contributed most to the "
        "score of each item, and its contribution.",
    )

    history: Annotated[StrictInt, Field(ge=0, le=100)] = Field(
        default=0, description="How many of the last items of each history to tell, too."
    )

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"users": ["ann"], "k": 3},
                {"histories": {"bob": ["tea", "jam"]}, "k": 3},
                {"users": ["ann", "eve"], "histories": [["tea"]], "unknown": "skip"},
                {"users": ["ann"], "rules": {"block": ["tea"], "pinned": ["jam"]}},
            ]
        },
    )

    def check(self, sizes: Sizes) -> None:
        """Refuse a request that is too large, as the base class does."""
        super().check(sizes)
        _check_k(self.k, sizes)
        _check_rules(self.rules, sizes)
        rows = self.k * (len(self.users) + len(self.histories))
        if rows > sizes.rows:
            raise too_many("items in all lists of a request", sizes.rows, rows)


class Interests(People):
    """The interests of users, for models that have several."""

    items: Annotated[StrictInt, Field(ge=1)] = Field(
        default=5, description="How many items to show for each interest."
    )

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"users": ["ann"], "items": 3}]},
    )

    def check(self, sizes: Sizes) -> None:
        """Refuse a request that is too large, as the base class does."""
        super().check(sizes)
        _check_k(self.items, sizes)


class Similar(Body):
    """Similar items: a list for each, or one for all of them with weights."""

    items: Ids = Field(description="Ids of the catalogue.", min_length=1)
    k: Annotated[StrictInt, Field(ge=1)] = Field(default=10, description="Items of a list.")
    weights: Weights | None = Field(
        default=None,
        description="Of the items, for one list by the weighted mean of the similarities.",
    )
    rules: Rules = RULES

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"items": ["tea"], "k": 3},
                {"items": ["tea", "jam"], "weights": [2, 1]},
            ]
        },
    )

    def check(self, sizes: Sizes) -> None:
        """Refuse a request that is too large.

        Raises:
            RefusedError: if it is.
        """
        if len(self.items) > sizes.users:
            raise too_many("items in a request", sizes.users, len(self.items))
        if self.k * len(self.items) > sizes.rows:
            raise too_many("items in all lists of a request", sizes.rows, self.k * len(self.items))
        _check_k(self.k, sizes)
        _check_rules(self.rules, sizes)


def _check_rules(rules: Rules, sizes: Sizes) -> None:
    ids = len(rules.allow or ()) + len(rules.block) + len(rules.pinned)
    if ids > sizes.rules:
        raise too_many("ids in the rules of a request", sizes.rules, ids)
    if len(rules.at_most) > sizes.limits:
        raise too_many("columns in at_most", sizes.limits, len(rules.at_most))


def _check_k(k: int, sizes: Sizes) -> None:
    if k > sizes.k:
        raise too_many("items in a list", sizes.k, k)
