"""Decisions of a pipeline, as monitoring and training record them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.base.monitoring_records import (
    ColumnFinding,
    Decision,
    DecisionKind,
    DriftResult,
    Performance,
    PolicyDecision,
    Window,
)
from tasks.base.training_records import MetricValue

ALARM = "a" * 32

ASKED = {"retrain": True, "answer_by": "2026-02-01T00:15:00+00:00"}
"""Evidence of an alarm that asked for a training."""


def week(number: int) -> Window:
    """The week that begins `number` weeks after 5 January 2026."""
    start = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(weeks=number)
    return Window(start=start, end=start + timedelta(weeks=1))


def decision(kind: DecisionKind, evidence: dict[str, Any] | None = None, **given: Any) -> Decision:
    """A decision of the pipeline `flights`."""
    values: dict[str, Any] = {
        "id": f"{kind}-1",
        "pipeline": "flights",
        "kind": kind,
        "at": datetime(2026, 2, 1, tzinfo=UTC),
        "correlation": ALARM,
        "sentence": "",
        "evidence": evidence or {},
    }
    return Decision(**{**values, **given})


def monitored(
    number: int,
    *moved: ColumnFinding,
    alarm: bool = True,
    worse: bool = False,
    policy: PolicyDecision | None = None,
    **given: Any,
) -> Decision:
    """What monitoring recorded of a week in which the columns `moved` drifted, of fifteen."""
    still = [ColumnFinding(column=f"still {i}") for i in range(15 - len(moved))]
    drift = DriftResult(
        rows=1000,
        reference_rows=5000,
        enough=True,
        alarm=bool(moved),
        false_alarms=0.05,
        columns=(*moved, *still),
    )
    performance = Performance(
        window=week(number),
        version="3",
        metric="roc_auc",
        rows=1000,
        realised=MetricValue(value=0.61, low=0.58, high=0.64),
        reference=MetricValue(value=0.691),
        worse=worse,
    )
    evidence = {
        "alarm": alarm,
        "drift": drift.model_dump(mode="json"),
        "performance": [performance.model_dump(mode="json")],
        "policy": (policy or PolicyDecision(retrain=True)).model_dump(mode="json"),
    }
    return decision(
        "monitored", evidence, **{"id": f"monitored-{number}", "window": week(number), **given}
    )


def drifted(column: str, importance: float = 0.1, **given: Any) -> ColumnFinding:
    """A column that drifted."""
    values: dict[str, Any] = {"statistic": 0.31, "threshold": 0.12, "importance": importance}
    return ColumnFinding(column=column, drifted=True, **{**values, **given})
