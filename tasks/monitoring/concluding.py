"""The end of a monitoring pass: the policy's answer, the decisions, the pages, the MLflow run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.base.files import write_whole
from tasks.base.loop import (
    Cause,
    Decision,
    DriftResult,
    Performance,
    PolicyDecision,
    Window,
    WindowFlag,
    decision_id,
)
from tasks.base.moments import as_utc
from tasks.base.outcomes import MonitoringOutcome
from tasks.base.pipeline_file import Pipeline
from tasks.base.reading import note_text
from tasks.base.records import ContractResult, ModelVersion, Record, Snapshot
from tasks.base.stack_file import mlflow_run_page, prefect_run_page
from tasks.monitoring.passes import Look, page_folder
from tasks.monitoring.run_outcomes import request_training
from tasks.registry.stores import store_of

_DIGITS = 16
_NEVER = datetime.min.replace(tzinfo=UTC)


class Findings(Record):
    """What the steps of a pass found."""

    drift: DriftResult
    performance: tuple[Performance, ...] = ()
    probation: dict[str, Any] | None = None
    moved: str = ""
    decided: Decision | None = None
    evidently: str = ""


def flags_of(
    earlier: Sequence[Decision], champion: ModelVersion, latest: WindowFlag | None = None
) -> tuple[WindowFlag, ...]:
    """Return what the policy needs of this champion's windows, the newest last.

    Parameters
    ----------
    earlier
        Decisions of kind ``monitored``, newest first; the newest about a window counts.
    latest
        The window of this pass.
    """
    flags: dict[Window | None, WindowFlag] = {}
    worse: dict[Window | None, bool] = {}
    if latest is not None:
        flags[latest.window] = latest
    for decision in earlier:
        if decision.kind != "monitored" or decision.version != champion.version:
            continue
        for stated in decision.evidence.get("performance") or []:  # type: ignore[union-attr]
            performance = Performance.model_validate(stated)
            worse.setdefault(performance.window, performance.worse)
        drift = decision.evidence.get("drift")
        drifted = bool(drift.get("alarm")) if isinstance(drift, dict) else False
        enough = bool(decision.evidence.get("enough", True))
        flags.setdefault(
            decision.window, WindowFlag(window=decision.window, drifted=drifted, enough=enough)
        )
    told = [
        flag if flag is latest else flag.model_copy(update={"worse": worse.get(window, False)})
        for window, flag in flags.items()
    ]
    return tuple(sorted(told, key=lambda f: as_utc(f.window.start) if f.window else _NEVER))


def conclude_pass(
    pipeline: Pipeline,
    look: Look,
    snapshot: Snapshot,
    contract: ContractResult,
    found: Findings,
    prefect_run: str | None,
    now: datetime,
) -> MonitoringOutcome:
    """Ask the policy, record what was found, write the window's page and the MLflow steps."""
    from tasks.ledger.ledger import ledger_of

    ledger = ledger_of(pipeline)
    earlier = ledger.decisions(pipeline.config.name, kinds=("monitored", "trained"))
    reasons = reasons_of(found)
    decision = _policy(pipeline, look, found, earlier, now)
    run = _log(pipeline, look, snapshot, contract, found)
    page = page_folder(pipeline, look) / "index.html"
    outcome = MonitoringOutcome(
        pipeline=pipeline.config.name,
        version=look.champion.version,
        window=look.window,
        rows=snapshot.rows,
        alarm=bool(reasons),
        reasons=reasons,
        sentence=_sentence(found, reasons, look),
        drift=found.drift,
        performance=found.performance,
        decision=decision,
        moved=found.moved,
        correlation=look.cause.correlation,
        contract_warnings=len(contract.warnings),
        findings=snapshot.findings,
        report=str(page),
        evidently=found.evidently,
        mlflow_run_id=run,
        prefect_run_id=prefect_run,
        next_command=_next(pipeline, decision),
    )
    monitored = _monitored(pipeline, look, snapshot, contract, found, outcome, now)
    _write_page(monitored, page)
    store_of(pipeline.state).log_files(run, {f"windows/{page.parent.name}/{page.name}": page})
    ledger.record(monitored)
    if outcome.alarm:
        due = request_training(pipeline, cause_of(outcome, now), now) if decision.retrain else None
        ledger.record(alarm_of(pipeline, outcome, monitored, due))
    return outcome


def reasons_of(found: Findings) -> tuple[str, ...]:
    """Return why the window is an alarm; empty when it is none."""
    reasons = [found.drift.sentence] if found.drift.alarm else []
    reasons += [p.sentence for p in found.performance if p.worse]
    return tuple(reasons)


def alarm_key(outcome: MonitoringOutcome) -> str:
    """Return the idempotency key of what an alarm asks for."""
    return f"alarm:v{outcome.version}:{outcome.window or 'all'}"


def cause_of(outcome: MonitoringOutcome, now: datetime) -> Cause:
    """Return the cause of the training that an alarm asks for."""
    return Cause(
        kind="alarm",
        correlation=outcome.correlation,
        key=alarm_key(outcome),
        reasons=outcome.reasons,
        window=outcome.window,
        at=now.astimezone(UTC),
    )


def alarm_of(
    pipeline: Pipeline,
    outcome: MonitoringOutcome,
    monitored: Decision,
    due: datetime | None = None,
) -> Decision:
    """Return the decision that a window called for action; the same for the same window.

    Parameters
    ----------
    due
        When the outcome of the training that it asks for is due; None where it asks for none.
    """
    drift = outcome.drift
    return Decision(
        id=decision_id(pipeline.config.name, alarm_key(outcome), *_what(outcome)),
        pipeline=pipeline.config.name,
        kind="alarmed",
        at=monitored.at,
        correlation=outcome.correlation,
        sentence=outcome.sentence,
        version=outcome.version,
        window=outcome.window,
        data_digest=monitored.data_digest,
        contract_digest=monitored.contract_digest,
        prefect_run=monitored.prefect_run,
        mlflow_run=monitored.mlflow_run,
        evidence={
            "reasons": list(outcome.reasons),
            "columns": [c.model_dump(mode="json") for c in (drift.drifted[:10] if drift else ())],
            "retrain": outcome.decision.retrain,
            "answer_by": due.astimezone(UTC).isoformat() if due else None,
            "policy": outcome.decision.model_dump(mode="json"),
        },
        links=monitored.links,
    )


def _what(outcome: MonitoringOutcome) -> list[str]:
    drifted = ["drift"] if outcome.drift is not None and outcome.drift.alarm else []
    return [*drifted, *(f"worse {p.window}" for p in outcome.performance if p.worse)]


def _policy(
    pipeline: Pipeline,
    look: Look,
    found: Findings,
    earlier: Sequence[Decision],
    now: datetime,
) -> PolicyDecision:
    from tasks.monitoring.admission import answer

    latest = WindowFlag(
        window=look.window,
        drifted=found.drift.alarm,
        worse=any(p.worse for p in found.performance if p.window == look.window),
        enough=found.drift.enough,
    )
    stated = [
        decision.model_copy(update={"evidence": {**decision.evidence, "performance": []}})
        if decision.window in {p.window for p in found.performance}
        else decision
        for decision in earlier
    ]
    now_known = Decision(
        id="", pipeline=pipeline.config.name, kind="monitored", at=now, correlation="",
        sentence="", version=look.champion.version, window=look.window,
        evidence={"performance": [p.model_dump(mode="json") for p in found.performance]},
    )  # fmt: skip
    flags = flags_of([now_known, *stated], look.champion, latest)
    return answer(pipeline, "alarm", flags, earlier, look.champion, now, handled=False)


def _log(
    pipeline: Pipeline, look: Look, snapshot: Snapshot, contract: ContractResult, found: Findings
) -> str:
    from tasks.registry.observing import record_window

    return record_window(
        store_of(pipeline.state),
        pipeline.config.name,
        look.champion,
        look.window,
        found.drift,
        found.performance,
        {
            "keepfit.window": str(look.window or "all rows"),
            "keepfit.correlation": look.cause.correlation,
            "keepfit.data_digest": snapshot.digest[:_DIGITS],
            "keepfit.contract_digest": contract.contract_digest[:_DIGITS],
        },
    )


def _monitored(
    pipeline: Pipeline,
    look: Look,
    snapshot: Snapshot,
    contract: ContractResult,
    found: Findings,
    outcome: MonitoringOutcome,
    now: datetime,
) -> Decision:
    evidence: dict[str, Any] = {
        "rows": snapshot.rows,
        "alarm": outcome.alarm,
        "enough": found.drift.enough,
        "reasons": list(outcome.reasons),
        "drift": found.drift.model_dump(mode="json", exclude={"seconds"}),
        "performance": [p.model_dump(mode="json") for p in found.performance],
        "contract": {
            "passed": contract.passed,
            "broken": [],
            "warnings": [f"{r.column}: {r.rule}" for r in contract.warnings],
        },
        "policy": outcome.decision.model_dump(mode="json"),
        "probation": found.probation,
        "notes": [*look.notes, *map(note_text, snapshot.findings)],
    }
    name = pipeline.config.name
    stated = Decision(
        id="",
        pipeline=name,
        kind="monitored",
        at=now.astimezone(UTC),
        correlation=look.cause.correlation,
        sentence=outcome.sentence,
        version=look.champion.version,
        window=look.window,
        data_digest=snapshot.digest,
        contract_digest=contract.contract_digest,
        config_digest=pipeline.digest,
        prefect_run=outcome.prefect_run_id or "",
        mlflow_run=outcome.mlflow_run_id,
        evidence=evidence,
        links=links_of(pipeline, outcome),
    )
    # The same statement about the same rows is made once.
    said = hashlib.sha256(stated.model_dump_json(include={"evidence"}).encode()).hexdigest()
    parts = (name, "monitored", look.champion.version, str(look.window), snapshot.digest, said)
    return stated.model_copy(update={"id": decision_id(*parts)})


def links_of(pipeline: Pipeline, outcome: MonitoringOutcome) -> dict[str, str]:
    """Return what to open about a pass."""
    from tasks.registry.observing import experiment_name

    store = store_of(pipeline.state)
    experiment = store.experiment(experiment_name(pipeline.config.name))
    links = {
        "report": outcome.report,
        "evidently": outcome.evidently,
        "mlflow": mlflow_run_page(pipeline.state, experiment, outcome.mlflow_run_id) or "",
        "prefect": prefect_run_page(pipeline.state, outcome.prefect_run_id or "") or "",
    }
    return {name: link for name, link in links.items() if link}


def _write_page(monitored: Decision, page: Any) -> None:
    from tasks.history.window_page import window_html

    write_whole(page, window_html(monitored))


def _sentence(found: Findings, reasons: Sequence[str], look: Look) -> str:
    if reasons:
        return _said(*reasons)
    if not found.drift.enough:
        return _said(found.drift.sentence)
    judged = next((p for p in found.performance if p.window == look.window), None)
    return _said(found.drift.sentence, judged.sentence if judged is not None else "")


def _said(*parts: str) -> str:
    """Return parts as sentences.

    Examples
    --------
    >>> _said("no drift", "", "Too few labels.")
    'No drift. Too few labels.'
    """
    told = [part.strip().rstrip(".") for part in parts if part.strip()]
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in told)


def _next(pipeline: Pipeline, decision: PolicyDecision) -> str:
    file = pipeline.path
    return f"keepfit run {file}" if decision.retrain else f"keepfit status {file}"
