"""The bundled tables hold what they promise."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks.base.errors import SourceError
from tasks.data.sources.demos import demo_columns, demo_table


@pytest.fixture(scope="module")
def flights() -> pa.Table:
    return demo_table("flights")


def test_the_flights_are_all_that_arrived(flights: pa.Table) -> None:
    assert flights.num_rows == 327_346
    assert flights.column_names == list(demo_columns("flights"))
    assert pc.count_distinct(flights["flight_id"]).as_py() == 327_346
    late = pc.greater(flights["arr_delay"], 15)
    assert flights["arr_late"].equals(late)
    assert flights["arr_delay"].null_count == 0


def test_the_time_is_the_instant_of_the_scheduled_hour(flights: pa.Table) -> None:
    # 5:15 in January's New York is 10:15 UTC; summer time is an hour closer.
    assert flights["time_hour"][0].as_py() == datetime(2013, 1, 1, 10, tzinfo=UTC)
    assert flights["sched_dep_time"][0].as_py() == 5 * 60 + 15
    july = demo_table("flights", (7, 7), ["flight_id", "time_hour", "sched_dep_time"])
    local = (july["time_hour"].cast(pa.int64()).to_numpy() // 3_600_000_000 - 4) % 24
    assert (local == july["sched_dep_time"].to_numpy() // 60).all()


def test_weather_is_of_the_airport_and_the_hour(flights: pa.Table) -> None:
    row = flights.slice(0, 1).to_pylist()[0]
    assert (row["origin"], row["temp"], row["wind_dir"]) == ("EWR", 39.02, 260.0)
    assert flights["temp"].null_count == 1544


def test_months_and_columns_are_chosen_before_the_work() -> None:
    part = demo_table("flights", (1, 2), ["arr_late", "carrier"])
    assert part.column_names == ["carrier", "arr_late"]
    assert part.num_rows == 50_009
    with pytest.raises(SourceError, match="months"):
        demo_table("flights", (5, 3))
    with pytest.raises(SourceError, match="flights only"):
        demo_table("digits", (1, 2))


@pytest.mark.parametrize(
    ("name", "rows", "target"),
    [
        ("digits", 1797, "label"),
        ("diabetes", 442, "progression"),
        ("breast_cancer", 569, "diagnosis"),
    ],
)
def test_the_tables_of_scikit_learn(name: str, rows: int, target: str) -> None:
    table = demo_table(name)  # type: ignore[arg-type]
    assert table.num_rows == rows
    assert table.column_names[0] == "row_id"
    assert table.column_names[-1] == target
    assert table[target].null_count == 0


def test_a_tumour_is_called_by_its_name() -> None:
    counts = pc.value_counts(demo_table("breast_cancer", None, ["diagnosis"])["diagnosis"])
    assert {c["values"]: c["counts"] for c in counts.to_pylist()} == {
        "malignant": 212,
        "benign": 357,
    }
