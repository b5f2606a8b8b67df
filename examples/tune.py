"""Search settings on validation, train the best ones with two seeds, and use them.

Run `python examples/tune.py`; it needs the extra `tune`. An interrupted search goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import softrec

LOG = Path(__file__).with_name("shop.csv")
SPACE = {"training.lr": "1e-3..1e-2:log", "target.alpha": "0.1..0.6", "model.dim": [16, 32]}


def main(out: str = "runs/tuned", trials: int = 6, **options: Any) -> softrec.Tuning:
    """Search over the rate of learning, the weight of popularity, and the width of the model."""
    fixed: dict[str, Any] = {"model": "gru4rec", "target": "pop+", "epochs": 8, **options}
    return softrec.tune(LOG, out=out, trials=trials, space=SPACE, seeds=2, overwrite=True, **fixed)


if __name__ == "__main__":
    found = main()
    print(found)  # noqa: T201
    print(found.best.settings, found.test)  # noqa: T201
    print("all trials:", found.folder / "history.html")  # noqa: T201
