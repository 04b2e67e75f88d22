"""Small tables of known shape, written as people's files are."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np


def write_churn(path: Path, rows: int = 400, seed: int = 0, *, start: int = 0) -> Path:
    """Write a CSV whose target `Churned?` follows from `Monthly fee` and `plan`."""
    rng = np.random.default_rng(seed)
    fee = rng.normal(50, 15, rows).round(2)
    plan = rng.choice(["basic", "plus", "pro"], rows)
    noise = rng.normal(0, 8, rows)
    churned = fee + 20 * (plan == "basic") + noise > 60
    days = np.datetime64("2026-01-01") + np.arange(start, start + rows).astype("timedelta64[h]")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["customer", "when", "Monthly fee", "plan", "größe", "Churned?"])
        for i in range(rows):
            writer.writerow(
                [
                    f"c{start + i:05d}",
                    str(days[i]),
                    fee[i],
                    plan[i],
                    round(float(rng.normal()), 3),
                    "Yes" if churned[i] else "No",
                ]
            )
    return path


FAST = "training: {budget: 60s, cv: 2, candidates: [logistic_regression, decision_tree]}\n"


def write_pipeline(folder: Path, data: Path, extra: str = FAST, *, time: bool = False) -> Path:
    """Write a pipeline over `write_churn`'s table."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "keepfit.yaml"
    when = "time_column: when\n" if time else "exclude: [when]\n"
    file.write_text(
        f"name: churn\ntarget: Churned?\nsource: {{kind: csv, path: '{data}'}}\n"
        f"id_columns: [customer]\n{when}{extra}",
        encoding="utf-8",
    )
    return file
