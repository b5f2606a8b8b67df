"""Training in float32 with products of bfloat16 factors."""

import logging

import pytest
import torch

from softrec.experiments.train import fit_recipe
from softrec.recipe.recipe import merged, read_recipe
from softrec.training.precision import bf16_unit, exactly, of_trainer, products

CPU = torch.device("cpu")
RECIPE = {
    "data": {"source": "shop", "cold_items": "keep",
             "shop": {"n_items": 60, "n_users": 80, "min_length": 8, "max_length": 20}},
    "model": {"name": "sasrec", "dim": 32},
    "training": {"epochs": 2, "batch_size": 32, "length": 8, "windows": "positions"},
    "evaluation": {"metrics": ["ndcg@10"]},
}  # fmt: skip


def now():
    return torch.get_float32_matmul_precision()


@pytest.mark.parametrize(
    ("device", "unit", "asked", "told"),
    [
        (CPU, "AMX", "medium", "precision bf16: products by AMX, sums in float32"),
        (CPU, None, "highest",
         "precision bf16: not used on this processor, products are computed in float32"),
        (torch.device("cuda"), "AMX", "highest",
         "precision bf16: not used on a cuda device, products are computed in float32"),
    ],
)  # fmt: skip
def test_products_are_rounded_where_a_unit_does_it_and_a_line_says_so(
    device, unit, asked, told, caplog
):
    with caplog.at_level(logging.INFO, "softrec"), products("bf16", device, unit):
        assert now() == asked
    assert now() == "highest"
    assert [record.getMessage() for record in caplog.records] == [told]


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "64-true"])
def test_other_precisions_are_lightnings(precision, caplog):
    with caplog.at_level(logging.INFO, "softrec"), products(precision, CPU, "AMX"):
        assert now() == "highest"
    assert not caplog.records
    assert of_trainer(precision) == precision
    assert of_trainer("bf16") == "32-true"


def test_validation_computes_in_float32():
    seen = []
    validate = exactly(lambda _: seen.append(now()) or {}, "bf16")
    with products("bf16", CPU, "AMX"):
        validate(None)
        assert now() == "medium"
    assert seen == ["highest"]


def test_products_come_back_after_an_error():
    with pytest.raises(KeyError), products("bf16", CPU, "AMX"):
        raise KeyError
    assert now() == "highest"


def trained(precision, folder):
    asked = read_recipe(merged(RECIPE, {"training": {"precision": precision}}))
    return fit_recipe(asked, folder)


def test_bf16_trains_float32_weights_close_to_those_of_float32(tmp_path):
    whole, rounded, again = (
        trained(precision, tmp_path / str(n)).encoder().state_dict()
        for n, precision in enumerate(["32-true", "bf16", "bf16"])
    )
    for name, expected in whole.items():
        assert rounded[name].dtype == expected.dtype
        assert torch.equal(rounded[name], again[name])  # the same numbers each time
        torch.testing.assert_close(rounded[name], expected, rtol=0, atol=0.1)
    differs = any(not torch.equal(rounded[name], expected) for name, expected in whole.items())
    assert differs == (bf16_unit() is not None)
