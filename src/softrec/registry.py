"""What there is to choose from by name: targets, losses, candidates, models, data sets, metrics.

The members that come along are found by walking their package, so that a new one is one file.
Others are added by `softrec.register`, by plugins, or by the settings class that bears a name:

    class MySettings(TargetSettings, name="mine"): ...
"""

from __future__ import annotations

import pkgutil
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

from pydantic import ValidationError, field_validator
from pydantic_core import PydanticCustomError

from softrec.errors import RecipeError, no_such, one_line
from softrec.settings import Settings, Text, setting

T = TypeVar("T")
M = TypeVar("M")
GROUP = "softrec.plugins"
"""The entry point group in which installed packages name modules that register members."""
NESTED = "nested"
"""The type of an error whose context holds the errors of a member's own fields."""


class PluginWarning(UserWarning):
    """A plugin is broken, or is not what it was."""


class Member(NamedTuple):
    """Something with a name, and the module that brought it."""

    thing: Any
    module: str

    @property
    def in_tree(self) -> bool:
        """Return whether it comes with softrec."""
        return self.module.partition(".")[0] == "softrec"


class Registry(MutableMapping[str, T], Generic[T]):
    """The members of one kind by their names, in alphabetical order.

    Args:
        kind: what a member is called in messages: "target".
        packages: the modules and packages whose import brings the members that come along.
        found: what a module has, by name, where members do not enter themselves.

    Example:
        >>> colours = Registry("colour")
        >>> colours["red"] = 0xFF0000
        >>> list(colours), colours["red"]
        (['red'], 16711680)
        >>> colours["rad"]
        Traceback (most recent call last):
        softrec.errors.RecipeError: no colour 'rad', did you mean red? There are red
    """

    all: ClassVar[list[Registry[Any]]] = []

    def __init__(
        self,
        kind: str,
        *packages: str,
        found: Callable[[ModuleType], Mapping[str, T]] = lambda _: {},
    ) -> None:
        self.kind = kind
        self._packages = packages
        self._found = found
        self._members: dict[str, Member] = {}
        self._walked = False
        if packages:
            Registry.all.append(self)

    def add(self, name: str, thing: T, module: str | None = None) -> None:
        """Enter a member.

        Raises:
            RecipeError: if another one has the name.
        """
        module = module or str(getattr(thing, "__module__", ""))
        kept = self._members.get(name)
        if kept is not None and not _same(kept.thing, thing):
            raise RecipeError(
                f"there is already a {self.kind} {name!r}, from {kept.module}; choose another name"
            )
        self._members[name] = Member(thing, module)

    def named(self, name: str | None = None) -> Callable[[M], M]:
        """Return a decorator that enters what it decorates, by default under its own name."""

        def entered(thing: Any) -> Any:
            self.add(name or thing.__name__, thing)
            return thing

        return entered

    def member(self, name: str) -> Member:
        """Return a member with where it comes from.

        Raises:
            RecipeError: if there is none of that name.
        """
        self._walk()
        if name not in self._members:
            raise RecipeError(no_such(self.kind, name, self.choices()))
        return self._members[name]

    def choices(self) -> list[str]:
        """Return the names that a user may write, in alphabetical order."""
        return [name for name in self if getattr(self._members[name].thing, "listed", True)]

    def __getitem__(self, name: str) -> T:
        return self.member(name).thing

    def get(self, name: str, default: Any = None) -> Any:
        """Return a member, or something else if there is none of that name."""
        return self[name] if name in self else default  # noqa: SIM401 - it is that one

    def __contains__(self, name: object) -> bool:
        self._walk()
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        self._walk()
        return iter(sorted(self._members))

    def __len__(self) -> int:
        self._walk()
        return len(self._members)

    def __setitem__(self, name: str, thing: T) -> None:
        self._walk()
        self._members[name] = Member(thing, str(getattr(thing, "__module__", "")))

    def __delitem__(self, name: str) -> None:
        self._walk()
        del self._members[name]

    def _walk(self) -> None:
        if self._walked:
            return
        self._walked = True  # a member may look up others while its module is imported
        for place in self._packages:
            package = import_module(place)
            below = pkgutil.walk_packages(getattr(package, "__path__", ()), f"{place}.")
            for module in (package, *(import_module(part.name) for part in below)):
                for name, thing in self._found(module).items():
                    self.add(name, thing, module.__name__)
        load_installed()


@cache
def load_installed() -> None:
    """Import what installed packages bring, once; a broken one is left out with a warning."""
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:
            what = one_line(f"{type(error).__name__}: {error}", 200)
            warnings.warn(
                f"the plugin {entry.name} ({entry.value}) cannot be loaded: {what}; fix or "
                "uninstall the package that contains it",
                PluginWarning,
                stacklevel=2,
            )


def _same(one: object, other: object) -> bool:
    """Tell whether a thing is another, or the same of a module that was run again."""
    names = ("__module__", "__qualname__")
    return one is other or (
        hasattr(one, "__qualname__")
        and all(getattr(one, name, None) == getattr(other, name, None) for name in names)
    )


class Chosen(Settings):
    """Settings that are chosen by a name; a subclass with `name=` enters the registry under it."""

    registry: ClassVar[Registry[Any]]
    names: ClassVar[tuple[str, ...]] = ()
    listed: ClassVar[bool] = True  # False: users are not offered it, for only the code can make it

    name: Text = setting("", "which one it is", validate_default=False)

    def __init_subclass__(cls, name: str | tuple[str, ...] = (), **kwargs: Any) -> None:
        """Take the name, or several, that a subclass bears."""
        super().__init_subclass__(**kwargs)
        cls.names = (name,) if isinstance(name, str) else name

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Enter a subclass, when it is whole, under its names.

        Raises:
            TypeError: if nothing builds what it names.
        """
        kind = next(base for base in cls.__mro__ if "registry" in vars(base))
        if cls.names and getattr(cls, "build", None) is getattr(kind, "build", None):
            raise TypeError(f"{cls.__name__} can be chosen by name, but has no method build")
        for one in cls.names:
            cls.registry.add(one, cls)

    def model_post_init(self, context: Any, /) -> None:
        """Fill in the name, where the class has one only."""
        if not self.name and self.names:
            object.__setattr__(self, "name", self.names[0])

    @field_validator("name")
    @classmethod
    def _own_name(cls, name: str) -> str:
        if name not in cls.names:
            raise ValueError(no_such("name", name, cls.names))
        return name

    @classmethod
    def read(cls, value: Any) -> Self:
        """Return the settings of the member that a mapping names.

        Raises:
            PydanticCustomError: of the type `NESTED` if its own fields do not fit.
        """
        if isinstance(value, cls):
            return value
        kind = cls.registry.kind
        if not isinstance(value, Mapping):
            raise PydanticCustomError("model_type", f"expected the fields of a {kind}")  # pyright: ignore[reportArgumentType]
        name = value.get("name")
        if name is None:
            raise PydanticCustomError("union_tag_not_found", "needs a name")
        if not isinstance(name, str) or name not in cls.registry:
            known = {"tag": name, "known": cls.registry.choices()}
            raise PydanticCustomError("union_tag_invalid", "is not known", known)
        try:
            return cls.registry[name].model_validate(dict(value))
        except ValidationError as error:
            fields = list(cls.registry[name].model_fields)
            inside = {"name": name, "fields": fields, "errors": error.errors(include_url=False)}
            raise PydanticCustomError(NESTED, "does not fit", inside) from error
