"""A backtest by the command: what it says, what it leaves alone, and going on after an end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import main
from tasks.base.pipeline_file import load_pipeline
from tasks.ledger.ledger import ledger_of
from tasks.registry.mlflow.shared_stores import store_of
from tests.tables import write_churn, write_pipeline

pytestmark = pytest.mark.slow

SETTINGS = """\
training: {window: 6d, cv: 2, candidates: [logistic_regression]}
monitoring: {window: 2d, min_rows: 20, label_delay: 6h}  # every two days
"""


def test_a_backtest_recommends_and_touches_neither_champion_nor_ledger(tmp_path: Path) -> None:
    data = write_churn(tmp_path / "churn.csv", 400)
    file = write_pipeline(tmp_path / "p", data, SETTINGS, time=True)
    pipeline = load_pipeline(file)

    ended = CliRunner().invoke(main, ["backtest", str(file), "--apply", "--json"])

    assert ended.exit_code == 0, ended.output
    said = json.loads(ended.stdout)
    policies = {policy["policy"]: policy for policy in said["policies"]}
    fixed = {"file", "never", "every_window", "every_window_gated", "hindsight"}
    assert fixed <= policies.keys()
    assert {"loss", "captured", "trainings", "refits", "promotions", "alarms", "alarms_paid"} <= (
        policies["file"].keys()
    )
    assert policies["hindsight"]["loss"] <= policies["never"]["loss"]
    assert said["recommendation"]["sentence"]
    assert store_of(pipeline).champion("churn") is None
    assert not ledger_of(pipeline).decisions("churn")
    assert "# every two days" in file.read_text(encoding="utf-8")
    page = Path(said["report"]).read_text(encoding="utf-8")
    assert said["recommendation"]["policy"] in page
    runs = store_of(pipeline).find_run({"keepfit.role": "backtest"}, status=None)
    assert runs is not None
