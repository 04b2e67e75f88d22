"""Admission of a requested training: the policy's decision on the ledger's records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tasks.base.monitoring_records import (
    Cause,
    CauseKind,
    Decision,
    PolicyDecision,
    Window,
    WindowFlag,
    decision_id,
)
from tasks.base.pipeline_file import Pipeline
from tasks.base.training_records import ModelVersion
from tasks.ledger.training_outcomes import last_outcomes
from tasks.policy.retraining import decide
from tasks.policy.training_kind import LastTraining, choose_kind
from tasks.policy.triggers import watched
from tasks.registry.open_pipeline import OpenPipeline


def admit(
    pipeline: OpenPipeline, cause: Cause, now: datetime, *, refit: bool = False
) -> PolicyDecision:
    """Return whether a training for `cause` is done now; a refusal is recorded.

    The caller holds the pipeline's flight, so that no other request is decided at the same time.
    """
    name = pipeline.config.name
    earlier = pipeline.ledger.decisions(name, kinds=("monitored", "trained"))
    champion = pipeline.store.champion(name) if cause.kind == "alarm" else None
    flags = watched(earlier, champion).flags() if champion is not None else ()
    known = handled(earlier, cause)
    if cause.kind == "alarm":
        decision = answer_alarm(pipeline, flags, cause.window, earlier, champion, now, known)
    else:
        decision = answer(pipeline, cause.kind, flags, earlier, champion, now, known)
    if not decision.retrain:
        record_skip(pipeline, cause, decision, now)
        return decision
    return with_kind(pipeline, decision, cause.kind, earlier, flags, refit=refit)


def with_kind(
    pipeline: Pipeline,
    decision: PolicyDecision,
    cause: CauseKind,
    earlier: Sequence[Decision],
    flags: Sequence[WindowFlag],
    *,
    refit: bool = False,
) -> PolicyDecision:
    """Return `decision` with the kind of the training, where there is one."""
    if not decision.retrain:
        return decision
    last, policy = LastTraining.of(earlier), pipeline.config.policy
    kind = choose_kind(policy, cause, refit=refit, last=last, windows=flags, by=decision.by)
    return decision.model_copy(update={"training": kind.kind, "training_reason": kind.reason})


def answer(
    pipeline: OpenPipeline,
    cause: CauseKind,
    flags: Sequence[WindowFlag],
    earlier: Sequence[Decision],
    champion: ModelVersion | None,
    now: datetime,
    handled: bool,
) -> PolicyDecision:
    """Return the policy's decision, with what is known of the last training."""
    last = last_training(pipeline, earlier)
    return decide(
        pipeline.config.policy,
        cause=cause,
        now=now,
        windows=flags,
        last_training=last,
        new_rows=_new_rows(pipeline, earlier, champion),
        handled=handled,
        answered_until=seen_until(earlier),
    )


def answer_alarm(
    pipeline: OpenPipeline,
    flags: Sequence[WindowFlag],
    window: Window | None,
    earlier: Sequence[Decision],
    champion: ModelVersion | None,
    now: datetime,
    handled: bool,
) -> PolicyDecision:
    """Return the policy's decision now, or as of `window`, which calls for action.

    A pass that catches up judges windows in order, as if each had been watched in time.
    """
    latest = answer(pipeline, "alarm", flags, earlier, champion, now, handled)
    if latest.retrain or window is None or latest.withheld not in {"not asked", "persistence"}:
        return latest
    before = [flag for flag in flags if flag.window and flag.window.start <= window.start]
    then = answer(pipeline, "alarm", before, earlier, champion, now, handled)
    return then if then.retrain else latest


def handled(earlier: Sequence[Decision], cause: Cause) -> bool:
    """Return whether a training under the cause's key has ended already."""
    if not cause.key:
        return False
    return any(d.part("cause").get("key") == cause.key for d in earlier if d.kind == "trained")


def last_training(pipeline: Pipeline, earlier: Sequence[Decision]) -> datetime | None:
    """Return when the last training ended, by the ledger or, before there was one, its journal."""
    ends = [decision.at for decision in earlier if decision.kind == "trained"]
    ends += [outcome.finished for outcome in last_outcomes(pipeline.work, 1)]
    return max(ends, default=None)


def _new_rows(
    pipeline: OpenPipeline, earlier: Sequence[Decision], champion: ModelVersion | None
) -> int | None:
    """Return how many rows that were predicted are newer than the last training's."""
    if not pipeline.config.policy.min_new_rows:
        return None
    until = seen_until(earlier) or (champion.trained_until if champion is not None else None)
    if until is None:
        return None
    # Rows at that very time were seen: of daily rows all of a day.
    later = Window(start=until + timedelta(microseconds=1), end=datetime(9999, 1, 1, tzinfo=UTC))
    return pipeline.ledger.coverage(pipeline.config.name, later).rows


def seen_until(earlier: Sequence[Decision]) -> datetime | None:
    """Return the time of the newest row that the last training saw, fitted or held out."""
    for decision in earlier:
        stated = decision.evidence.get("seen_until")
        if decision.kind == "trained" and isinstance(stated, str):
            return datetime.fromisoformat(stated)
    return None


def record_skip(
    pipeline: OpenPipeline, cause: Cause, decision: PolicyDecision, now: datetime
) -> None:
    """Record that a requested training was not done."""
    name = pipeline.config.name
    parts = (name, "skipped", cause.key or cause.correlation, decision.withheld)
    skipped = Decision(
        id=decision_id(*parts),
        pipeline=name,
        kind="skipped",
        at=now.astimezone(UTC),
        correlation=cause.correlation,
        sentence=decision.sentence,
        window=cause.window,
        evidence={"withheld": decision.withheld, "cause": cause.model_dump(mode="json")},
    )
    pipeline.ledger.record(skipped)
