"""Registries of what is chosen by name: targets, losses, candidates, models, data sets, metrics.

The members of softrec are found by importing all modules of their package, so that a new one is one
file. Others are added by `softrec.register`, by plugins, or by a settings class with a name:

    class MySettings(TargetSettings, name="mine"): ...
"""

from __future__ import annotations

import pkgutil
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
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
    """A plugin cannot be loaded, or was changed."""


class Member(NamedTuple):
    """A registered object, and the module that registered it."""

    thing: Any
    module: str

    @property
    def in_tree(self) -> bool:
        """Return whether it belongs to softrec."""
        return self.module.partition(".")[0] == "softrec"


class Registry(MutableMapping[str, T], Generic[T]):
    """The members of one kind by their names, in alphabetical order.

    Args:
        kind: what a member is called in messages, such as "target".
        packages: the modules and packages of softrec whose import registers members.
        found: returns the members of a module, by name, if members do not register themselves.

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
        """Register a member.

        Raises:
            RecipeError: if another member has the name.
        """
        module = module or str(getattr(thing, "__module__", ""))
        kept = self._members.get(name)
        if kept is not None and not _same(kept.thing, thing):
            raise RecipeError(
                f"there is already a {self.kind} {name!r}, from {kept.module}; choose another name"
            )
        self._members[name] = Member(thing, module)

    def named(self, name: str | None = None) -> Callable[[M], M]:
        """Return a decorator that registers an object, by default under the object's own name."""

        def entered(thing: Any) -> Any:
            self.add(name or thing.__name__, thing)
            return thing

        return entered

    def member(self, name: str) -> Member:
        """Return a member with the module that it comes from.

        Raises:
            RecipeError: if there is no member of that name.
        """
        self._walk()
        if name not in self._members:
            raise RecipeError(no_such(self.kind, name, self.choices()))
        return self._members[name]

    def registered(self) -> list[Member]:
        """Return the members that are known so far, without a walk through the packages."""
        return list(self._members.values())

    def choices(self) -> list[str]:
        """Return the names that a user may write, in alphabetical order."""
        return [name for name in self if getattr(self._members[name].thing, "listed", True)]

    def __getitem__(self, name: str) -> T:
        return self.member(name).thing

    def get(self, name: str, default: Any = None) -> Any:
        """Return a member, or `default` if there is no member of that name."""
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

    @contextmanager
    def restored(self) -> Iterator[Self]:
        """A context after which members that were added or replaced inside are restored."""
        self._walk()
        before = dict(self._members)
        try:
            yield self
        finally:
            self._members = before

    def _walk(self) -> None:
        if self._walked:
            return
        self._walked = True  # set first, because a module may look up members while it is imported
        for place in self._packages:
            package = import_module(place)
            below = pkgutil.walk_packages(getattr(package, "__path__", ()), f"{place}.")
            for module in (package, *(import_module(part.name) for part in below)):
                for name, thing in self._found(module).items():
                    self.add(name, thing, module.__name__)
        load_installed()


def is_extended() -> bool:
    """Return whether there may be members from outside softrec: registered, or to be registered."""
    members = (member for registry in Registry.all for member in registry.registered())
    return bool(entry_points(group=GROUP)) or any(not member.in_tree for member in members)


@cache
def load_installed() -> None:
    """Import the plugins of installed packages, once; a broken one is skipped with a warning."""
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
    """Return whether two objects are the same, or one object of a module that was run twice."""
    names = ("__module__", "__qualname__")
    return one is other or (
        hasattr(one, "__qualname__")
        and all(getattr(one, name, None) == getattr(other, name, None) for name in names)
    )


class Chosen(Settings):
    """Settings that are chosen by name; a subclass with `name=` is registered under that name."""

    registry: ClassVar[Registry[Any]]
    names: ClassVar[tuple[str, ...]] = ()
    listed: ClassVar[bool] = True  # False: not shown to users, because only code can make it

    name: Text = setting("", "which one it is", validate_default=False)

    def __init_subclass__(cls, name: str | tuple[str, ...] = (), **kwargs: Any) -> None:
        """Store the name, or the names, of a subclass."""
        super().__init_subclass__(**kwargs)
        cls.names = (name,) if isinstance(name, str) else name

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Register a subclass under its names, when it is complete.

        Raises:
            TypeError: if it has no method `build`.
        """
        kind = next(base for base in cls.__mro__ if "registry" in vars(base))
        if cls.names and getattr(cls, "build", None) is getattr(kind, "build", None):
            raise TypeError(f"{cls.__name__} can be chosen by name, but has no method build")
        for one in cls.names:
            cls.registry.add(one, cls)

    def model_post_init(self, context: Any, /) -> None:
        """Fill in the name, if the class has only one."""
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
            PydanticCustomError: of the type `NESTED` if a field of that member is wrong.
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
