"""What refits behind the gate are worth on real tables, by months.

    KEEPFIT_TABLES=FOLDER python tests/benchmarks/refits.py [--table bike_hourly] [--share 0.05]

At the start of each month its predecessor's labels are known. `never` keeps the first half year's
model; `every` fits the recipe on the last half year; `gated` does what keepfit does: the recipe
fitted on all but the newest half of the rows that the champion does not know is judged there, and
where the shipped gate promotes it, the recipe is fitted on the whole half year. Losses are means
over the months, each judged on rows that no model has seen.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tasks.base.settings.evaluation import GateConfig
from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import Kind, Recipe, Schema, Split
from tasks.data.snapshots import write_snapshot
from tasks.evaluation.leaderboard import read_predictions
from tasks.metrics.bootstrap import time_blocks
from tasks.metrics.paired_bootstrap import Predictions, paired_evidence
from tasks.metrics.scorer import score
from tasks.models.recipe import fit_baseline, fit_recipe
from tasks.registry.gate import gate as gates

MONTHS = 6
RECIPE = Recipe(family="lightgbm", iterations=60)
GATE = GateConfig(replicates=500)


@dataclass(frozen=True)
class Table:
    """A real table, its leaks left out."""

    name: str
    target: str
    metric: str
    features: tuple[str, ...]

    @property
    def schema(self) -> Schema:
        """The features are numbers in each of them."""
        kinds: dict[str, Kind] = dict.fromkeys(self.features, "numeric")
        if self.metric == "mae":
            return Schema(target=self.target, task="regression", features=kinds)
        return Schema(
            target=self.target, task="binary", features=kinds, classes=("False", "True"),
            positive="True",
        )  # fmt: skip


TABLES = (
    Table(
        "bike_hourly", "cnt", "mae",
        ("season", "hr", "holiday", "weekday", "workingday", "weathersit", "temp", "atemp", "hum",
         "windspeed"),
    ),
    Table(
        "electricity", "price_up", "roc_auc",
        ("day_of_week", "period", "nswdemand", "vicprice", "vicdemand", "transfer"),
    ),
)  # fmt: skip


class Replay:
    """The months of one table, and models fitted on parts of it."""

    def __init__(self, table: Table, folder: Path, rows: Path) -> None:
        self.table, self.folder = table, folder
        frame = pd.read_parquet(rows).sort_values("timestamp", ignore_index=True)
        frame = frame[["timestamp", *table.features, table.target]]
        if table.metric != "mae":
            frame[table.target] = frame[table.target].astype(str)
        self.times = frame["timestamp"].to_numpy(dtype="datetime64[us]")
        self.y = frame[table.target].to_numpy()
        months = frame["timestamp"].dt.to_period("M")
        self.starts = np.flatnonzero(np.r_[True, months[1:].to_numpy() != months[:-1].to_numpy()])
        kinds: dict[str, Kind] = {"timestamp": "datetime", **table.schema.features}
        kinds[table.target] = "numeric" if table.metric == "mae" else "categorical"
        arrow = pa.Table.from_pandas(frame, preserve_index=False)
        snapshot = write_snapshot(arrow, kinds, folder, time_column="timestamp", assumptions=())
        self.path = snapshot.path
        self.known: dict[tuple[int, int], Predictions] = {}

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """The first row after each month."""
        return np.append(self.starts[1:], len(self.times))

    def fitted(self, first: int, end: int, *, baseline: bool = False) -> Predictions:
        """Return what the recipe, fitted on rows from `first` to `end`, predicts of all after."""
        place = (first, -end if baseline else end)
        if place in self.known:
            return self.known[place]
        folder = self.folder / f"{first}-{end}"
        folder.mkdir(exist_ok=True)
        np.save(folder / "train.npy", np.arange(first, end))
        np.save(folder / "holdout.npy", np.arange(end, len(self.times)))
        split = Split(
            train_path=str(folder / "train.npy"), holdout_path=str(folder / "holdout.npy"),
            rule="time", holdout=0.5, n_train=end - first, n_holdout=len(self.times) - end,
        )  # fmt: skip
        training = TrainingConfig(candidates=("lightgbm",), threads=1)
        given = (self.path, split, self.table.schema, training, self.table.metric)
        result = fit_recipe(*given, RECIPE, folder)
        trivial = fit_baseline(*given, folder)
        self.known[first, end] = self._late(result.predictions_path, end)
        self.known[first, -end] = self._late(trivial.predictions_path, end)
        return self.known[place]

    def _late(self, path: str, end: int) -> Predictions:
        """Return predictions with a place for each row of the table; those before are empty."""
        found = read_predictions(path)
        predicted = np.empty(len(self.times), dtype=np.asarray(found.predicted).dtype)
        predicted[end:] = found.predicted
        if found.probability is None:
            return Predictions(predicted)
        chances = np.full((len(self.times), found.probability.shape[1]), np.nan)
        chances[end:] = found.probability
        return Predictions(predicted, chances)

    def value(self, of: Predictions, rows: slice) -> float:
        """Return the metric of predictions on `rows`."""
        part, schema = cut(of, rows), self.table.schema
        given = (self.y[rows], np.asarray(part.predicted), part.probability)
        return score(self.table.metric, *given, schema.classes, schema.positive)

    def verdict(self, champion: Predictions, known: int, now: int, first: int) -> Any:
        """Return what the shipped gate says at row `now` of a refit; `known` the champion's end."""
        boundary = (known + now) // 2
        rows = slice(boundary, now)
        ours, trivial = (self.fitted(first, boundary, baseline=flag) for flag in (False, True))
        evidence = paired_evidence(
            self.table.metric, self.y[rows], cut(ours, rows), cut(champion, rows),
            cut(trivial, rows), self.table.schema, blocks=time_blocks(self.times[rows]), gate=GATE,
            seed=now,
        )  # fmt: skip
        return gates.decide(evidence, GATE, champion_version="1", new_evidence=True, refit=True)


def cut(of: Predictions, rows: slice) -> Predictions:
    """Return the predictions of `rows`."""
    chances = None if of.probability is None else of.probability[rows]
    return Predictions(np.asarray(of.predicted)[rows], chances)


def replay(made: Replay) -> dict[str, Any]:
    """Return the mean metric of each policy, and what the gate did."""
    begin = int(made.starts[MONTHS])
    champion, known = made.fitted(0, begin), begin
    never = champion
    means: dict[str, list[float]] = {"never": [], "every": [], "gated": []}
    promoted, judged, errors, margins = 0, 0, [], []
    for month in range(MONTHS, len(made.starts)):
        first, now = int(made.starts[month - MONTHS]), int(made.starts[month])
        rows = slice(now, int(made.ends[month]))
        if now > known:
            verdict = made.verdict(champion, known, now, first)
            judged += 1
            low, high = verdict.interval or (np.nan, np.nan)
            units = (now - known) / 2 / 1000
            errors.append((high - low) / 2 / 1.96 * np.sqrt(units))
            margins.append(verdict.margin)
            if verdict.promoted:
                promoted, champion, known = promoted + 1, made.fitted(first, now), now
        for name, model in (("never", never), ("every", made.fitted(first, now)),
                            ("gated", champion)):  # fmt: skip
            means[name].append(made.value(model, rows))
    told = {name: float(np.mean(values)) for name, values in means.items()}
    return {
        **told, "judged": judged, "promoted": promoted, "error": float(np.nanmedian(errors)),
        "margin": float(np.median([m for m in margins if m is not None])),
    }  # fmt: skip


def main() -> None:
    """Print a row for each table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", choices=[table.name for table in TABLES])
    asked = parser.parse_args()
    tables = Path(os.environ["KEEPFIT_TABLES"])
    print(f"{'table':<13}{'metric':<9}{'never':>9}{'every':>9}{'gated':>9}  refits promoted, "
          "median margin, standard error at 1,000 rows")  # fmt: skip
    for table in TABLES:
        if asked.table not in (None, table.name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = replay(Replay(table, Path(folder), tables / f"{table.name}.parquet"))
        print(
            f"{table.name:<13}{table.metric:<9}{found['never']:>9.4g}{found['every']:>9.4g}"
            f"{found['gated']:>9.4g}  {found['promoted']} of {found['judged']}, "
            f"{found['margin']:.3g}, {found['error']:.3g}",
            flush=True,
        )


if __name__ == "__main__":
    main()
