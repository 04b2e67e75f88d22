"""Real flights that arrive week by week: first without their labels, a week later with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.data.sources.demos import demo_table

WEEK = timedelta(days=7)
FIRST_MONDAY = datetime(2013, 3, 4, tzinfo=UTC)
_PIPELINE = """\
name: {name}
target: arr_late
task: binary
source: {{kind: parquet, path: data/*.parquet}}
time_column: time_hour
id_columns: [flight_id]
exclude: [dep_time, dep_delay, arr_time, arr_delay, air_time]
training: {{budget: 60s, cv: 2, cv_rows: 8000, candidates: [logistic_regression, lightgbm]}}
metric: roc_auc
monitoring: {{window: 7d, label_delay: 7d}}
policy: {{persistence: {persistence}, cooldown: {cooldown}, probation: 2}}
schedules:
  {{training: 0 3 1 1 *, scoring: 0 4 1 1 *, monitoring: 30 4 1 1 *, timezone: America/New_York}}
alerts: ["${{KEEPFIT_ALERT_URL}}"]
"""


def write_pipeline(
    folder: Path, name: str = "flights", persistence: str = "1 of 1", cooldown: str = "0s"
) -> Path:
    """Write a pipeline over the weekly files of `folder` and return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "keepfit.yaml"
    file.write_text(_PIPELINE.format(name=name, persistence=persistence, cooldown=cooldown))
    return file


class Arrivals:
    """The files of the source: what has arrived, and what will.

    Parameters
    ----------
    folder
        Of the pipeline; files are written to ``data/``.
    """

    DAY = timedelta(days=1)

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "data"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._table = demo_table("flights", None, None)
        self.next_start = FIRST_MONDAY

    def history(self) -> Path:
        """Write all flights before the first week, with labels."""
        return self._write("2013-01", self._between(None, FIRST_MONDAY))

    def week(self) -> tuple[datetime, datetime]:
        """Write the next week without labels, and the labels of the one before."""
        start, end = self.next_start, self.next_start + WEEK
        if start > FIRST_MONDAY:
            self.labels(start - WEEK)
        self._write(f"{start:%Y-%m-%d}", self._blind(self._between(start, end)))
        self.next_start = end
        return start, end

    def backlog(self, end: datetime) -> None:
        """Write the weeks before `end` at once, the last of them without labels."""
        while self.next_start < end:
            self.week()

    def labels(self, start: datetime) -> None:
        """Write a week again, now with its labels."""
        self._write(f"{start:%Y-%m-%d}", self._between(start, start + WEEK))

    def broken_week(self) -> Path:
        """Write the next week with one column renamed and another all null; the week stays due."""
        start = self.next_start
        table = self._blind(self._between(start, start + WEEK))
        names = ["wind_kn" if name == "wind_speed" else name for name in table.column_names]
        table = table.rename_columns(names)
        place = table.column_names.index("distance")
        nulls = pa.nulls(table.num_rows, table.schema.field("distance").type)
        return self._write(f"{start:%Y-%m-%d}", table.set_column(place, "distance", nulls))

    def _between(self, start: datetime | None, end: datetime) -> Any:
        times = self._table["time_hour"]
        keep = pc.less(times, self._bound(end))
        if start is not None:
            keep = pc.and_(keep, pc.greater_equal(times, self._bound(start)))
        return self._table.filter(keep)

    def _bound(self, moment: datetime) -> Any:
        kind = self._table.schema.field("time_hour").type
        return pa.scalar(moment if kind.tz else moment.replace(tzinfo=None), type=kind)

    @staticmethod
    def _blind(table: Any) -> Any:
        place = table.column_names.index("arr_late")
        kind = table.schema.field("arr_late").type
        return table.set_column(place, "arr_late", pa.nulls(table.num_rows, kind))

    def _write(self, name: str, table: Any) -> Path:
        path = self._folder / f"{name}.parquet"
        beside = path.with_suffix(".tmp")
        pq.write_table(table, beside)
        beside.replace(path)
        return path
