"""Labels spelled in several ways are named, and joined as the file says wherever they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.base.config import PipelineConfig
from tasks.base.errors import ConfigError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.source_notes import JoinedLabels, LabelTwins, note_text
from tasks.base.training_records import Schema
from tasks.data.column_kinds import build_schema
from tasks.data.label_spellings import joined, plain_label, twins_among
from tasks.data.snapshots import read_frame
from tasks.evaluation.diagnosis.leakage import label_suspicions
from tasks.ledger.labels import read_labels
from tasks.training.row_windows import scoring_snapshot, training_snapshot
from tests.unit.data.tables_made import csv_read

WORDS = ["churned", "Churned", "CHURNED", "churned ", "stayed", "STAYED", " stayed", "stayed."]
JOIN = 'labels: {churned: [Churned, CHURNED, "churned "], stayed: [STAYED, " stayed", "stayed."]}\n'


def column(*values: Any) -> Any:
    return pa.chunked_array([pa.array(list(values))])


def pipeline(folder: Path, more: str = "", form: str = "csv", labels: Any = WORDS) -> Pipeline:
    folder.mkdir(exist_ok=True)
    target = list(labels) * (80 // len(labels))
    rows = {
        "id": [f"c{i}" for i in range(len(target))],
        "x": [i * i % 13 for i in range(len(target))],
        "y": target,
    }
    if form == "csv":
        lines = [f'{i},{x},"{y}"' for i, x, y in zip(*rows.values(), strict=True)]
        (folder / "rows.csv").write_text("\n".join(["id,x,y", *lines]) + "\n")
    else:
        pq.write_table(pa.table(rows), folder / "rows.parquet")
    (folder / "keepfit.yaml").write_text(
        f"name: p\ntarget: y\nsource: {{kind: {form}, path: rows.{form}}}\nid_columns: [id]\n{more}"
    )
    return load_pipeline(folder, {})


def schema_of(plan: Pipeline) -> Schema:
    return build_schema(training_snapshot(plan), plan.config)


def test_space_around_the_text_of_a_csv_is_removed_and_said(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "a,b\n x ,1\ny\u00a0, 2\n\u00a0,3\n")
    assert read.table.to_pydict() == {"a": ["x", "y", None], "b": [1, 2, 3]}
    assert any("space around text" in note and note.startswith("a:") for note in read.assumptions)


@pytest.mark.parametrize(
    ("first", "second"),
    [("Yes", "YES."), ("yes", " yes "), ("a  b", "A b"), ("1", "1.0"), ("Straße", "STRASSE")],
)
def test_labels_that_differ_in_case_space_or_a_dot_are_alike(first: str, second: str) -> None:
    assert plain_label(first) == plain_label(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "b"),
        ("1", "10"),
        ("1.5", "15"),
        (">50K", "<=50K"),
        ("no", "none"),
        ("1234567", "1234568"),
    ],
)
def test_other_labels_are_not(first: str, second: str) -> None:
    assert plain_label(first) != plain_label(second)


def test_the_most_frequent_spelling_names_the_label() -> None:
    (twins,) = twins_among({"Yes": 3, "yes": 9, "no": 5}, "y")
    assert twins == LabelTwins(target="y", spellings={"yes": 9, "Yes": 3})
    assert "`labels: {'yes': ['Yes']}`" in note_text(twins)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_twins_are_findings_of_the_target(tmp_path: Path, form: str) -> None:
    schema = schema_of(pipeline(tmp_path, form=form))
    groups = [sorted(twins.spellings) for twins in schema.twins]
    assert len(groups) == 2
    assert {"CHURNED", "Churned", "churned"} <= set(groups[0] + groups[1])


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_joined_labels_are_two_classes_wherever_they_are_read(tmp_path: Path, form: str) -> None:
    plan = pipeline(tmp_path, JOIN, form)
    snapshot = training_snapshot(plan)
    schema = build_schema(snapshot, plan.config)
    assert (schema.classes, schema.task, schema.twins) == (("churned", "stayed"), "binary", ())
    assert set(read_frame(snapshot.path)["y"]) == {"churned", "stayed"}
    assert set(read_frame(scoring_snapshot(plan).path)["y"]) == {"churned", "stayed"}
    assert set(read_labels(plan, schema, None, None)["y"]) == {"churned", "stayed"}
    (note,) = [n for n in snapshot.findings if isinstance(n, JoinedLabels)]
    assert sum(note.rows.values()) == (40 if form == "csv" else 60)


def test_labels_of_a_source_of_their_own_are_joined_too(tmp_path: Path) -> None:
    late = "monitoring: {labels: {kind: csv, path: late.csv}}\n"
    plan = pipeline(tmp_path, JOIN + late)
    (tmp_path / "late.csv").write_text("id,y\nc1,CHURNED\nc2,stayed.\n")
    read = read_labels(plan, schema_of(plan), None, None)
    assert read["y"].tolist() == ["churned", "stayed"]


@pytest.mark.parametrize(
    ("labels", "join", "classes"),
    [
        (["1", "1.0", "0"], "{1: ['1.0']}", ("0", "1")),
        (["1", "one", "0"], "{1: one}", ("0", "1")),
        ([True, False], "{kept: true, lost: [false]}", ("kept", "lost")),
        ([0, 1, 2], "{bad: [1, 2], good: 0}", ("bad", "good")),
        ([0.0, 1.0, 2.0], "{bad: [1, 2], good: 0}", ("bad", "good")),
    ],
)
def test_numbers_and_booleans_are_labels_too(
    tmp_path: Path, labels: list[Any], join: str, classes: tuple[str, ...]
) -> None:
    plan = pipeline(tmp_path, f"labels: {join}\n", "parquet", labels)
    schema = schema_of(plan)
    assert schema.classes == classes
    assert set(read_labels(plan, schema, None, None)["y"].astype(str)) == set(classes)


def test_a_spelling_that_no_row_has_is_an_error_at_its_line(tmp_path: Path) -> None:
    text = "labels:\n  churned: [Churned, CHURNED]\n  stayed:\n    - STAYED\n    - steyed\n"
    plan = pipeline(tmp_path, text)
    with pytest.raises(ConfigError, match=r"line 9: `labels` joins 'steyed'") as refused:
        training_snapshot(plan)
    assert "Did you mean" in refused.value.remedy


def test_a_mapping_that_fitted_once_does_not_stop_a_window_without_a_spelling(
    tmp_path: Path,
) -> None:
    plan = pipeline(tmp_path, "labels: {gone: [old, older], stayed: [Stayed]}\n",
                    labels=["old", "older", "stayed"])  # fmt: skip
    training_snapshot(plan)
    again = pipeline(tmp_path, "labels: {gone: [old, older], stayed: [Stayed]}\n",
                     labels=["old", "stayed"])  # fmt: skip
    snapshot = training_snapshot(again)
    (note,) = [n for n in snapshot.findings if isinstance(n, JoinedLabels)]
    assert list(note.unknown) == ["older"]


@pytest.mark.parametrize(
    ("join", "line", "why"),
    [
        ("labels:\n  a: [x]\n  b: [y, x]\n", 6, "'x' is joined to 'a' and to 'b'"),
        ("labels:\n  a: [x]\n  b: [a]\n", 6, "'a' is itself a label"),
        ("labels: {a: [x]}\ntask: regression\n", 4, "`labels` are of classes"),
    ],
)
def test_a_mapping_that_contradicts_itself_is_an_error_at_its_line(
    tmp_path: Path, join: str, line: int, why: str
) -> None:
    file = tmp_path / "keepfit.yaml"
    file.write_text(f"name: p\ntarget: y\nsource: {{kind: csv, path: x.csv}}\n{join}")
    with pytest.raises(ConfigError) as refused:
        load_pipeline(file, {})
    assert f"line {line}: " in refused.value.message
    assert why in refused.value.message


def test_nulls_stay_and_other_labels_keep_their_spelling() -> None:
    texts, note = joined(column("a", None, "B", "c"), {"b": ["B"]}, "y")
    assert texts.to_pylist() == ["a", None, "b", "c"]
    assert note.rows == {"B": 1}


def test_without_labels_the_configuration_says_what_it_said() -> None:
    config = PipelineConfig.model_validate(
        {"name": "a", "target": "y", "source": {"kind": "csv", "path": "x"}}
    )
    assert config.labels == {}


def test_twins_make_the_score_doubtful(tmp_path: Path) -> None:
    found = label_suspicions(schema_of(pipeline(tmp_path)))
    assert [(one.about, one.level) for one in found] == [("labels", "warning")] * 2
