"""Excluded columns come in to judge by, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.base.errors import ConfigError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.contracts.contract_files import known_contract
from tasks.contracts.pipeline_check import check_pipeline
from tasks.data.snapshots import read_frame
from tasks.training.row_windows import scoring_snapshot, training_snapshot
from tasks.training.training_plan import prepare
from tests.unit.data.tables_made import people


def pipeline(folder: Path, more: str) -> Pipeline:
    columns = {k: v for k, v in people(120).items() if k != "at"}
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    text = "name: p\ntarget: y\nsource: {kind: parquet, path: rows.parquet}\n" + more
    (folder / "keepfit.yaml").write_text(text, encoding="utf-8")
    return load_pipeline(folder, {})


def test_an_excluded_column_to_judge_by_is_read_and_is_no_feature(tmp_path: Path) -> None:
    plan = pipeline(tmp_path, "exclude: [k, flag]\nreport: {sensitive: [k]}\n")
    snapshot = training_snapshot(plan)
    assert "k" in snapshot.kinds
    assert "flag" not in snapshot.kinds
    roles = prepare(plan, snapshot).roles
    assert set(roles.features) == {"x", "n"}
    assert roles.aside == ("k",)
    contract = known_contract(plan)
    assert contract is not None
    assert set(contract.columns) == {"id", "x", "n", "y"}
    assert "k" not in scoring_snapshot(plan).kinds


def test_a_feature_hook_does_not_see_it(tmp_path: Path) -> None:
    hook = "def add(rows):\n    return rows.assign(columns='-'.join(sorted(rows.columns)))\n"
    (tmp_path / "mine.py").write_text(hook, encoding="utf-8")
    more = "exclude: [k]\nreport: {by: [k]}\nhooks: {features: 'mine:add'}\n"
    snapshot = training_snapshot(pipeline(tmp_path, more))
    assert "k" in snapshot.kinds
    assert set(read_frame(snapshot.path, columns=["columns"])["columns"]) == {"flag-id-n-x"}


@pytest.mark.slow
def test_the_contract_is_not_asked_about_it(tmp_path: Path) -> None:
    plan = pipeline(tmp_path, "exclude: [k]\nreport: {by: [k]}\n")
    result = check_pipeline(plan, training_snapshot(plan))
    assert result.passed
    assert result.warnings == ()


def test_a_group_that_is_excluded_keeps_rows_together(tmp_path: Path) -> None:
    plan = pipeline(tmp_path, "exclude: [k]\nsplit: {group: k}\n")
    prepared = prepare(plan, training_snapshot(plan))
    assert prepared.split.group == "k"
    assert "k" not in prepared.roles.features


def test_a_wrong_name_is_told_at_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 4: `report\.by` names the column 'flagg'"):
        training_snapshot(pipeline(tmp_path, "report: {by: [flagg]}\n"))


@pytest.mark.parametrize(
    ("stated", "kind"), [("", "numeric"), ("kinds: {era: constant}\n", "constant")]
)
def test_a_column_that_begins_to_vary_is_learned_from_unless_the_file_states_otherwise(
    tmp_path: Path, stated: str, kind: str
) -> None:
    (tmp_path / "d").mkdir()
    rows = [f"c{n},{n % 7},1,{n % 5}" for n in range(400)]
    (tmp_path / "d" / "1.csv").write_text("\n".join(["id,x,era,y", *rows]), encoding="utf-8")
    file = tmp_path / "keepfit.yaml"
    file.write_text(
        f"name: p\ntarget: y\nid_columns: [id]\nsource: {{kind: csv, path: d}}\n{stated}",
        encoding="utf-8",
    )
    plan = load_pipeline(file, {})
    assert training_snapshot(plan).kinds["era"] == "constant"

    (tmp_path / "d" / "2.csv").write_text("id,x,era,y\nd1,3,2,4\nd2,1,2,3\n", encoding="utf-8")

    assert training_snapshot(plan).kinds["era"] == kind
