"""Tables made for the tests of contracts."""

from __future__ import annotations

import numpy as np
import pandas as pd

HOSTILE = (
    "a b",
    "é ü 漢",
    "q\"'`",
    "<script>alert(1)</script>",
    "x" * 3000,
    "a.b.c",
    "100%",
    "{batch}",
    "$p",
    "a\nb",
    "",
    "=1+1",
)
KINDS = {
    "id": "identifier",
    "when": "datetime",
    "price": "numeric",
    "change": "numeric",
    "shop": "categorical",
    "paid": "boolean",
    "note": "text",
    "unit": "constant",
    "late": "boolean",
}


def orders(rows: int = 1200, seed: int = 0, start: str = "2024-01-01") -> pd.DataFrame:
    """Orders in time order; every kind of column once, some values missing."""
    rng = np.random.default_rng(seed)
    first = int(pd.Timestamp(start).timestamp())
    price = np.round(rng.gamma(2.0, 20.0, rows) + 1.0, 2)
    return pd.DataFrame(
        {
            "id": pd.Series([f"o{seed}-{i}" for i in range(rows)], dtype="str"),
            "when": pd.to_datetime(first + 3600 * np.arange(rows), unit="s"),
            "price": price,
            "change": rng.normal(0.0, 5.0, rows),
            "shop": pd.Series(rng.choice(["Aix", "Bern", "Köln"], rows), dtype="str").where(
                pd.Series(rng.random(rows) > 0.05)
            ),
            "paid": rng.random(rows) < 0.4,
            "note": pd.Series([f"note {v}" for v in rng.integers(0, 10**6, rows)], dtype="str"),
            "unit": pd.Series(["EUR"] * rows, dtype="str"),
            "late": rng.random(rows) < 0.2,
        }
    )
