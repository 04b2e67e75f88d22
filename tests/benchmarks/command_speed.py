"""What commands by hand cost: `score` beside a plain script, `status`, `why`, an unchanged `run`.

Flights of January and February, LightGBM alone, no Prefect API; 1,000 rows of March are scored.
Each repeat measures every program once, one after the other; ratios are medians over the pairs.

    python -m tests.benchmarks.command_speed [--repeats 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import pandas as pd

from tasks.data.sources.demos import demo_table
from tests.benchmarks.measured import Measured, measure
from tests.benchmarks.training_speed import _QUIET

_HERE = Path(__file__).parent
_PIPELINE = """\
name: flights
target: arr_late
source: {kind: demo, name: flights, months: [1, 2]}
time_column: time_hour
id_columns: [flight_id]
exclude: [dep_time, dep_delay, arr_time, arr_delay, air_time, tailnum, flight]
training: {budget: 600s, cv: 0, candidates: [lightgbm]}
metric: roc_auc
"""
# The plain script's model on the same rows, registered as the script does it.
_REGISTER = """
import mlflow, mlflow.sklearn
from tests.benchmarks.command_speed import flights
from tests.benchmarks.plain_script import CATEGORICAL, NUMERIC, TRUSTED, candidates
frame = flights((1, 2))
X, y = frame[NUMERIC + CATEGORICAL], frame["arr_late"].to_numpy().astype(bool)
model = candidates()["lightgbm"].fit(X, y)
mlflow.set_tracking_uri("sqlite:///mlflow.db")
with mlflow.start_run():
    logged = mlflow.sklearn.log_model(
        model, name="model", registered_model_name="flights", skops_trusted_types=TRUSTED,
        signature=mlflow.models.infer_signature(X.head(100), model.predict(X.head(100))),
    )
version = str(logged.registered_model_version)
mlflow.MlflowClient().set_registered_model_alias("flights", "champion", version)
"""
_GOALS = {"status": 0.8, "why": 0.8, "run, unchanged": 2.5}


def keepfit(folder: Path, *words: str) -> Measured:
    """Run one command in the folder of the pipeline."""
    return measure([sys.executable, "-P", "-m", "flows.cli", *words], folder, _QUIET)


def flights(months: tuple[int, int]) -> pd.DataFrame:
    """Return flights with the parts of their time, which the script has as columns."""
    frame = demo_table("flights", months).to_pandas()
    time = frame["time_hour"].dt
    return frame.assign(month=time.month, day=time.day, hour=time.hour, minute=0)


def prepared(root: Path) -> tuple[Path, Path]:
    """Return a folder with a champion of keepfit, one with the script's, both with new rows."""
    ours, theirs = root / "keepfit", root / "plain"
    for folder in (ours, theirs):
        folder.mkdir()
        flights((3, 3)).head(1_000).to_parquet(folder / "new.parquet")
    (ours / "keepfit.yaml").write_text(_PIPELINE)
    keepfit(ours, "run", "--json")
    measure([sys.executable, "-c", _REGISTER], theirs, _QUIET)
    return ours, theirs


def measured(repeats: int) -> dict[str, list[Measured]]:
    """Return what each program cost, by its name."""
    with tempfile.TemporaryDirectory(prefix="keepfit-benchmark-") as scratch:
        ours, theirs = prepared(Path(scratch))
        script = [sys.executable, str(_HERE / "plain_scoring.py"), "new.parquet", "out.parquet"]
        score = ("score", "--input", "new.parquet", "--output", "out.parquet", "--json")
        found: dict[str, list[Measured]] = {}
        for _ in range(repeats):
            for name, once in (
                ("script", lambda: measure(script, theirs, _QUIET)),
                ("score", lambda: keepfit(ours, *score)),
                ("status", lambda: keepfit(ours, "status")),
                ("why", lambda: keepfit(ours, "why")),
                ("run, unchanged", lambda: keepfit(ours, "run")),
            ):
                found.setdefault(name, []).append(once())
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    found = measured(parser.parse_args().repeats)
    print(f"{'program':<16}{'wall s':>8}{'cpu s':>8}{'peak MB':>9}")
    for name, runs in found.items():
        wall, cpu, peak = (
            statistics.median(getattr(run, what) for run in runs)
            for what in ("wall", "cpu", "peak")
        )
        goal = f"   goal {_GOALS[name]} s" if name in _GOALS else ""
        print(f"{name:<16}{wall:>8.2f}{cpu:>8.2f}{peak / 1e6:>9.0f}{goal}")
    for what, goal in (("wall", 0.5), ("cpu", 0.7)):
        pairs = zip(found["score"], found["script"], strict=True)
        ratio = statistics.median(getattr(one, what) / getattr(other, what) for one, other in pairs)
        print(f"score / script, {what}: {ratio:.2f} (goal {goal})")


if __name__ == "__main__":
    main()
