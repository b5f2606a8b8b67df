# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
"""Run by the Python of RePlay's environment: `python check_replay.py FOLDER`."""

import polars as pl
import torch
from checks import same, whole
from replay.data import Dataset, FeatureHint, FeatureInfo, FeatureSchema, FeatureType
from replay.data.nn import TensorFeatureInfo, TensorSchema
from replay.nn.sequential.sasrec import SasRec

import softrec.adapters.replay
from softrec.adapters import to_replay

N = 30


def model():
    item = TensorFeatureInfo(
        "item_id", FeatureType.CATEGORICAL, is_seq=True, feature_hint=FeatureHint.ITEM_ID,
        cardinality=N, padding_value=N, embedding_dim=16,
    )  # fmt: skip
    schema = TensorSchema(item)
    return SasRec.from_params(
        schema, embedding_dim=16, num_heads=2, num_blocks=1, max_sequence_length=6, dropout=0.0
    )


def batch():
    """Return rows of different lengths, padded on the left."""
    torch.manual_seed(0)
    rows = torch.randint(N, (8, 7))
    rows[torch.arange(7) < torch.arange(8)[:, None] % 5] = N
    inputs, labels = rows[:, :-1], rows[:, 1:, None]
    return {
        "feature_tensors": {"item_id": inputs}, "padding_mask": inputs != N,
        "positive_labels": labels, "negative_labels": None, "target_padding_mask": labels != N,
    }  # fmt: skip


def check_frame():
    """Make RePlay's data set of a log."""
    log = pl.DataFrame({"user": ["ann", "ann", "bob"], "item": [7, 9, 7], "time": [3, 4, 5]})
    schema = FeatureSchema([
        FeatureInfo("query_id", FeatureType.CATEGORICAL, FeatureHint.QUERY_ID),
        FeatureInfo("item_id", FeatureType.CATEGORICAL, FeatureHint.ITEM_ID),
        FeatureInfo("rating", FeatureType.NUMERICAL, FeatureHint.RATING),
        FeatureInfo("timestamp", FeatureType.NUMERICAL, FeatureHint.TIMESTAMP),
    ])  # fmt: skip
    found = Dataset(schema, to_replay(log))
    assert (found.query_count, found.item_count) == (2, 2)


def main():
    check_frame()
    one, given = model(), batch()
    counts = torch.arange(1, N + 1)

    def own_loss(loss):
        def value():
            one.loss = loss
            return one(**given)["loss"]

        return value

    theirs = own_loss(one.loss)
    softrec.adapters.replay.train_on(one, counts)
    ours = own_loss(one.loss)
    same(one, theirs, ours)

    softrec.adapters.replay.train_on(one, counts, "pop+", alpha=0.5)
    mask = given["target_padding_mask"][..., 0]
    labels = given["positive_labels"][..., 0]

    def table():
        states = one.body(given["feature_tensors"], given["padding_mask"])
        logits = one.get_logits(states)
        return whole(logits[mask], labels[mask], counts.float(), 0.25)

    same(one, table, own_loss(one.loss))
    optimizer = torch.optim.Adam(one.parameters(), 0.01)
    values = []
    for _ in range(5):
        loss = one(**given)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < values[0], values
    assert set(model().state_dict()) == set(one.state_dict())
    scores = one.eval()(given["feature_tensors"], given["padding_mask"])["logits"]
    assert scores.shape == (8, N)


main()
