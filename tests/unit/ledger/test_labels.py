from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.base.errors import ConfigError, DataError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.training_records import Schema
from tasks.ledger.labels import read_labels
from tasks.ledger.ledger import Ledger, ledger_of
from tasks.ledger.records import LabelsWritten
from tasks.ledger.storage.cell_values import class_text
from tests.unit.ledger.made import NAME, Forked, opened, predictions, schema


def write(ledger: Ledger, frame: pd.DataFrame, roles: Schema | None = None) -> None:
    ledger.write_predictions(NAME, frame, roles or schema(), version="1", run_id="r", batch="b1")


def collect_labels(
    plan: Pipeline, roles: Schema, start: datetime | None, end: datetime | None
) -> LabelsWritten:
    return ledger_of(plan).write_labels(NAME, read_labels(plan, roles, start, end), roles)


def labels(*values: Any, start: int = 0) -> pd.DataFrame:
    ids = np.arange(start, start + len(values))
    return pd.DataFrame({"id": ids, "late": pd.Series(values, dtype=object)})


def test_labels_arrive_late_and_are_joined(ledger: Ledger) -> None:
    write(ledger, predictions())
    assert ledger.coverage(NAME, None).labelled == 0
    found = ledger.write_labels(NAME, labels("yes", None, "no"), schema())
    assert found == LabelsWritten(rows=2, new=2, changed=0)
    read = ledger.window_rows(NAME, None, schema())
    assert read["label"].isna().tolist() == [False, True, False, True]
    assert read["label"].dropna().tolist() == ["yes", "no"]
    assert ledger.coverage(NAME, None).labelled == 2


def test_a_later_label_puts_an_earlier_one_right(ledger: Ledger) -> None:
    write(ledger, predictions())
    ledger.write_labels(NAME, labels("yes", "no", "no"), schema())
    again = ledger.write_labels(NAME, labels("yes", "yes", None, "no"), schema())
    assert again == LabelsWritten(rows=3, new=1, changed=1)
    read = ledger.window_rows(NAME, None, schema())
    assert read["label"].tolist() == ["yes", "yes", "no", "no"]


def test_of_labels_of_one_row_the_last_counts(ledger: Ledger) -> None:
    write(ledger, predictions())
    twice = pd.DataFrame({"id": [1, 1, 1], "late": ["no", "yes", None]})
    assert ledger.write_labels(NAME, twice, schema()) == LabelsWritten(rows=2, new=1, changed=0)
    assert ledger.window_rows(NAME, None, schema())["label"][1] == "yes"


def test_labels_of_rows_never_predicted_are_not_kept(ledger: Ledger) -> None:
    write(ledger, predictions())
    found = ledger.write_labels(NAME, labels("yes", "no", start=3), schema())
    assert found == LabelsWritten(rows=2, new=1, changed=0, unpredicted=1)
    write(ledger, predictions(1, start=4))
    assert ledger.coverage(NAME, None).labelled == 1


def test_numbers_are_labels_where_they_are_finite(ledger: Ledger) -> None:
    roles = schema(task="regression", classes=(), positive=None)
    frame = predictions(prediction=[1.0, 2.0, 3.0, 4.0])
    write(ledger, frame.drop(columns=["probability_no", "probability_yes"]), roles)
    found = ledger.write_labels(NAME, labels(1.5, np.nan, np.inf, "x"), roles)
    assert found == LabelsWritten(rows=1, new=1, changed=0)
    read = ledger.window_rows(NAME, None, roles)["label"]
    assert read[0] == 1.5
    assert read[1:].isna().all()
    changed = ledger.write_labels(NAME, labels(1.5, 2.5), roles)
    assert changed == LabelsWritten(rows=2, new=1, changed=0)


@pytest.mark.parametrize(
    ("value", "classes", "text"),
    [
        (1.0, ("0", "1"), "1"),
        (1.0, ("1.0", "1.5"), "1.0"),
        (True, ("False", "True"), "True"),
        (np.bool_(True), ("0", "1"), "1"),
        ("true", ("False", "True"), "True"),
        (0, ("False", "True"), "False"),
        ("1.0", ("0", "1"), "1"),
        ("new", ("no", "yes"), "new"),
        ("  ", ("no", "yes"), None),
    ],
)
def test_a_label_is_the_class_it_was_in_training(
    value: object, classes: tuple[str, ...], text: str | None
) -> None:
    assert class_text(value, classes) == text


def test_labels_without_the_target_are_refused(ledger: Ledger) -> None:
    with pytest.raises(DataError, match="lack the target 'late'"):
        ledger.write_labels(NAME, predictions(), schema())


def test_no_labels_change_nothing(ledger: Ledger) -> None:
    write(ledger, predictions())
    nothing = LabelsWritten(rows=0, new=0, changed=0)
    assert ledger.write_labels(NAME, labels(), schema()) == nothing
    assert ledger.write_labels(NAME, labels(None, " "), schema()) == nothing


@pytest.mark.parametrize("moment", ["before", "halfway", "before_commit", "after_commit"])
def test_labels_are_written_whole_or_not_at_all(
    moment: str, url: str | None, ledger: Ledger, tmp_path: Path
) -> None:
    write(ledger, predictions(3000))
    known = labels(*["yes"] * 3000)

    def work() -> int:
        return opened(tmp_path, url).write_labels(NAME, known, schema()).new

    assert Forked(work, f"ledger.labels.{moment}").killed()
    there = 3000 if moment == "after_commit" else 0
    assert ledger.coverage(NAME, None).labelled == there
    assert Forked(work).answer() == str(3000 - there)
    assert ledger.coverage(NAME, None).labelled == 3000


# Collected from sources


def pipeline_in(folder: Path, text: str = "id_columns: [id]\ntime_column: time\n") -> Pipeline:
    file = folder / "keepfit.yaml"
    file.write_text(
        f"name: {NAME}\ntarget: late\nsource: {{kind: parquet, path: rows.parquet}}\n{text}"
    )
    return load_pipeline(file, {})


def rows(n: int = 6) -> pd.DataFrame:
    return predictions(n)[["id", "time"]].assign(
        distance=range(n), carrier=["AA", "BB"] * (n // 2), late=["no", "yes"] * (n // 2)
    )


def day(hour: int) -> datetime:
    return datetime(2020, 1, 1, hour, tzinfo=UTC)


def test_labels_come_from_the_target_column_of_the_source(tmp_path: Path) -> None:
    pipeline = pipeline_in(tmp_path)
    frame = rows()
    frame.loc[3, "late"] = None
    frame.to_parquet(tmp_path / "rows.parquet")
    ledger = ledger_of(pipeline)
    write(ledger, predictions(5))
    found = collect_labels(pipeline, schema(), day(1), day(5))
    assert found == LabelsWritten(rows=3, new=3, changed=0)
    read = ledger.window_rows(NAME, None, schema())["label"]
    assert [read[1], read[2], read[4]] == ["yes", "no", "no"]
    whole = collect_labels(pipeline, schema(), None, None)
    assert whole == LabelsWritten(rows=5, new=1, changed=0, unpredicted=1)


def test_labels_come_from_a_source_of_their_own(tmp_path: Path) -> None:
    own = "id_columns: [id]\ntime_column: time\nmonitoring: {labels: {kind: csv, path: late.csv}}\n"
    pipeline = pipeline_in(tmp_path, own)
    (tmp_path / "late.csv").write_text("late,id,remark\nyes,2,x\nno,3,\n,1,\nyes,77,\n")
    ledger = ledger_of(pipeline)
    write(ledger, predictions())
    found = collect_labels(pipeline, schema(), day(0), day(1))
    assert found == LabelsWritten(rows=3, new=2, changed=0, unpredicted=1)
    assert ledger.window_rows(NAME, None, schema())["label"][2] == "yes"


def test_a_boolean_target_with_nulls_is_joined(tmp_path: Path) -> None:
    pipeline = pipeline_in(tmp_path)
    frame = rows().assign(late=pd.Series([True, False, None] * 2, dtype=object))
    frame.to_parquet(tmp_path / "rows.parquet")
    roles = schema(classes=("False", "True"), positive="True")
    ledger = ledger_of(pipeline)
    write(ledger, predictions(6).drop(columns=["probability_no", "probability_yes"]), roles)
    assert collect_labels(pipeline, roles, None, None).new == 4
    read = ledger.window_rows(NAME, None, roles)
    assert read["label"].dropna().tolist() == ["True", "False"] * 2
    assert read["probability_True"].isna().all()


def test_without_ids_labels_are_joined_by_what_the_rows_hold(tmp_path: Path) -> None:
    pipeline = pipeline_in(tmp_path, "time_column: time\n")
    frame = rows()
    frame.to_parquet(tmp_path / "rows.parquet")
    roles = schema(id_columns=())
    ledger = ledger_of(pipeline)
    scored = predictions(6)
    ledger.write_predictions(
        NAME, scored, roles, version="1", run_id="r", batch="b1", rows=frame.drop(columns="late")
    )
    assert collect_labels(pipeline, roles, day(2), day(4)).new == 2
    read = ledger.window_rows(NAME, None, roles)
    assert read["label"].tolist()[2:4] == ["no", "yes"]


def test_labels_of_their_own_need_ids(tmp_path: Path) -> None:
    own = "monitoring:\n  labels: {kind: csv, path: late.csv}\n"
    pipeline = pipeline_in(tmp_path, own)
    (tmp_path / "late.csv").write_text("late,distance\nyes,2\n")
    with pytest.raises(ConfigError, match=r"line 5: `monitoring.labels`.*no id columns"):
        collect_labels(pipeline, schema(id_columns=()), None, None)


def test_a_source_of_labels_without_the_id_is_said(tmp_path: Path) -> None:
    own = "id_columns: [id]\nmonitoring:\n  labels: {kind: csv, path: late.csv}\n"
    pipeline = pipeline_in(tmp_path, own)
    (tmp_path / "late.csv").write_text("late,idd\nyes,2\n")
    with pytest.raises(ConfigError, match=r"no column 'id'.*Did you mean 'idd'") as caught:
        collect_labels(pipeline, schema(), None, None)
    assert "`monitoring.labels`" in str(caught.value)


def test_a_range_without_rows_has_no_labels(tmp_path: Path) -> None:
    pipeline = pipeline_in(tmp_path)
    rows().to_parquet(tmp_path / "rows.parquet")
    nothing = LabelsWritten(rows=0, new=0, changed=0)
    assert collect_labels(pipeline, schema(), day(20), day(21)) == nothing


def test_ids_are_read_as_the_file_states_them(tmp_path: Path) -> None:
    text = (
        "id_columns: [id]\nkinds: {id: identifier}\n"
        "monitoring: {labels: {kind: csv, path: late.csv}}\n"
    )
    pipeline = pipeline_in(tmp_path, text)
    (tmp_path / "late.csv").write_text("id,late\n007,yes\n008,no\n")
    ledger = ledger_of(pipeline)
    write(ledger, predictions(2, id=pd.Series(["007", "8"], dtype="str")))
    assert collect_labels(pipeline, schema(), None, None) == LabelsWritten(
        rows=2, new=1, changed=0, unpredicted=1
    )
