"""`softrec.Softrec`: a recommender with the habits of scikit-learn, over `softrec.fit`."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from html import escape
from inspect import signature
from pathlib import Path
from typing import Any, Self

import softrec
from softrec.errors import SoftrecError
from softrec.experiments import views
from softrec.experiments.runs import Run
from softrec.recipe.options import dotted
from softrec.serving.recommender import Recommender


class Softrec:
    """A model with its target, loss and training, to be fitted on a log.

    The parameters are the keywords of `softrec.fit`, with the same defaults, and are checked by it.
    `sklearn.base.clone` copies it. As in scikit-learn, the constructor stores the parameters
    unchanged, and what `fit` finds ends with an underscore: `run_`, the run, and `test_`, its test
    metrics.

    Args:
        out: the folder of the run; by default a temporary one, which is removed with this object.
        **params: `model="sasrec"`, `target="pop+"`, `alpha=0.4`, `**{"model.dim": 64}`, ...

    Example:
        model = softrec.Softrec(model="sasrec", target="pop+", alpha=0.4).fit("clicks.csv")
        model.recommend(["ann"], k=5)
    """

    run_: Run
    test_: dict[str, float]

    def __init__(self, *, out: str | Path | None = None, **params: Any) -> None:
        self.out = out
        self._params = params

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters that were given; `deep` changes nothing."""
        return {"out": self.out, **self._params}

    def set_params(self, **params: Any) -> Self:
        """Change parameters, and return itself; None restores the default.

        Raises:
            RecipeError: if there is no such parameter.
        """
        own = signature(softrec.fit).parameters
        dotted({name: value for name, value in params.items() if name not in own})
        self.out = params.pop("out", self.out)
        changed = self._params | params
        self._params = {name: value for name, value in changed.items() if value is not None}
        return self

    def fit(self, log: Any) -> Self:
        """Train on a log, choose the best epoch on validation, test it, and return itself.

        Args:
            log: as for `softrec.fit`.

        Raises:
            SoftrecError: as `softrec.fit`.
        """
        out = self.out
        if out is None:
            folder = tempfile.mkdtemp(prefix="softrec-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            out = Path(folder) / "run"
        self.run_ = softrec.fit(log, out=out, **self._params)
        self.test_ = self.run_.test
        self._recommender = self.run_.recommender()
        return self

    def recommend(self, users: Any = None, k: int = 10, **options: Any) -> Any:
        """Return the k best items of users or histories, as `Recommender.recommend`."""
        return self.recommender_.recommend(users, k, **options)

    def similar(self, items: Any, k: int = 10, **options: Any) -> Any:
        """Return similar items, as `Recommender.similar`."""
        return self.recommender_.similar(items, k, **options)

    @property
    def recommender_(self) -> Recommender:
        """Return the recommender of the run.

        Raises:
            SoftrecError: before `fit`.
        """
        if not hasattr(self, "_recommender"):
            raise SoftrecError(f"{self!r} is not fitted; call .fit(log) first")
        return self._recommender

    def __repr__(self) -> str:
        given: Mapping[str, Any] = {"out": self.out} if self.out is not None else {}
        given = {**given, **self._params}
        plain = [f"{name}={value!r}" for name, value in given.items() if name.isidentifier()]
        others = {name: value for name, value in given.items() if not name.isidentifier()}
        return f"Softrec({', '.join([*plain, *([f'**{others!r}'] if others else [])])})"

    def _repr_html_(self) -> str:
        shown = f"<code>{escape(repr(self))}</code>"
        return shown + (views.run_html(self.run_) if hasattr(self, "run_") else " not fitted")
