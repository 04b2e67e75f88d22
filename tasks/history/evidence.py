"""What decisions rest on, read from the ledger's JSON as records; None where it is not there."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from datetime import datetime
from math import isfinite
from typing import Protocol, TypeVar

from pydantic import JsonValue, ValidationError

from tasks.base.monitoring_records import (
    Cause,
    Decision,
    DecisionKind,
    DriftResult,
    Gain,
    Performance,
    PolicyDecision,
    Window,
)
from tasks.base.pipeline_file import Pipeline
from tasks.base.training_records import Record, Verdict
from tasks.ledger.ledger import each_ledger, ledger_of

_R = TypeVar("_R", bound=Record)
# The kinds after which another version scores.
MOVES: tuple[DecisionKind, ...] = ("promoted", "rolled_back")


_ENDS: dict[DecisionKind, str] = {
    "scored": "scoring",
    "monitored": "monitoring",
    "trained": "training",
}


class Accounts(Protocol):
    """The part of the ledger that this room reads."""

    def decisions(
        self,
        pipeline: str | Collection[str] | None = None,
        *,
        kinds: Collection[str] = (),
        correlation: str | None = None,
        version: str | None = None,
        since: datetime | None = None,
        most: int | None = None,
    ) -> tuple[Decision, ...]:
        """Return decisions, newest first."""

    def answered_at(self, pipeline: str) -> datetime | None:
        """Return when rows answered over HTTP came last."""


class NoAccounts:
    """A ledger in which nothing was written yet."""

    def decisions(
        self,
        pipeline: str | Collection[str] | None = None,  # noqa: ARG002
        *,
        kinds: Collection[str] = (),  # noqa: ARG002
        correlation: str | None = None,  # noqa: ARG002
        version: str | None = None,  # noqa: ARG002
        since: datetime | None = None,  # noqa: ARG002
        most: int | None = None,  # noqa: ARG002
    ) -> tuple[Decision, ...]:
        """Return nothing."""
        return ()

    def answered_at(self, pipeline: str) -> datetime | None:  # noqa: ARG002
        """Return no time."""
        return None


def accounts_of(pipeline: Pipeline) -> Accounts:
    """Return the ledger of `pipeline`; reading never creates one."""
    return ledger_of(pipeline) if _has_ledger(pipeline) else NoAccounts()


def each_accounts(pipelines: Iterable[Pipeline]) -> list[tuple[Accounts, tuple[Pipeline, ...]]]:
    """Return every ledger that is there once, with the pipelines that keep theirs in it."""
    return [*each_ledger(pipeline for pipeline in pipelines if _has_ledger(pipeline))]


def _has_ledger(pipeline: Pipeline) -> bool:
    return pipeline.config.ledger.url is not None or (pipeline.state / "ledger.db").exists()


def has_registry(pipeline: Pipeline) -> bool:
    """Return whether there is a registry to read; reading never creates one."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    return bool(uri) or (pipeline.state / "mlflow" / "mlflow.db").exists()


def record_of(kind: type[_R], value: JsonValue) -> _R | None:
    """Return `value` as a record; None when it is absent or of another shape."""
    if not isinstance(value, dict):
        return None
    try:
        return kind.model_validate(_finite(value))
    except ValidationError:
        return None


def _finite(value: JsonValue) -> JsonValue:
    """Return `value` with None for numbers that are none."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def drift_of(decision: Decision) -> DriftResult | None:
    """Return the drift that a monitored window showed."""
    return record_of(DriftResult, decision.evidence.get("drift"))


def performances_of(decision: Decision) -> tuple[Performance, ...]:
    """Return what a monitored window says of performance, of its own and of earlier windows."""
    found = decision.evidence.get("performance")
    values = found if isinstance(found, list) else []
    return tuple(p for value in values if (p := record_of(Performance, value)) is not None)


def alarmed_windows(decision: Decision) -> tuple[Window | None, ...]:
    """Return the windows of which an alarm tells, in their order; none where it lists none."""
    triggers = decision.evidence.get("triggers")
    found = [
        record_of(Window, value.get("window"))
        for value in (triggers if isinstance(triggers, list) else [])
        if isinstance(value, dict)
    ]
    return tuple(dict.fromkeys(found))


def own_performance(decision: Decision) -> Performance | None:
    """Return the performance of the monitored window itself."""
    return next((p for p in performances_of(decision) if p.window == decision.window), None)


def gain_of(decision: Decision) -> Gain | None:
    """Return what a monitored window or an alarm says that retraining would bring."""
    return record_of(Gain, decision.evidence.get("gain"))


def policy_of(decision: Decision) -> PolicyDecision | None:
    """Return what the policy answered to a monitored window."""
    return record_of(PolicyDecision, decision.evidence.get("policy"))


def cause_of(decision: Decision) -> Cause | None:
    """Return why a training was done."""
    return record_of(Cause, decision.evidence.get("cause"))


def verdict_of(decision: Decision) -> Verdict | None:
    """Return the gate's verdict of a training."""
    return record_of(Verdict, decision.evidence.get("verdict"))


def number_of(decision: Decision, name: str) -> float | None:
    """Return a finite number of the evidence."""
    value = decision.evidence.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)


def pair_of(decision: Decision, name: str) -> tuple[float, float] | None:
    """Return the two ends of an interval."""
    value = decision.evidence.get(name)
    ends = (
        [float(v) for v in value if isinstance(v, int | float)] if isinstance(value, list) else []
    )
    return (ends[0], ends[1]) if len(ends) == 2 and all(map(isfinite, ends)) else None


def flow_of(decision: Decision) -> str | None:
    """Return the flow whose work `decision` ended; None where it is of another sort."""
    if decision.kind in ("stopped", "failed"):
        named = text_of(decision, "flow")
        flows = _ENDS.values()
        return named if named in flows else "monitoring" if decision.window else "scoring"
    return _ENDS.get(decision.kind)


def text_of(decision: Decision, name: str) -> str:
    """Return a text of the evidence; empty when it is absent."""
    value = decision.evidence.get(name)
    return value if isinstance(value, str) else ""


def texts_of(decision: Decision, name: str) -> tuple[str, ...]:
    """Return the texts of a list of the evidence."""
    value = decision.evidence.get(name)
    return tuple(str(v) for v in value) if isinstance(value, list) else ()


def broken_rules(decision: Decision) -> tuple[str, ...]:
    """Return the rules of the contract that the rows of `decision` broke."""
    contract = decision.evidence.get("contract")
    broken = contract.get("broken") if isinstance(contract, dict) else None
    if isinstance(broken, list):
        return tuple(str(rule) for rule in broken)
    return texts_of(decision, "rules")
