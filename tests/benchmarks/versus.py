"""keepfit beside LightGBM's defaults, FLAML and AutoGluon: the same rows, seconds and cores.

The tables are Parquet files in the folder that KEEPFIT_TABLES names. Each tool runs in a process
of its own, one after the other, and answers for the same holdout rows; the answers are scored here,
and keepfit's difference from another tool has a paired bootstrap interval. FLAML and AutoGluon live
in environments of their own, made once and named by their interpreters. `keepfit_lightgbm` is
keepfit with LightGBM alone, untuned, to be held against LightGBM's defaults. Among the tables are
histories of less than two seasons, where the newest rows say little about the next. Run it on an
idle machine:

    python3 -m venv flaml && flaml/bin/pip install 'flaml[automl]' pyarrow
    python3 -m venv ag && ag/bin/pip install 'autogluon.tabular[lightgbm,xgboost,catboost]'
    KEEPFIT_TABLES=… python -m tests.benchmarks.versus --python-flaml flaml/bin/python
        [--python-autogluon ag/bin/python] [--budget 60,240] [--tables adult,digits]
        [--tools keepfit,flaml] [--out versus.json] [--again keepfit]

What `--out` holds already is not run again, unless `--again` names its tool.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from tasks.base.pipeline_file import load_pipeline
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.training_records import Schema
from tests.benchmarks.measured import measure
from tests.benchmarks.tuning import TABLES as TUNED
from tests.benchmarks.tuning import Table

TABLES = (
    *TUNED,
    Table("diamonds", "price", "rmse"),
    Table("credit_default_taiwan", "default_next_month", "roc_auc", "id_columns: [ID]\n"),
    Table("bank_marketing", "y", "roc_auc",
          "time_column: contact_month\nexclude: [duration, seq]\n"),
    Table("spoken_digits", "digit", "log_loss",
          "task: multiclass\nexclude: [file, take, speaker]\n"),
    Table("noaa_weather", "rain", "roc_auc", "exclude: [seq]\n"),
)  # fmt: skip


@dataclass(frozen=True)
class Short(Table):
    """The first part of a table in time.

    Attributes
    ----------
    source
        Name of the Parquet file.
    until
        Rows before it are taken; None takes all.
    days
        Column that counts days, of which a time column `day` is made.
    """

    source: str = ""
    until: datetime | None = None
    days: str = ""

    def written(self, folder: Path) -> Path:
        """Write the part as a Parquet file and return its path."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        rows = pq.read_table(_tables() / f"{self.source}.parquet")
        time = self.more.partition("time_column: ")[2].partition("\n")[0]
        if self.days:
            counted = rows[self.days].to_numpy().astype("timedelta64[D]")
            moments = pa.array(np.datetime64("1949-01-01", "us") + counted)
            rows = rows.append_column(time, moments)
        if self.until is not None:
            limit = pa.scalar(self.until).cast(rows.schema.field(time).type)
            rows = rows.filter(pc.less(rows[time], limit))
        path = folder / f"{self.name}.parquet"
        pq.write_table(rows, path)
        return path


_BIKE = "time_column: timestamp\nexclude: [casual, registered, instant, dteday]\n"
_FLIGHTS = (
    "time_column: time_hour\n"
    "exclude: [arr_delay, dep_time, dep_delay, arr_time, air_time, tailnum, flight]\n"
)
_NEW_YEAR = datetime(2013, 1, 1, tzinfo=UTC)
SHORT = (
    Short("bike_14_months", "cnt", "rmse", _BIKE, "bike_hourly",
          datetime(2012, 3, 1, tzinfo=UTC)),
    Short("noaa_in_time", "rain", "roc_auc", "time_column: day\nexclude: [seq]\n",
          "noaa_weather", None, "seq"),
    Short("noaa_14_months", "rain", "roc_auc", "time_column: day\nexclude: [seq]\n",
          "noaa_weather", datetime(1950, 3, 1, tzinfo=UTC), "seq"),
    Short("occupancy", "occupancy", "roc_auc", "time_column: timestamp\nexclude: [part]\n",
          "occupancy"),
    *(
        Short(f"flights_{weeks}_weeks", "arr_late", "roc_auc", _FLIGHTS, "flights",
              _NEW_YEAR + timedelta(weeks=weeks))
        for weeks in (8, 14, 20, 26)
    ),
)  # fmt: skip
RIVALS = ("lightgbm", "flaml", "flaml_time", "autogluon")
OURS = ("keepfit", "keepfit_lightgbm")
REPLICATES = 1_000
_SIDES = Path(__file__).with_name("sides.py")
_PIPELINE = """\
name: {name}
target: {target}
source: {{kind: parquet, path: {path}}}
{more}metric: {metric}
training: {{budget: {budget}s, threads: {threads}, {training}{calibrate}}}
"""
_TRAINING = {
    "keepfit": "tuning: true, ensemble: true",
    "keepfit_lightgbm": "candidates: [lightgbm]",
}
"""Tool to its settings in the pipeline file."""


@dataclass(frozen=True)
class Scored:
    """One tool on one table."""

    table: str
    metric: str
    budget: int
    tool: str
    score: float
    wall: float
    cpu: float
    rows: int
    note: str


@dataclass(frozen=True)
class Difference:
    """keepfit minus another tool, turned so that greater is better for keepfit."""

    table: str
    budget: int
    tool: str
    gain: float
    low: float
    high: float
    ours: str = "keepfit"

    @property
    def verdict(self) -> str:
        """Whether keepfit is better, worse, or level within the interval."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "level"


@dataclass(frozen=True)
class Truth:
    """The holdout of one table: what is true there, and which rows are drawn together."""

    roles: Schema
    y: np.ndarray[Any, Any]
    times: np.ndarray[Any, Any] | None


def main() -> None:
    """Run what is missing, then print all that is known."""
    given = _arguments()
    path = Path(given.out) if given.out else None
    runs = _Runs(given, path)
    asked = given.tables.split(",")
    for table in (t for t in (*TABLES, *SHORT) if not given.tables or t.name in asked):
        for budget in (int(part) for part in given.budget.split(",")):
            runs.table(table, budget)
            runs.save()
    show(runs.scored, runs.differences)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--budget", default="60", help="seconds, one or more")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tables", default="", help="names; absent: all")
    parser.add_argument("--tools", default="", help="names; absent: those that are there")
    parser.add_argument("--python-flaml", default=None, help="interpreter that has FLAML")
    parser.add_argument("--python-autogluon", default=None, help="interpreter that has AutoGluon")
    parser.add_argument("--out", default=None, help="JSON file; answers are kept beside it")
    parser.add_argument("--again", default="", help="tools to run although --out holds them")
    return parser.parse_args()


class _Runs:
    """What was measured, and where it is kept."""

    def __init__(self, given: argparse.Namespace, path: Path | None) -> None:
        self._given, self._path = given, path
        self._answers = Path(tempfile.mkdtemp()) if path is None else path.with_suffix(".answers")
        self._answers.mkdir(parents=True, exist_ok=True)
        self.scored: list[Scored] = []
        self.differences: list[Difference] = []
        if path is not None and path.is_file():
            known = json.loads(path.read_text(encoding="utf-8"))
            self.scored = [Scored(**one) for one in known["scored"]]
            self.differences = [Difference(**one) for one in known["differences"]]

    def save(self) -> None:
        """Write all of it, whole or not at all."""
        if self._path is None:
            return
        held = {
            "scored": [asdict(one) for one in self.scored],
            "differences": [asdict(one) for one in self.differences],
        }
        beside = self._path.with_suffix(".part")
        beside.write_text(json.dumps(held, indent=1), encoding="utf-8")
        beside.replace(self._path)

    def table(self, table: Table, budget: int) -> None:
        """Run the tools that are missing on one table, and compare keepfit with each."""
        missing = [tool for tool in self._tools(table) if not self._known(table, budget, tool)]
        if not missing:
            return
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            path = table.written(folder) if isinstance(table, Short) else _file_of(table)
            truth = _laid_out(table, path, folder, budget, self._given.threads)
            for tool in missing:
                self._run(tool, table, budget, folder, truth)
            self._compare(table, budget, truth)

    def _tools(self, table: Table) -> list[str]:
        able = [*OURS, "lightgbm"]
        if self._python("flaml"):
            able += ["flaml", "flaml_time"] if "time_column" in table.more else ["flaml"]
        if self._python("autogluon"):
            able.append("autogluon")
        asked = self._given.tools.split(",") if self._given.tools else able
        return [tool for tool in able if tool in asked]

    def _python(self, tool: str) -> str | None:
        if tool.startswith("flaml"):
            return str(self._given.python_flaml) if self._given.python_flaml else None
        if tool == "autogluon":
            return str(self._given.python_autogluon) if self._given.python_autogluon else None
        return sys.executable

    def _known(self, table: Table, budget: int, tool: str) -> bool:
        if tool in self._given.again.split(","):
            return False
        return self._of(table, budget, tool) is not None

    def _of(self, table: Table, budget: int, tool: str) -> Scored | None:
        wanted = (table.name, budget, tool)
        return next((s for s in self.scored if (s.table, s.budget, s.tool) == wanted), None)

    def _answer(self, table: Table, budget: int, tool: str) -> Path:
        return self._answers / f"{table.name}-{budget}-{tool}.npz"

    def _run(self, tool: str, table: Table, budget: int, folder: Path, truth: Truth) -> None:
        threads = str(self._given.threads)
        environ = {
            "OMP_NUM_THREADS": threads,
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONPATH": str(_SIDES.parents[2]) if tool in OURS else "",
        }
        if tool in OURS:
            text = (folder / f"{tool}.yaml").read_text(encoding="utf-8")
            (folder / "keepfit.yaml").write_text(text, encoding="utf-8")
            shutil.rmtree(folder / "fits", ignore_errors=True)
        try:
            cost = measure([str(self._python(tool)), str(_SIDES), tool, "."], folder, environ)
        except SystemExit as error:
            print(f"{table.name}: {tool} failed: {str(error)[-600:]}", file=sys.stderr)
            return
        shutil.move(folder / "answer.npz", self._answer(table, budget, tool))
        value, _ = _sampled(self._answer(table, budget, tool), table.metric, truth)
        note = (folder / "note.txt").read_text(encoding="utf-8")
        earlier = self._of(table, budget, tool)
        self.scored = [one for one in self.scored if one is not earlier]
        self.scored.append(
            Scored(
                table.name, table.metric, budget, tool, value, round(cost.wall, 1),
                round(cost.cpu, 1), len(truth.y), note,
            )
        )  # fmt: skip
        print(f"{table.name} {budget} s {tool}: {value:.5g}, {cost.wall:.0f} s", file=sys.stderr)

    def _compare(self, table: Table, budget: int, truth: Truth) -> None:
        here = [d for d in self.differences if (d.table, d.budget) == (table.name, budget)]
        self.differences = [d for d in self.differences if d not in here]
        for mine in OURS:
            if self._of(table, budget, mine) is None:
                continue
            ours = self._answer(table, budget, mine)
            for tool in (one for one in RIVALS if self._of(table, budget, one) is not None):
                theirs = self._answer(table, budget, tool)
                gained = _gained(ours, theirs, table.metric, truth)
                self.differences.append(Difference(table.name, budget, tool, *gained, mine))


def _tables() -> Path:
    return Path(os.environ["KEEPFIT_TABLES"]).resolve()


def _file_of(table: Table) -> Path:
    return _tables() / f"{table.name}.parquet"


def _laid_out(table: Table, path: Path, folder: Path, budget: int, threads: int) -> Truth:
    """Write the job, the pipeline files and keepfit's split as tables; return the truth."""
    from tasks.data.column_kinds import target_values
    from tasks.data.snapshots import read_frame
    from tasks.training.row_windows import training_snapshot
    from tasks.training.training_plan import prepare

    calibrate = "" if table.metric == "rmse" else ", calibrate: auto"
    for tool, training in _TRAINING.items():
        text = _PIPELINE.format(
            name=table.name, target=table.target, path=path, more=table.more,
            metric=table.metric, budget=budget, threads=threads, training=training,
            calibrate=calibrate if tool == "keepfit" else "",
        )  # fmt: skip
        (folder / f"{tool}.yaml").write_text(text, encoding="utf-8")
    shutil.copyfile(folder / "keepfit_lightgbm.yaml", folder / "keepfit.yaml")
    pipeline = load_pipeline(folder)
    snapshot = training_snapshot(pipeline)
    prepared = prepare(pipeline, snapshot)
    roles = prepared.roles
    columns = [*roles.features, roles.target]
    parts = {}
    for part, rows in (
        ("train", prepared.split.train_path), ("holdout", prepared.split.holdout_path),
    ):  # fmt: skip
        frame = read_frame(snapshot.path, columns=columns, rows=np.load(rows))
        y, _ = target_values(frame, roles)
        frame[roles.target] = np.asarray(y).astype(str) if roles.classes else np.asarray(y)
        parts[part] = frame
    parts["train"].to_parquet(folder / "train.parquet", index=False)
    held = parts["holdout"]
    held.drop(columns=[roles.target]).to_parquet(folder / "holdout.parquet", index=False)
    job = {
        "metric": table.metric, "target": roles.target, "classes": list(roles.classes),
        "budget": budget, "threads": threads, "seed": 0,
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    times = None
    if roles.time_column is not None:
        rows = np.load(prepared.split.holdout_path)
        moments = read_frame(snapshot.path, columns=[roles.time_column], rows=rows)
        times = moments[roles.time_column].to_numpy(dtype="datetime64[us]")
    return Truth(roles, held[roles.target].to_numpy(), times)


def _sampled(path: Path, metric: str, truth: Truth) -> tuple[float, np.ndarray[Any, Any]]:
    """Return a metric of kept answers, and of every replicate of the plan all tools share."""
    from tasks.metrics.bootstrap import resampling, time_blocks
    from tasks.metrics.scorer import sampled

    blocks = None if truth.times is None else time_blocks(truth.times)
    plan = resampling(len(truth.y), blocks, REPLICATES, 0)
    with np.load(path) as kept:
        probability = kept["probability"] if truth.roles.classes else None
        return sampled(metric, truth.y, kept["predicted"], probability, truth.roles, plan)


def _gained(ours: Path, theirs: Path, metric: str, truth: Truth) -> tuple[float, float, float]:
    sign = 1.0 if greater_is_better(metric) else -1.0
    (mine, my_draws), (other, other_draws) = (
        _sampled(path, metric, truth) for path in (ours, theirs)
    )
    draws = sign * (my_draws - other_draws)
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return sign * (mine - other), float(low), float(high)


def show(scored: list[Scored], differences: list[Difference]) -> None:
    """Print score and time side by side, and on how many tables keepfit is level or better."""
    console = Console(width=140)
    grid = Grid("table", "metric", "budget", "tool", "score", "gain of keepfit (95 %)",
                "of its LightGBM", "wall s", "CPU s")  # fmt: skip
    against = {(d.table, d.budget, d.tool, d.ours): d for d in differences}
    for one in sorted(scored, key=lambda s: (s.table, s.budget, s.tool not in OURS, s.tool)):
        gains = [against.get((one.table, one.budget, one.tool, ours)) for ours in OURS]
        grid.add_row(
            one.table, one.metric, f"{one.budget}", one.tool, f"{one.score:.5g}",
            *(_told(gain) for gain in gains), f"{one.wall:.0f}", f"{one.cpu:.0f}",
            end_section=False,
        )  # fmt: skip
    console.print(grid)
    for budget, tool, ours in sorted({(d.budget, d.tool, d.ours) for d in differences}):
        found = [d for d in differences if (d.budget, d.tool, d.ours) == (budget, tool, ours)]
        worse = [d.table for d in found if d.verdict == "worse"]
        ahead = sum(d.gain >= 0 for d in found)
        better = sum(d.verdict == "better" for d in found)
        console.print(
            f"{budget} s, {ours} against {tool}: level or better on {len(found) - len(worse)} of "
            f"{len(found)}, better beyond noise on {better}, ahead in the number on {ahead}"
            + (f"; worse on {', '.join(worse)}" if worse else "")
        )


def _told(gap: Difference | None) -> str:
    if gap is None:
        return ""
    return f"{gap.gain:+.4g} ({gap.low:+.3g} to {gap.high:+.3g}) {gap.verdict}"


if __name__ == "__main__":
    main()
