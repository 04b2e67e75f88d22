"""What rows to score show is taken into the contract that all rows have."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tasks.base.pipeline_file import load_pipeline
from tasks.base.settings.yaml_document import parse_yaml
from tasks.contracts import snapshot_check
from tasks.contracts.checker_process import answer
from tasks.projects.contracts import accept_rules

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


def test_rules_of_the_target_are_left_as_they_are_by_rows_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_check, "_ask", answer)
    file, rows, contract = tmp_path / "keepfit.yaml", tmp_path / "new.parquet", tmp_path / "c.yaml"
    contract.write_text(CONTRACT)
    file.write_text(
        "name: mine\ntarget: y\nsource: {kind: parquet, path: x.parquet}\n"
        "id_columns: [id]\ncontract: c.yaml\n"
    )
    names = [f"r{max(i, 1)}" for i in range(20)]
    pd.DataFrame({"id": names, "x": [10.0, *range(1, 9), *range(1, 9), 1, 2, 3]}).to_parquet(rows)

    accepted = accept_rules(load_pipeline(file, {}), (), rows).accepted

    assert {"cheap", "id.unique"} <= {*accepted}
    held = parse_yaml(contract.read_text(), contract).values
    assert held["rules"][0] == {"sql": "y <> 'x'", "name": "of the target"}
    assert held["rules"][1]["max_share"] > 0
    assert held["table"]["unique"] == [["id", "y"]]
