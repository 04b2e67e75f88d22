"""Tuned against untuned: the score in validation and on the holdout, by table and candidate.

The tables are Parquet files in the folder that KEEPFIT_TABLES names. Run it on an idle machine:

    KEEPFIT_TABLES=… python -m tests.benchmarks.tuning [--trials 30] [--budget 120s]
        [--tables bike_hourly,adult] [--candidates lightgbm,random_forest]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.base.pipeline_file import load_pipeline
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.training_records import CandidateResult, Prepared, Snapshot
from tasks.models.execution import worker_pool


@dataclass(frozen=True)
class Table:
    """One table and what is learnt of it."""

    name: str
    target: str
    metric: str
    more: str = ""


TABLES = (
    Table("bike_hourly", "cnt", "rmse",
          "time_column: timestamp\nexclude: [casual, registered, instant]\n"),
    Table("electricity", "price_up", "roc_auc", "time_column: timestamp\nexclude: [nswprice]\n"),
    Table("adult", "income", "roc_auc", "exclude: [split, fnlwgt]\n"),
    Table("german_credit", "creditability", "roc_auc"),
    Table("telco_churn", "Churn", "roc_auc", "id_columns: [customerID]\n"),
    Table("california_housing", "median_house_value", "rmse"),
    Table("digits", "label", "log_loss", "task: multiclass\n"),
)  # fmt: skip

_PIPELINE = """\
name: {name}
target: {target}
source: {{kind: parquet, path: {path}}}
{more}metric: {metric}
training:
  budget: {budget}
  cv: 5
  candidates: [{candidates}]
{tuning}"""


def fitted(
    table: Table, folder: Path, given: argparse.Namespace, tuning: str
) -> tuple[dict[str, CandidateResult], dict[str, float], float]:
    """Return what became of each candidate, its score on the holdout, and the seconds of all."""
    from tasks.models.fitting import fit_candidates
    from tasks.training.row_windows import training_snapshot
    from tasks.training.training_plan import prepare

    folder.mkdir(parents=True)
    path = Path(os.environ["KEEPFIT_TABLES"]).resolve() / f"{table.name}.parquet"
    text = _PIPELINE.format(
        name=table.name, target=table.target, path=path, more=table.more, metric=table.metric,
        budget=given.budget, candidates=given.candidates, tuning=tuning,
    )  # fmt: skip
    (folder / "keepfit.yaml").write_text(text)
    pipeline = load_pipeline(folder)
    snapshot = training_snapshot(pipeline)
    prepared = prepare(pipeline, snapshot)
    started = time.perf_counter()
    results = fit_candidates(
        snapshot.path, prepared.split, prepared.roles, pipeline.config.training, prepared.metric,
        folder / "fits",
    )  # fmt: skip
    seconds = time.perf_counter() - started
    able = {r.candidate: r for r in results if r.status == "ok"}
    return able, {n: _held(snapshot, prepared, r) for n, r in able.items()}, seconds


def _held(snapshot: Snapshot, prepared: Prepared, result: CandidateResult) -> float:
    from tasks.data.column_kinds import target_values
    from tasks.data.snapshots import read_frame
    from tasks.metrics.scorer import score

    roles = prepared.roles
    rows = np.load(prepared.split.holdout_path)
    y, _ = target_values(read_frame(snapshot.path, columns=[roles.target], rows=rows), roles)
    with np.load(result.predictions_path) as kept:
        probability = kept["probability"] if "probability" in kept.files else None
        predicted = kept["predicted"]
    return score(prepared.metric, y, predicted, probability, roles.classes, roles.positive)


def _line(
    table: Table, name: str, before: CandidateResult, after: CandidateResult, held: list[float]
) -> str:
    sign = 1 if greater_is_better(table.metric) else -1
    states = Counter(trial.state for trial in after.trials)
    made = f"{states['complete']}/{states['pruned']}/{states['failed']}"
    kept = "tuned" if after.tuned else "untuned kept"
    return (
        f"{table.name:19}{table.metric:9}{name:20}{made:>9}  {kept:13}"
        f"{before.cv_mean or 0:11.4f}{after.cv_mean or 0:11.4f}"
        f"{held[0]:12.4f}{held[1]:11.4f}{sign * (held[1] - held[0]) + 0.0:+11.4f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--budget", default="120s")
    parser.add_argument("--tables", default="bike_hourly,electricity,german_credit,telco_churn")
    parser.add_argument("--candidates", default="logistic_regression, random_forest, lightgbm")
    given = parser.parse_args()
    print(
        f"{'table':19}{'metric':9}{'candidate':20}{'c/p/f':>9}  {'kept':13}"
        f"{'cv before':>11}{'cv after':>11}{'holdout bef':>12}{'after':>11}{'gain':>11}"
    )
    tuning = f"  tuning: {{trials: {given.trials}, share: 0.7}}\n"
    with tempfile.TemporaryDirectory() as scratch:
        for table in (t for t in TABLES if t.name in given.tables.split(",")):
            before, old, plain = fitted(table, Path(scratch, table.name, "plain"), given, "")
            after, new, tuned = fitted(table, Path(scratch, table.name, "tuned"), given, tuning)
            for name in (n for n in after if n in before and n != "baseline"):
                held = [old[name], new[name]]
                print(_line(table, name, before[name], after[name], held), flush=True)
            print(f"{table.name:19}{plain:.0f} s untuned, {tuned:.0f} s tuned", flush=True)
    worker_pool.close_all()


if __name__ == "__main__":
    main()
