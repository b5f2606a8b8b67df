"""The settings of a source that is a Python object: a name and a fingerprint.

The object exists only in the process in which it was given. Its run folder is complete like any
other, but the recipe alone cannot be run again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from softrec.errors import RecipeError
from softrec.settings import Alpha, Text, setting
from softrec.targets.settings import ALPHAS, WEIGHT, TargetSettings
from softrec.training_data import TrainingData
from softrec.types import TargetSource

DEEPEST = 8  # levels of attributes that a fingerprint includes
OF_ANY_MODULE = frozenset(vars(nn.Module()))


class ObjectSettings(TargetSettings, name="object"):
    """A Python object that was given to fit or compare; a YAML file cannot contain it."""

    listed = False
    objects: ClassVar[dict[str, Any]] = {}

    alpha: Alpha = setting(text=WEIGHT, common=True, search=ALPHAS)
    label: Text = setting(text="its name in reports")
    kind: Text = setting(text="its class, with the module")
    fingerprint: Text = setting(text="a short hash of its content")

    @classmethod
    def of(cls, source: Any, label: str | None = None) -> dict[str, Any]:
        """Return the fields for a source, without alpha, and store the source for `build`."""
        kind = type(source)
        key = fingerprint_of(source)
        cls.objects[key] = source
        name = f"{kind.__module__}.{kind.__qualname__}"
        return {"name": cls.names[0], "label": label or kind.__name__, "kind": name,
                "fingerprint": key}  # fmt: skip

    def build(self, training: TrainingData) -> TargetSource:
        """Return the object.

        Raises:
            RecipeError: if the object was not given in this process.
        """
        source = self.objects.get(self.fingerprint)
        if source is None:
            raise RecipeError(
                f"the target {self.label!r} is a Python object ({self.kind}) that was not given; "
                "pass it to fit or compare again, or give it a name with softrec.register"
            )
        return source


def fingerprint_of(thing: Any) -> str:
    """Return a short hash of the content of an object."""
    digest = hashlib.sha256()
    _add(digest, thing, DEEPEST)
    return digest.hexdigest()[:16]


def _add(digest: Any, thing: Any, depth: int) -> None:
    """Add the content of an object to a hash: numbers, texts, tensors, code, and its parts.

    An object whose content cannot be read is identified by its identity. So two objects are never
    taken for the same, but another process cannot resume a comparison with such an object.
    """
    digest.update(f"{type(thing).__module__}.{type(thing).__qualname__}\0".encode())
    if isinstance(thing, Tensor):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray) and not thing.dtype.hasobject:
        digest.update(f"{thing.dtype}{thing.shape}\0".encode())
        digest.update(np.ascontiguousarray(thing).tobytes())
    elif thing is None or isinstance(thing, bool | int | float | str | bytes):
        digest.update(f"{thing!r}\0".encode())
    elif isinstance(thing, type | ModuleType | BuiltinFunctionType):
        digest.update(f"{getattr(thing, '__qualname__', thing.__name__)}\0".encode())
    else:
        parts = _parts(thing) if depth > 0 else None
        if parts is None:
            digest.update(f"{id(thing)}\0".encode())
        for name, part in parts or ():
            digest.update(f"{name}\0".encode())
            _add(digest, part, depth - 1)


def _parts(thing: Any) -> list[tuple[str, Any]] | None:
    """Return the named parts of an object; None if they cannot be read."""
    if isinstance(thing, nn.Module):
        # Not its state_dict, which does not have buffers that are not saved.
        held = {**dict(thing.named_parameters(recurse=False)), **dict(thing.named_children()),
                **dict(thing.named_buffers(recurse=False))}  # fmt: skip
        own = {name: part for name, part in vars(thing).items() if name not in OF_ANY_MODULE}
        return sorted((held | own).items())
    if isinstance(thing, Mapping):
        return [(str(name), part) for name, part in thing.items()]
    if isinstance(thing, list | tuple):
        return [(str(place), part) for place, part in enumerate(thing)]
    if isinstance(thing, partial):
        return [("function", thing.func), ("given", thing.args), ("named", thing.keywords)]
    if isinstance(thing, MethodType):
        return [("function", thing.__func__), ("of", thing.__self__)]
    if isinstance(thing, FunctionType):
        cells = [cell.cell_contents for cell in thing.__closure__ or ()]
        return [("name", thing.__qualname__), ("code", thing.__code__), ("around", cells),
                ("defaults", thing.__defaults__), ("named", thing.__kwdefaults__)]  # fmt: skip
    if isinstance(thing, CodeType):
        return [("code", thing.co_code), ("constants", thing.co_consts), ("names", thing.co_names)]
    if hasattr(thing, "__dict__"):
        return sorted(vars(thing).items())
    return None
