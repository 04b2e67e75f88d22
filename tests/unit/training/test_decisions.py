"""What the ledger knows of trainings that a later one reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.base.monitoring_records import Decision
from tasks.base.pipeline_file import load_pipeline
from tasks.base.settings.evaluation import GateConfig
from tasks.ledger.ledger import ledger_of
from tasks.registry.gate.gate import decide
from tasks.training.decisions import earlier_refits
from tests.opened import opened
from tests.tables import write_pipeline
from tests.unit.registry.gate.test_gate import evidence_of

NOW = datetime(2026, 3, 9, tzinfo=UTC)


def trained(place: int, **evidence: object) -> Decision:
    verdict = decide(
        evidence_of(difference=place / 100), GateConfig(), champion_version="3",
        new_evidence=True, refit=True,
    )  # fmt: skip
    at = NOW + timedelta(days=place)
    return Decision.model_validate(
        {
            "id": str(place), "pipeline": "churn", "kind": "trained", "at": at,
            "correlation": "c", "sentence": "",
            "evidence": {
                "training": "refit", "metric": "roc_auc", "challenger": "lightgbm",
                "verdict": verdict.model_dump(mode="json"), "seen_until": at.isoformat(),
                **evidence,
            },
        }
    )  # fmt: skip


def test_refits_of_the_same_family_by_the_same_metric_are_read_in_order(tmp_path: Path) -> None:
    pipeline = load_pipeline(write_pipeline(tmp_path, tmp_path / "rows.csv", ""))
    for decision in (
        trained(1), trained(2), trained(3, training="search"), trained(4, metric="mae"),
        trained(5, challenger="svm"), trained(6, verdict={"promoted": True}),
    ):  # fmt: skip
        ledger_of(pipeline).record(decision)

    found = earlier_refits(opened(pipeline), "roc_auc", "lightgbm")

    assert [one.gain for one in found] == [0.01, 0.02]
    assert found[0].until == NOW + timedelta(days=1)
