"""Peak memory of `keepfit run` against the table's own size in memory.

Flights of 2013 repeated with jitter to 3.3 and 10 million rows. The peak is the greatest sum of
proportional set sizes over the whole process tree; the table is the pandas frame of the columns
that are read.

    python -m tests.benchmarks.peak_memory [--copies 10 30] [--budget 600s]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.measured import measure
from tests.benchmarks.training_speed import _QUIET

_LEAKS = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
_PIPELINE = """\
name: flights
target: arr_late
source: {{kind: parquet, path: rows}}
time_column: time_hour
id_columns: [flight_id]
split: {{holdout: 0.2}}
training: {{budget: {budget}, cv: 3}}
metric: roc_auc
"""


def write_copies(folder: Path, copies: int) -> int:
    """Write the flights `copies` times, numbers jittered, and return the frame's bytes."""
    from tasks.data.sources.demos import demo_table

    table = demo_table("flights").drop_columns(list(_LEAKS))
    folder.mkdir()
    size = 0
    for copy in range(copies):
        part = _jittered(table, copy)
        size += int(part.to_pandas().memory_usage(index=False, deep=True).sum())
        pq.write_table(part, folder / f"part-{copy:02d}.parquet", compression="zstd")
    return size


def _jittered(table: Any, copy: int) -> Any:
    rng = np.random.default_rng(copy)
    for place, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            values = table.column(place).to_numpy()
            moved = values * (1 + 0.001 * rng.standard_normal(len(values)))
            table = table.set_column(place, field, pa.array(moved, field.type, from_pandas=True))
        if field.name == "flight_id":
            named = [f"{text}-{copy}" for text in table.column(place).to_pylist()]
            table = table.set_column(place, field.name, pa.array(named))
    return table


def main() -> None:
    """Measure each size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--budget", default="600s")
    given = parser.parse_args()
    print(f"{'rows':>12}{'table MB':>10}{'peak MB':>10}{'ratio':>7}{'wall s':>8}  candidates")
    for copies in given.copies:
        folder = Path(tempfile.mkdtemp(prefix="keepfit-memory-"))
        try:
            size = write_copies(folder / "rows", copies)
            (folder / "keepfit.yaml").write_text(_PIPELINE.format(budget=given.budget))
            command = [sys.executable, "-m", "flows.cli", "run", "--json"]
            cost = measure(command, folder, _QUIET)
            answer = json.loads(cost.out)
            rows = answer["rows"]["train"] + answer["rows"]["holdout"]
            told = ", ".join(f"{r['candidate']} {r['status']}" for r in answer["leaderboard"])
            print(
                f"{rows:>12,}{size / 1e6:>10.0f}{cost.peak / 1e6:>10.0f}"
                f"{cost.peak / size:>7.2f}{cost.wall:>8.0f}  {told}",
                flush=True,
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
