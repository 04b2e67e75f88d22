"""Memory and time of `run`, `score` and `monitor` on tables from one to thirty million rows.

Flights of 2013 repeated with jitter, written a copy at a time, so that no process ever holds them
whole; LightGBM alone unless told otherwise. Beside the wall time stand the greatest sum of
proportional set sizes over the whole process tree, what was read from the disk, in sizes of the
table, and, where a memory cgroup can be made, the most that was held without a file behind it; the
table is the pandas frame of the columns that are read. With --cap the kernel ends what would hold
more, pages of files counted.

    python -m tests.benchmarks.peak_memory [--rows 1e6 3e6] [--cap 4e9] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.measured import Measured, measure
from tests.benchmarks.training_speed import _QUIET

_LEAKS = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
_PIPELINE = """\
name: flights
target: arr_late
source: {{kind: parquet, path: rows/*.parquet}}
time_column: time_hour
id_columns: [flight_id]
split: {{holdout: 0.2}}
training: {{budget: {budget}, cv: 3, candidates: [{candidates}]}}
metric: roc_auc
"""
# The newest whole week; of thirty million rows half a million.
_COMMANDS = {
    "run": ("run",),
    "score": ("score", "--input", "rows/*.parquet", "--output", "scored.parquet"),
    "monitor": ("monitor", "--window", "2013-12-24..2013-12-31"),
}


def write_rows(folder: Path, rows: int) -> int:
    """Write jittered copies of the flights up to `rows`; return the frame's size in bytes."""
    folder.mkdir(parents=True)
    size = 0
    for copy, table in enumerate(_copies(rows)):
        size += int(table.to_pandas().memory_usage(index=False, deep=True).sum())
        pq.write_table(table, folder / f"part-{copy:03d}.parquet", compression="zstd")
    return size


def _copies(rows: int) -> Iterator[Any]:
    from tasks.data.sources.demos import demo_table

    table = demo_table("flights").drop_columns(list(_LEAKS))
    for copy in range(-(-rows // table.num_rows)):
        left = min(rows - copy * table.num_rows, table.num_rows)
        rng = np.random.default_rng(copy)
        # Of a copy cut short the rows are spread over the year.
        part = table.take(np.sort(rng.choice(table.num_rows, left, replace=False)))
        yield _jittered(part, copy, rng)


def _jittered(table: Any, copy: int, rng: np.random.Generator) -> Any:
    for place, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            values = table.column(place).to_numpy()
            moved = values * (1 + 0.001 * rng.standard_normal(len(values)))
            table = table.set_column(place, field, pa.array(moved, field.type, from_pandas=True))
        if field.name == "flight_id":
            named = [f"{text}-{copy}" for text in table.column(place).to_pylist()]
            table = table.set_column(place, field.name, pa.array(named))
    return table


def _note(command: str, cost: Measured) -> str:
    answer = json.loads(cost.out)
    if command == "run":
        return ", ".join(f"{r['candidate']} {r['status']}" for r in answer["leaderboard"])
    if command == "score":
        return f"{answer['rows']:,} rows"
    return f"{answer['window']['rows']:,} rows"


def main() -> None:
    """Measure each size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6, 3e6])
    parser.add_argument("--cap", type=float, help="bytes, of a memory cgroup")
    parser.add_argument("--candidates", default="lightgbm")
    parser.add_argument("--budget", default="2h")
    parser.add_argument("--only", choices=list(_COMMANDS), nargs="+", default=list(_COMMANDS))
    parser.add_argument("--keep", type=Path, help="folder in which the tables stay")
    given = parser.parse_args()
    print(
        f"{'rows':>12} {'table MB':>8} {'command':<8}{'peak MB':>8}{'ratio':>6}{'held MB':>8}"
        f"{'read':>6}{'wall s':>7}{'cpu s':>7}{'s/M rows':>9}"
    )
    for rows in map(int, given.rows):
        folder = given.keep or Path(tempfile.mkdtemp(prefix="keepfit-memory-"))
        place = folder / f"{rows}"
        try:
            if not place.exists():
                size = write_rows(place / "rows", rows)
                (place / "size").write_text(str(size))
            size = int((place / "size").read_text())
            text = _PIPELINE.format(budget=given.budget, candidates=given.candidates)
            (place / "keepfit.yaml").write_text(text)
            for name in given.only:
                program = [sys.executable, "-m", "flows.cli", *_COMMANDS[name], "--json"]
                cost = measure(program, place, _QUIET, cap=given.cap and int(given.cap))
                held = "" if cost.held is None else f"{cost.held / 1e6:.0f}"
                print(
                    f"{rows:>12,} {size / 1e6:>8.0f} {name:<8}{cost.peak / 1e6:>8.0f}"
                    f"{cost.peak / size:>6.2f}{held:>8}{cost.read / size:>6.1f}{cost.wall:>7.0f}"
                    f"{cost.cpu:>7.0f}{cost.wall / rows * 1e6:>9.1f}  {_note(name, cost)}",
                    flush=True,
                )
        finally:
            if given.keep is None:
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
