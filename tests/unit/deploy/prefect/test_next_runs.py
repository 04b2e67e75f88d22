from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.prefect.next_runs import next_runs, soonest, table_of_runs
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tests.tables import FAST, write_churn, write_pipeline


def pipeline(folder: Path, schedules: str) -> Pipeline:
    data = write_churn(folder / "c.csv", 20)
    return load_pipeline(write_pipeline(folder, data, f"{FAST}schedules: {{{schedules}}}\n"))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 1, 5, 1, tzinfo=UTC), "2026-01-05T03:00:00+01:00"),
        (datetime(2026, 7, 5, 2, tzinfo=UTC), "2026-07-06T03:00:00+02:00"),
        # The clocks go forward on 29 March 2026, from 2 to 3.
        (datetime(2026, 3, 28, 12, tzinfo=UTC), "2026-03-29T03:00:00+02:00"),
    ],
)
def test_the_next_run_is_told_in_the_schedules_time_zone(
    tmp_path: Path, now: datetime, expected: str
) -> None:
    plan = pipeline(tmp_path, 'training: "0 3 * * *", timezone: Europe/Berlin')

    found = next_runs([plan], now)[0]

    assert found.deployment == "training/churn"
    assert found.at is not None
    assert found.at.isoformat() == expected


def test_the_table_fits_80_columns_and_names_what_runs_on_demand(tmp_path: Path) -> None:
    plan = pipeline(tmp_path, 'scoring: "0 * * * *", timezone: America/Argentina/ComodRivadavia')
    now = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)

    lines = table_of_runs(next_runs([plan], now), now).splitlines()

    assert max(map(len, lines)) <= 80
    assert "on demand" in lines[1]
    assert lines[2].endswith("30 min")


def test_a_refit_is_a_run_of_the_training(tmp_path: Path) -> None:
    plan = pipeline(tmp_path, 'training: "0 3 1 * *", refit: "0 4 * * *"')
    now = datetime(2026, 1, 5, tzinfo=UTC)

    runs = next_runs([plan], now)

    assert "training/churn (refit)" in table_of_runs(runs, now)
    assert soonest(runs)["training/churn"] == datetime(2026, 1, 5, 4, tzinfo=UTC)
    assert soonest(runs)["scoring/churn"] is None
