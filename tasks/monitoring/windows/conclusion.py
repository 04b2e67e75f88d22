"""The end of a monitoring pass: the policy's decision, the records, the pages, the MLflow run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.base.command_results import MonitoringOutcome, SeenWindow
from tasks.base.errors import ContractError
from tasks.base.monitoring_records import (
    CALLING,
    Cause,
    Decision,
    DriftResult,
    Gain,
    Performance,
    PolicyDecision,
    Window,
    decision_id,
)
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.files import write_whole
from tasks.base.servers.stack_file import mlflow_run_page, prefect_is_named, prefect_run_page
from tasks.base.settings.monitoring import PolicyConfig
from tasks.base.source_notes import note_text
from tasks.base.text.commands import command
from tasks.base.text.phrases import plural
from tasks.base.training_records import ContractResult, ModelVersion, Record, Snapshot
from tasks.contracts.snapshot_check import describe
from tasks.monitoring.incidents.run_outcomes import request_training
from tasks.monitoring.monitored_window import Look, Watch
from tasks.monitoring.windows.monitoring_run import page_folder
from tasks.policy.admission import answer, answer_alarm, with_kind
from tasks.policy.gain_rule import weigh
from tasks.policy.gain_sentences import gain_sentence
from tasks.policy.triggers import Trigger, Watched, newest_of, untold, watched
from tasks.registry.open_pipeline import OpenPipeline
from tasks.registry.tracking.monitoring_runs import experiment_name, record_window

_DIGITS = 16
_NOT_YET = PolicyDecision(
    retrain=False, withheld="not asked", sentence="The policy decides after the newest window."
)


class Findings(Record):
    """Findings of the steps of a pass."""

    drift: DriftResult
    performance: tuple[Performance, ...] = ()
    gain: Gain | None = None
    probation: dict[str, Any] | None = None
    moved: str = ""
    decided: Decision | None = None
    evidently: str = ""


def conclude_look(
    pipeline: OpenPipeline,
    look: Look,
    snapshot: Snapshot,
    contract: ContractResult,
    found: Findings,
    prefect_run: str | None,
    now: datetime,
    html_of: Callable[[Decision], str],
) -> MonitoringOutcome:
    """Record the findings on one window, write its page (by `html_of`) and the MLflow steps."""
    # The policy decides only where the pass ends with this window, of the version that scores.
    kinds = ("monitored", "trained", "alarmed")
    earlier = pipeline.ledger.decisions(pipeline.config.name, kinds=kinds) if look.last else ()
    reasons = reasons_of(found, look, earlier, pipeline.config.policy)
    gone = found.decided is not None and found.decided.kind == "rolled_back"
    ends = look.last and not gone
    decision = _policy(pipeline, look, found, earlier, now) if ends else _NOT_YET
    run = record_window(
        pipeline.store,
        pipeline.config.name,
        look.champion,
        look.window,
        found.drift,
        found.performance,
        found.gain,
        {
            "keepfit.window": str(look.window or "all rows"),
            "keepfit.correlation": look.cause.correlation,
            "keepfit.data_digest": snapshot.digest[:_DIGITS],
            "keepfit.contract_digest": contract.contract_digest[:_DIGITS],
        },
    )
    page = page_folder(pipeline, look) / "index.html"
    outcome = MonitoringOutcome(
        pipeline=pipeline.config.name, version=look.champion.version, window=look.window,
        rows=snapshot.rows, alarm=bool(reasons), reasons=reasons,
        sentence=_sentence(found, reasons, look), drift=found.drift,
        performance=found.performance, gain=found.gain, decision=decision, moved=found.moved,
        correlation=look.cause.correlation, contract_warnings=len(contract.warnings),
        findings=snapshot.findings, report=str(page), evidently=found.evidently,
        mlflow_run_id=run, prefect_run_id=prefect_run, next_command=_next(pipeline, decision),
    )  # fmt: skip
    monitored = _monitored(pipeline, look, snapshot, contract, found, outcome, now)
    write_whole(page, html_of(monitored))
    pipeline.store.log_files(run, {f"windows/{page.parent.name}/{page.name}": page})
    pipeline.ledger.record(monitored)
    _restate_pages(found, look, earlier, html_of)
    return outcome


def _restate_pages(
    found: Findings, look: Look, earlier: Sequence[Decision], html_of: Callable[[Decision], str]
) -> None:
    """Write the pages of earlier windows again whose performance this pass restated."""
    for performance in found.performance:
        if performance.window == look.window:
            continue
        stated = next(
            (
                d
                for d in earlier
                if d.kind == "monitored"
                and d.window == performance.window
                and d.version == look.champion.version
            ),
            None,
        )
        page = Path(stated.links.get("report", "")) if stated is not None else None
        if stated is not None and page is not None and page.is_file():
            evidence = {**stated.evidence, "performance": [performance.model_dump(mode="json")]}
            write_whole(page, html_of(stated.model_copy(update={"evidence": evidence})))


def stopped_look(pipeline: Pipeline, look: Look, sentence: str) -> MonitoringOutcome:
    """Return the outcome of a window whose rows broke their contract."""
    return MonitoringOutcome(
        pipeline=pipeline.config.name, version=look.champion.version, window=look.window,
        rows=0, alarm=False, stopped=True, sentence=sentence, decision=_NOT_YET,
        correlation=look.cause.correlation,
        next_command=command("contract", "check", file=pipeline.path),
    )  # fmt: skip


def conclude_pass(
    pipeline: OpenPipeline, watch: Watch, seen: Sequence[MonitoringOutcome], now: datetime
) -> MonitoringOutcome:
    """Return the newest window's outcome with all windows of the pass; record one alarm for all."""
    # The alarm reports every window of the champion that calls for action and was not reported
    # before: windows of this pass, earlier ones whose labels have arrived, and those of a pass that
    # was cut short. No alarm is raised for a version replaced during the pass.
    newest = seen[-1]
    successor = None if any(one.moved for one in seen) else _successor(pipeline, newest)
    if successor is not None:
        sentence = (
            f"Does not train: v{successor.version} replaced v{newest.version} while its windows "
            "were looked at; the next pass looks at the new champion's."
        )
        gone = PolicyDecision(retrain=False, withheld="superseded", sentence=sentence)
        return _of_pass(watch, seen, gone, alarmed=False)
    champion = watch.looks[-1].champion
    if newest.version != champion.version:
        # The probation moved the alias back during this pass.
        champion = pipeline.store.version(pipeline.config.name, newest.version) or champion
    earlier = pipeline.ledger.decisions(
        pipeline.config.name, kinds=("monitored", "trained", "alarmed")
    )
    known, policy = watched(earlier, champion), pipeline.config.policy
    decision = newest.decision
    fresh = untold(known.triggers(policy), earlier, champion)
    if newest.stopped or (fresh and not decision.retrain):
        calls = newest_of(fresh)
        flags = known.flags()
        decision = answer_alarm(pipeline, flags, calls, earlier, champion, now, handled=False)
        decision = with_kind(pipeline, decision, "alarm", earlier, flags)
    outcome = _of_pass(watch, seen, decision, alarmed=bool(fresh))
    if not newest.stopped:
        outcome = outcome.model_copy(update={"next_command": _next(pipeline, decision)})
    if not (fresh or newest.alarm or decision.retrain):
        return outcome
    calling = fresh or known.triggers(policy)
    window = newest_of(calling) if calling else newest.window
    cause = _cause(outcome, window, known, calling, policy, now)
    outcome = outcome.model_copy(update={"cause": cause})
    answered = decision.retrain and prefect_is_named()
    due = request_training(pipeline, cause, now) if answered else None
    if fresh:
        pipeline.ledger.record(_alarm(pipeline, outcome, known, fresh, earlier, due))
    return outcome


def _successor(pipeline: OpenPipeline, newest: MonitoringOutcome) -> ModelVersion | None:
    """Return the version that scores by now, where it is another than the one looked at."""
    scores = pipeline.store.champion(pipeline.config.name)
    return scores if scores is not None and scores.version != newest.version else None


def _of_pass(
    watch: Watch, seen: Sequence[MonitoringOutcome], decision: PolicyDecision, *, alarmed: bool
) -> MonitoringOutcome:
    return seen[-1].model_copy(
        update={
            "decision": decision,
            "windows": tuple(seen_of(one) for one in seen),
            "waiting": watch.waiting,
            "empty": watch.empty,
            "alarmed": alarmed,
        }
    )


def seen_of(outcome: MonitoringOutcome) -> SeenWindow:
    """Return the short account of one window."""
    drift = outcome.drift
    return SeenWindow(
        window=outcome.window,
        version=outcome.version,
        rows=outcome.rows,
        alarm=outcome.alarm,
        stopped=outcome.stopped,
        enough=drift.enough if drift else False,
        score=drift.score if drift else None,
        limit=drift.limit if drift else None,
        drifted=tuple(c.column for c in drift.drifted) if drift else (),
        performance=outcome.latest,
        sentence=outcome.sentence,
        report=outcome.report,
    )


def reasons_of(
    found: Findings, look: Look, earlier: Sequence[Decision], policy: PolicyConfig
) -> tuple[str, ...]:
    """Return why the window is an alarm, the gain first; empty when it is none."""
    # An earlier window that turned out worse by its labels is one until an alarm reported it.
    drift, answer = found.drift, weigh(policy, found.gain)
    pays = found.gain is not None and answer in CALLING
    reasons = [f"{gain_sentence(found.gain, answer)}."] if pays and found.gain else []
    reasons += [drift.harm_sentence or drift.sentence] if drift.harmful else []
    worse = [p for p in found.performance if p.worse]
    restated = [Trigger(window=p.window, by="performance") for p in worse]
    fresh = untold(restated, earlier, look.champion)
    reasons += [p.sentence for p in worse if p.window == look.window]
    reasons += [
        _restated(p)
        for p, trigger in zip(worse, restated, strict=True)
        if p.window != look.window and trigger in fresh
    ]
    return tuple(reasons)


def _restated(found: Performance) -> str:
    """Return that an earlier window turned out worse when its labels arrived."""
    value = found.realised.value if found.realised is not None else None
    figures = "" if value is None else f": {found.metric} {value:.4g}"
    limit = "" if found.limit is None else f", worse beyond {found.limit:.4g}"
    return f"{found.window} turned out worse when its labels arrived{figures}{limit}"


def stop_of(error: ContractError, outcome: MonitoringOutcome) -> ContractError:
    """Return the error of a pass whose newest window was stopped, with how many others were."""
    others = sum(one.stopped for one in outcome.windows[:-1])
    judged = len(outcome.windows) - 1 - others
    text = f"Rows of {outcome.window}: {error.message}"
    if others:
        text += f"\n  Of {plural(others, 'earlier window')} of this pass the rows broke it too."
    if judged:
        text += f"\n  {plural(judged, 'earlier window')} of this pass could be judged."
    stop = ContractError(text, error.remedy)
    stop.noted = True
    return stop


def alarm_key(version: str, window: Window | None) -> str:
    """Return the idempotency key of the training that an alarm requests."""
    return f"alarm:v{version}:{window or 'all'}"


def _cause(
    outcome: MonitoringOutcome,
    window: Window | None,
    known: Watched,
    calling: Sequence[Trigger],
    policy: PolicyConfig,
    now: datetime,
) -> Cause:
    """Return the cause of the training that an alarm requests: its newest window's."""
    reasons = (
        tuple(
            known.reason(t, policy)
            for t in sorted(calling, key=lambda t: t.by != "gain")
            if t.window == window or t.by == "gain"
        )
        or outcome.reasons
    )
    return Cause(
        kind="alarm", correlation=outcome.correlation, key=alarm_key(outcome.version, window),
        reasons=reasons, window=window, at=now.astimezone(UTC),
    )  # fmt: skip


def _alarm(
    pipeline: Pipeline,
    outcome: MonitoringOutcome,
    known: Watched,
    fresh: Sequence[Trigger],
    earlier: Sequence[Decision],
    due: datetime | None,
) -> Decision:
    """Return the decision that windows call for action; the same for the same windows."""
    # `due`: when the outcome of the training that it requests is due; None where it requests none.
    cause = outcome.cause
    assert cause is not None  # noqa: S101 - the caller made it
    monitored = next(
        (d for d in earlier if d.kind == "monitored" and d.window == cause.window), None
    )
    drift = monitored.read(DriftResult, "drift") if monitored is not None else None
    # Its trigger, or what the decision rests on.
    gain = known.gain if any(t.by == "gain" for t in fresh) else outcome.decision.gain
    worse = [known.performances[t.window] for t in fresh if t.by == "performance"]
    others = len({t.window for t in fresh} - {cause.window})
    more = f"{others} earlier window{'s' if others > 1 else ''} called for it too" if others else ""
    what = sorted(f"{t.by} {t.window}" for t in fresh)
    return Decision(
        id=decision_id(pipeline.config.name, cause.key, *what),
        pipeline=pipeline.config.name,
        kind="alarmed",
        at=cause.at,
        correlation=outcome.correlation,
        sentence=_sentences(*cause.reasons, more),
        version=outcome.version,
        window=cause.window,
        data_digest=monitored.data_digest if monitored else "",
        contract_digest=monitored.contract_digest if monitored else "",
        prefect_run=outcome.prefect_run_id or "",
        mlflow_run=monitored.mlflow_run if monitored else "",
        evidence={
            "reasons": list(cause.reasons),
            "columns": [c.model_dump(mode="json") for c in drift.drifted[:10]] if drift else [],
            "performance": [p.model_dump(mode="json") for p in reversed(worse)],
            "triggers": [t.model_dump(mode="json") for t in fresh],
            "retrain": outcome.decision.retrain,
            "answer_by": due.astimezone(UTC).isoformat() if due else None,
            "policy": outcome.decision.model_dump(mode="json"),
            "gain": None if gain is None else gain.model_dump(mode="json"),
        },
        links=monitored.links if monitored else {},
    )


def _policy(
    pipeline: OpenPipeline, look: Look, found: Findings, earlier: Sequence[Decision], now: datetime
) -> PolicyDecision:
    known_now = Decision(
        id="", pipeline=pipeline.config.name, kind="monitored", at=now, correlation="",
        sentence="", version=look.champion.version, window=look.window, evidence=_measured(found),
    )  # fmt: skip
    flags = watched([known_now, *earlier], look.champion).flags()
    found_now = answer(pipeline, "alarm", flags, earlier, look.champion, now, handled=False)
    return with_kind(pipeline, found_now, "alarm", earlier, flags)


def _measured(found: Findings) -> dict[str, Any]:
    """Return what the steps measured, as evidence."""
    return {
        "enough": found.drift.enough,
        "drift": found.drift.model_dump(mode="json", exclude={"seconds"}),
        "performance": [p.model_dump(mode="json") for p in found.performance],
        "gain": None if found.gain is None else found.gain.model_dump(mode="json"),
    }


def _monitored(
    pipeline: OpenPipeline,
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
        "reasons": list(outcome.reasons),
        **_measured(found),
        "contract": {
            "passed": contract.passed,
            "broken": [],
            "warnings": [describe(r, sample=False).strip() for r in contract.warnings],
        },
        "policy": outcome.decision.model_dump(mode="json") if look.last else None,
        "probation": found.probation,
        "notes": [*look.notes, *map(note_text, snapshot.findings)],
    }
    if look.asked:
        evidence["asked"] = True
    name = pipeline.config.name
    stated = Decision(
        id="", pipeline=name, kind="monitored", at=now.astimezone(UTC),
        correlation=look.cause.correlation, sentence=outcome.sentence,
        version=look.champion.version, window=look.window, data_digest=snapshot.digest,
        contract_digest=contract.contract_digest, config_digest=pipeline.digest,
        prefect_run=outcome.prefect_run_id or "", mlflow_run=outcome.mlflow_run_id,
        evidence=evidence, links=links_of(pipeline, outcome),
    )  # fmt: skip
    # The same statement about the same rows is made once.
    digest = hashlib.sha256(stated.model_dump_json(include={"evidence"}).encode()).hexdigest()
    parts = (name, "monitored", look.champion.version, str(look.window), snapshot.digest, digest)
    return stated.model_copy(update={"id": decision_id(*parts)})


def links_of(pipeline: OpenPipeline, outcome: MonitoringOutcome) -> dict[str, str]:
    """Return the links of a pass."""
    experiment = pipeline.store.experiment(experiment_name(pipeline.config.name))
    links = {
        "report": outcome.report,
        "evidently": outcome.evidently,
        "mlflow": mlflow_run_page(pipeline.state, experiment, outcome.mlflow_run_id) or "",
        "prefect": prefect_run_page(pipeline.state, outcome.prefect_run_id or "") or "",
    }
    return {name: link for name, link in links.items() if link}


def _sentence(found: Findings, reasons: Sequence[str], look: Look) -> str:
    drift = found.drift
    if reasons:
        return _sentences(*reasons, "" if drift.sentence in reasons else drift.sentence)
    if not drift.enough:
        return _sentences(drift.sentence)
    judged = next((p for p in found.performance if p.window == look.window), None)
    performance = "" if judged is None else judged.sentence
    return _sentences(drift.sentence, drift.harm_sentence, performance)


def _sentences(*parts: str) -> str:
    """Return parts as sentences.

    >>> _sentences("no drift", "", "Too few labels.")
    'No drift. Too few labels.'
    """
    texts = [part.strip().rstrip(".") for part in parts if part.strip()]
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in texts)


def _next(pipeline: Pipeline, decision: PolicyDecision) -> str:
    if not decision.retrain:
        return command("status", file=pipeline.path)
    refit = ("--refit",) if decision.training == "refit" else ()
    return command("run", *refit, file=pipeline.path)
