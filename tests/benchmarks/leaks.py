"""What keepfit says of known leaks that are let in, and of the same tables without them.

The tables are Parquet files in the folder that KEEPFIT_TABLES names:

    KEEPFIT_TABLES=… python -m tests.benchmarks.leaks [--tables flights,adult]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from tasks.base.pipeline_file import load_pipeline
from tasks.base.settings.evaluation import ReportConfig
from tasks.base.training_records import Basis, ContractResult
from tasks.models.execution import worker_pool


@dataclass(frozen=True)
class Known:
    """A table, the columns that its documentation calls leaks, and those that only name rows."""

    name: str
    target: str
    leaks: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    more: str = ""


TABLES = (
    Known("flights", "arr_late", ("dep_delay", "dep_time", "arr_time", "arr_delay"),
          ("air_time",), "time_column: time_hour\n"),
    Known("electricity", "price_up", ("nswprice",), (), "time_column: timestamp\n"),
    Known("bike_hourly", "cnt", ("registered",), ("casual", "instant"),
          "time_column: timestamp\n"),
    Known("bank_marketing", "y", ("duration",), ("seq",), "time_column: contact_month\n"),
    Known("employment_ma", "employed", ("predicted_probability", "prediction"), (),
          "id_columns: [id]\n"),
    Known("spoken_digits", "digit", (), ("file", "take", "speaker"), "task: multiclass\n"),
    Known("adult", "income", (), ("split", "fnlwgt")),
    Known("german_credit", "creditability"),
    Known("credit_default_taiwan", "default_next_month", (), (), "id_columns: [ID]\n"),
    Known("lending_club", "Class"),
    Known("telco_churn", "Churn", (), (), "id_columns: [customerID]\n"),
    Known("occupancy", "occupancy", (), ("part",), "time_column: timestamp\n"),
    Known("noaa_weather", "rain", (), ("seq",)),
    Known("digits", "label", (), (), "task: multiclass\n"),
    Known("pd_speech", "class"),
    Known("california_housing", "median_house_value"),
    Known("diamonds", "price"),
)  # fmt: skip


def main() -> None:
    """Print a line for each leak let in, and one for each table without any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", default="", help="names; absent: all")
    asked = parser.parse_args().tables.split(",")
    grid = Grid("table", "let in", "named", "as", "what is said")
    found, clean = [], []
    for table in (t for t in TABLES if asked == [""] or t.name in asked):
        for leak in (*table.leaks, None):
            told = _said(table, leak)
            named = [(level, text) for level, text in told if leak is None or repr(leak) in text]
            level, text = named[0] if named else ("", "")
            (clean if leak is None else found).append(level)
            grid.add_row(table.name, leak or "–", "yes" if named else "no", level, text)
    worker_pool.close_all()
    Console(width=160).print(grid)
    warned = [sum(level == "warning" for level in levels) for levels in (found, clean)]
    noted = [sum(level == "note" for level in levels) for levels in (found, clean)]
    print(f"{warned[0]} of {len(found)} leaks are warned of, {noted[0]} noted")
    print(
        f"of {len(clean)} tables without a known leak {warned[1]} have a warning, {noted[1]} a note"
    )


def _said(table: Known, leak: str | None) -> list[tuple[str, str]]:
    """Return level and sentence of every suspicion of a leak or of a score too good."""
    from tasks.evaluation.diagnosis.diagnosis import TrainingDiagnosis
    from tasks.evaluation.leaderboard import assess
    from tasks.models.fitting import fit_candidates
    from tasks.training.row_windows import training_snapshot
    from tasks.training.training_plan import prepare

    path = Path(os.environ["KEEPFIT_TABLES"]).resolve() / f"{table.name}.parquet"
    hidden = [c for c in (*table.leaks, *table.without) if c != leak]
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "keepfit.yaml").write_text(
            f"name: leaks\ntarget: {table.target}\n{table.more}exclude: {hidden}\n"
            f"source: {{kind: parquet, path: {path}}}\n"
            "training: {candidates: [lightgbm], cv: 1, budget: 600s}\n",
            encoding="utf-8",
        )
        pipeline = load_pipeline(Path(scratch))
        training = pipeline.config.training
        snapshot = training_snapshot(pipeline)
        prepared = prepare(pipeline, snapshot)
        results = fit_candidates(
            snapshot.path, prepared.split, prepared.roles, training, prepared.metric,
            Path(scratch) / "fits",
        )  # fmt: skip
        held = ContractResult(
            passed=True, contract_digest="", data_digest="", rows=snapshot.rows, rules=()
        )
        basis = Basis(snapshot=snapshot, contract=held, prepared=prepared)
        case = TrainingDiagnosis(
            basis, results, assess(results, basis, 0), training, ReportConfig()
        )
        about = ("leak", "score")
        return [(s.level, s.sentence) for s in case.suspicions() if s.about in about]


if __name__ == "__main__":
    main()
