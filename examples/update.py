"""Fresh data: train a run further with newer events, and see whether it may take the place.

Run `python examples/update.py`. The last fifth of the log plays the part of the new events.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

import softrec

LOG = Path(__file__).with_name("shop.csv")


def main(out: str = "runs/updated", **options: Any) -> softrec.Update:
    """Train on the older events, and update with the newer ones."""
    log = pl.read_csv(LOG).sort("time")
    newer = len(log) // 5
    small: dict[str, Any] = {"model": "gru4rec", "target": "pop+", "epochs": 10, **options}
    softrec.fit(log.head(-newer), out=f"{out}/old", overwrite=True, **small)
    return softrec.update(
        f"{out}/old", log.tail(newer), out=f"{out}/new", overwrite=True, **options
    )


if __name__ == "__main__":
    found = main()
    print("take the new run:", found.accepted)  # noqa: T201
    print(found.run.recommender().recommend(histories={"new": ["sku-0007"]}, k=5))  # noqa: T201
