"""Scoring by the calendar: what has come since, each row once, nothing of it lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tasks.base.pipeline_file import load_pipeline
from tasks.ledger.ledger import ledger_of
from tests.program import keepfit
from tests.tables import FAST, write_churn, write_pipeline

pytestmark = pytest.mark.slow
_SCORE = (
    "import sys; from datetime import UTC, datetime; from flows.scoring import scoring; "
    "from tasks.base.runtime.environment import keep_prefect_in; "
    "from tasks.base.monitoring_records import Cause; "
    "cause = Cause(kind='schedule', correlation='c', at=datetime.now(UTC)); "
    "print(scoring(sys.argv[1], cause=cause).model_dump_json())"
)


def by_calendar(file: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _SCORE, str(file)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calendar")
    data = write_churn(folder / "rows.csv", rows=600)
    sink = "scoring: {sink: {kind: csv, path: out/predicted.csv}}\n"
    file = write_pipeline(folder, data, FAST + sink, time=True)
    trained = keepfit("run", file, "--json")
    assert trained.status == 0, trained.err
    return file


def scored(file: Path) -> int:
    return ledger_of(load_pipeline(file)).coverage("churn", None).rows


def test_rows_of_the_training_are_not_scored(file: Path) -> None:
    answer = by_calendar(file)

    # The newest row ends the training's window; it may stand at its very end.
    assert answer["ledger_new"] <= 1
    assert scored(file) <= 1


def test_only_what_has_come_is_scored_and_goes_to_a_file_of_its_own(file: Path) -> None:
    before = scored(file)
    write_churn(file.parent / "rows.csv", rows=900)
    first = by_calendar(file)
    again = by_calendar(file)

    assert 298 <= first["ledger_new"] <= 301
    assert again["ledger_new"] == 0
    assert scored(file) == before + first["ledger_new"]
    out = Path(first["output"])
    assert out.parent.name == "out"
    assert out.name != "predicted.csv"
    assert len(pd.read_csv(out)) == first["ledger_new"]


def test_by_hand_what_is_new_is_scored_like_by_the_calendar(file: Path, tmp_path: Path) -> None:
    none = keepfit("score", file, "--json")
    write_churn(file.parent / "rows.csv", rows=910)
    (file.parent / "empty.csv").write_text("")  # an upload that has begun is not in the source
    some = keepfit("score", file, "--output", tmp_path / "new.csv", "--json")

    assert (none.status, none.answer["rows"], none.answer["output"]) == (0, 0, "")
    assert (some.status, some.answer["rows"], some.answer["scope"]) == (0, 10, "new")
    assert len(pd.read_csv(tmp_path / "new.csv")) == 10


def test_a_file_without_rows_gives_an_output_without_rows(file: Path, tmp_path: Path) -> None:
    header = (file.parent / "rows.csv").read_text().splitlines()[0]
    (tmp_path / "in.csv").write_text(header + "\n")
    out = tmp_path / "out.csv"
    ran = keepfit("score", file, "--input", tmp_path / "in.csv", "--output", out, "--json")

    assert (ran.status, ran.answer["rows"]) == (0, 0), ran.err
    assert out.read_text().startswith("customer,when,prediction,probability_")
    (tmp_path / "zero.csv").write_text("")
    refused = keepfit("score", file, "--input", tmp_path / "zero.csv", "--json")
    assert refused.status == 2
    assert "zero.csv" in refused.answer["error"]["message"]


def test_by_hand_every_row_goes_to_the_file_that_is_named(file: Path) -> None:
    write_churn(file.parent / "rows.csv", rows=900)
    ran = keepfit("score", file, "--all", "--json")

    assert ran.status == 0, ran.err
    assert Path(ran.answer["output"]).name == "predicted.csv"
    assert len(pd.read_csv(ran.answer["output"])) == 900
    assert scored(file) == 910


def test_a_default_sink_holds_the_batch(tmp_path: Path) -> None:
    data = write_churn(tmp_path / "rows.csv", rows=500)
    file = write_pipeline(tmp_path, data, FAST, time=True)
    assert keepfit("run", file, "--json").status == 0
    write_churn(tmp_path / "rows.csv", rows=600)
    answer = by_calendar(file)

    assert pq.read_table(answer["output"]).num_rows == answer["ledger_new"]
