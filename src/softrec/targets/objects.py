"""A source of targets that is a Python object, as a recipe states it: by a name and a fingerprint.

The object itself stays in the process that was given it. Its run is whole like any other; the
recipe alone cannot be run again, for the object lies nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from softrec.errors import RecipeError
from softrec.settings import Alpha, Text, setting
from softrec.targets.settings import TargetSettings
from softrec.training_data import TrainingData
from softrec.types import TargetSource

DEEPEST = 8  # levels of attributes that a fingerprint looks at


class ObjectSettings(TargetSettings, name="object"):
    """A Python object, given in Python to fit or compare; YAML cannot make it again."""

    listed = False
    objects: ClassVar[dict[str, Any]] = {}

    alpha: Alpha = setting(text="weight of the soft target", common=True)
    label: Text = setting(text="what it is called in reports")
    kind: Text = setting(text="its class, with the module")
    fingerprint: Text = setting(text="a short hash of what it holds")

    @classmethod
    def of(cls, source: Any, label: str | None = None) -> dict[str, Any]:
        """Return the fields for a source, but for alpha, and keep it for `build`."""
        kind = type(source)
        key = _fingerprint(source)
        cls.objects[key] = source
        name = f"{kind.__module__}.{kind.__qualname__}"
        return {"name": cls.names[0], "label": label or kind.__name__, "kind": name,
                "fingerprint": key}  # fmt: skip

    def build(self, training: TrainingData) -> TargetSource:
        """Return the object.

        Raises:
            RecipeError: if this process was not given it.
        """
        source = self.objects.get(self.fingerprint)
        if source is None:
            raise RecipeError(
                f"the target {self.label!r} is a Python object ({self.kind}) that is not here; "
                "give it to fit or compare again, or give it a name with softrec.register"
            )
        return source


def _fingerprint(thing: Any) -> str:
    digest = hashlib.sha256()
    _add(digest, thing, DEEPEST)
    return digest.hexdigest()[:16]


def _add(digest: Any, thing: Any, depth: int) -> None:
    """Add what an object holds: numbers, texts, tensors; of anything else the type."""
    digest.update(f"{type(thing).__module__}.{type(thing).__qualname__}\0".encode())
    if isinstance(thing, Tensor):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray):
        digest.update(f"{thing.dtype}{thing.shape}\0".encode())
        digest.update(np.ascontiguousarray(thing).tobytes())
    elif thing is None or isinstance(thing, bool | int | float | str | bytes):
        digest.update(f"{thing!r}\0".encode())
    elif hasattr(thing, "__code__"):
        digest.update(f"{thing.__qualname__}\0".encode() + thing.__code__.co_code)
    elif depth > 0:
        for name, part in _parts(thing):
            digest.update(f"{name}\0".encode())
            _add(digest, part, depth - 1)


def _parts(thing: Any) -> list[tuple[str, Any]]:
    if isinstance(thing, nn.Module):
        # Not its state_dict, which leaves out what is not saved.
        held = {**dict(thing.named_parameters(recurse=False)), **dict(thing.named_children()),
                **dict(thing.named_buffers(recurse=False))}  # fmt: skip
        own = {name: part for name, part in vars(thing).items() if not name.startswith("_")}
        return sorted((held | own | {"training": None}).items())
    if isinstance(thing, Mapping):
        return [(str(name), part) for name, part in thing.items()]
    if isinstance(thing, list | tuple):
        return [(str(place), part) for place, part in enumerate(thing)]
    return sorted(getattr(thing, "__dict__", {}).items())
