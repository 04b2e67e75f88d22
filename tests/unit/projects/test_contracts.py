"""What rows to score show is taken into the contract that all rows have."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.settings.yaml_document import parse_yaml
from tasks.base.training_records import SetAside
from tasks.contracts import snapshot_check
from tasks.contracts.checker_process import answer
from tasks.projects.contracts import accept_rules, diff_contract
from tasks.scoring.quarantine_listing import Kept, folder_of

CONTRACT = """\
contract: mine
version: 1
table: {unique: [[id, y], [id]]}
columns:
  id: {kind: identifier}
  x: {kind: numeric}
  y: {kind: categorical}
rules:
  - {sql: "y <> 'x'", name: of the target}
  - {sql: "x < 9", name: cheap}
"""


def mine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr(snapshot_check, "_ask", answer)
    (folder / "c.yaml").write_text(CONTRACT)
    file = folder / "keepfit.yaml"
    file.write_text(
        "name: mine\ntarget: y\nsource: {kind: parquet, path: x.parquet}\n"
        "id_columns: [id]\ncontract: c.yaml\n"
    )
    return load_pipeline(file, {})


def test_rules_of_the_target_are_left_as_they_are_by_rows_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = mine(tmp_path, monkeypatch)
    rows, contract = tmp_path / "new.parquet", tmp_path / "c.yaml"
    names = [f"r{max(i, 1)}" for i in range(20)]
    pd.DataFrame({"id": names, "x": [10.0, *range(1, 9), *range(1, 9), 1, 2, 3]}).to_parquet(rows)

    accepted = accept_rules(pipeline, (), rows).accepted

    assert {"cheap", "id.unique"} <= {*accepted}
    held = parse_yaml(contract.read_text(), contract).values
    assert held["rules"][0] == {"sql": "y <> 'x'", "name": "of the target"}
    assert held["rules"][1]["max_share"] > 0
    assert held["table"]["unique"] == [["id", "y"]]


@pytest.mark.parametrize(("whole", "proposed"), [(False, ""), (True, "broken by at most 100 %")])
def test_few_rows_set_aside_do_not_turn_a_rule_on_shares_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool, proposed: str
) -> None:
    pipeline = mine(tmp_path, monkeypatch)
    rows = folder_of(pipeline) / "aside.parquet"
    rows.parent.mkdir(parents=True)
    pd.DataFrame({"id": ["a", "b"], "x": [10.0, 11.0]}).to_parquet(rows)
    aside = SetAside(
        rows=2, of=2 if whole else 300, whole=whole, file=str(rows), digest="d", contract_digest="c"
    )
    kept = Kept(aside=aside, contract_digest="c", at=datetime(2026, 1, 1, tzinfo=UTC))
    rows.with_suffix(".json").write_text(kept.model_dump_json())

    found = {one.rule: one.proposed for one in diff_contract(pipeline, rows).differences}

    assert found["cheap"] == proposed
