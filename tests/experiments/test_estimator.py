"""`softrec.Softrec`: the habits of scikit-learn over `softrec.fit`, with the same numbers."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import softrec
from messages import refused
from softrec.errors import RecipeError, SoftrecError

# Lightning's own use of PyTorch; no part of what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

TINY = {"epochs": 1, "batch_size": 64, "length": 5, "model.dim": 4, "model.layers": 1}


@pytest.fixture(scope="module")
def log():
    items = (np.random.default_rng(0).integers(10, size=(20, 1)) + np.arange(6)) % 10
    return pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": items.ravel()})


@pytest.fixture(scope="module")
def fitted(log):
    return softrec.Softrec(target="pop+", alpha=0.3, progress=False, **TINY).fit(log)


def cloned(estimator):
    """Return a copy as `sklearn.base.clone` makes it, which also compares the parameters."""
    params = estimator.get_params(deep=False)
    copy = type(estimator)(**params)
    after = copy.get_params(deep=False)
    assert params.keys() == after.keys()
    assert all(params[name] is after[name] for name in params)
    return copy


def test_it_finds_what_fit_finds(fitted, log, tmp_path):
    run = softrec.fit(log, out=tmp_path / "run", target="pop+", alpha=0.3, progress=False, **TINY)
    assert fitted.test_ == run.test
    recommender = run.recommender()
    assert fitted.recommend([3, 4], k=2).equals(recommender.recommend([3, 4], 2))
    histories = {"new": [1, 2]}
    expected = recommender.recommend(histories=histories, mask_seen=False)
    assert fitted.recommend(histories=histories, mask_seen=False).equals(expected)
    assert fitted.similar(1, k=3).equals(recommender.similar(1, 3))


def test_a_clone_has_the_parameters_and_is_not_fitted(fitted):
    copy = cloned(fitted)
    assert copy.get_params() == fitted.get_params()
    assert repr(copy) == repr(fitted)
    with refused(SoftrecError):
        copy.recommend([3])


def test_parameters_are_changed_and_checked():
    model = softrec.Softrec(model="gru4rec", epochs=3)
    assert model.set_params(epochs=4, target="uniform") is model
    assert model.get_params() == {"out": None, "model": "gru4rec", "epochs": 4, "target": "uniform"}
    model.set_params(target=None, out="runs/a", overwrite=True, **{"model.dim": 8})
    assert model.get_params()["out"] == "runs/a"
    assert "target" not in model.get_params()
    with refused(RecipeError):
        model.set_params(epoch=4)
    assert "epoch" not in model.get_params()


def test_it_shows_itself_as_it_is_written(fitted):
    text = repr(fitted)
    assert text.startswith("Softrec(target='pop+', alpha=0.3, progress=False, epochs=1, ")
    assert text.endswith("**{'model.dim': 4, 'model.layers': 1})")
    assert eval(text, {"Softrec": softrec.Softrec}).get_params() == fitted.get_params()
    assert repr(softrec.Softrec()) == "Softrec()"
    assert "ndcg@10" in fitted._repr_html_()
    assert "not fitted" in softrec.Softrec(model="mf")._repr_html_()


def test_the_run_is_where_it_was_asked_for_or_gone_with_the_object(log, tmp_path):
    kept = softrec.Softrec(out=tmp_path / "run", model="popularity", progress=False).fit(log)
    assert softrec.open_run(tmp_path / "run").test == kept.test_
    model = softrec.Softrec(model="popularity", progress=False)
    folder = Path(model.fit(log).run_.folder)
    assert folder.is_dir()
    del model
    assert not folder.exists()
