"""Health of each pipeline: its champion, its last runs, its findings now, and its next runs."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from shlex import quote

from pydantic import Field, ValidationError

from tasks.base.command_results import TrainingOutcome
from tasks.base.errors import InfrastructureError, ModelRefusedError
from tasks.base.monitoring_records import Decision, Gain, GainAnswer, Performance
from tasks.base.pipeline_file import Pipeline
from tasks.base.text.commands import command, working_on
from tasks.base.text.phrases import KINDS
from tasks.base.training_records import MetricValue, ModelVersion, Record, SetAside
from tasks.history import evidence
from tasks.history.evidence import MOVES, Accounts
from tasks.history.health import (
    AskedTraining,
    Champion,
    DriftNow,
    Health,
    LastRun,
    drift_now,
    gain_now,
    judged,
    last_runs,
    performance_now,
)
from tasks.history.health_cache import KeptHealth, inputs_digest, read_kept, write_kept
from tasks.history.schedule import next_runs
from tasks.history.series import points
from tasks.ledger.training_outcomes import last_outcomes
from tasks.registry.manual_promotion import moved_unrecorded
from tasks.registry.mlflow.shared_stores import (
    StoredChampions,
    intact_champion,
    stored_champions,
)
from tasks.scoring.quarantine_listing import waiting

_READ = ("monitored", "stopped", "failed", "trained", *MOVES, "confirmed")
_ANSWERS = ("trained", "skipped", "failed", "reaped", "cancelled", "stopped")
_RegistryAnswer = tuple[bool, ModelVersion | None, str]
_MOST_READ = 60  # the newest show how a pipeline is; what may be long ago is read by its kind


class PipelineHealth(Record):
    """Health of one pipeline."""

    pipeline: str
    health: Health  # health, reason: one word, and what it rests on
    reason: str
    champion: Champion | None
    age_days: float | None = None  # since the champion began to score, in days
    last: dict[str, LastRun] = Field({})
    drift: DriftNow | None = None
    performance: Performance | None = None  # of the newest window of which anything is known
    gain: Gain | None = None  # gain, weighed: of retraining as last measured; its conclusion
    weighed: GainAnswer = ""
    next_runs: dict[str, datetime] = Field({})  # flow to when its schedule runs it next, in UTC
    timezone: str = "UTC"
    stores: dict[str, int] = Field({})  # store to its size in bytes
    latest: tuple[Decision, ...] = ()  # the last decisions, newest first; no quiet windows
    # waiting, waiting_command: rows that broke their contract, were set aside and were not scored
    # since; what scores the oldest file of them; waiting_rules: what they broke.
    waiting: int = 0
    waiting_rules: tuple[str, ...] = ()
    waiting_command: str = ""
    asked: AskedTraining | None = None  # requested by an alarm, without an outcome yet
    state: str = ""
    fault: str = ""  # what is wrong with the file whose last valid version is in use
    next_command: str = ""  # what a person does next

    def answer(self) -> dict[str, object]:
        """Return the result for `keepfit status --json`."""
        shown = {"id", "kind", "at", "version", "sentence", "correlation"}
        values = self.model_dump(mode="json", exclude={"latest"})
        return {**values, "latest": [d.model_dump(mode="json", include=shown) for d in self.latest]}


def overview(
    pipelines: Sequence[Pipeline],
    *,
    sizes: Mapping[str, int] | None = None,
    champions: Mapping[str, ModelVersion | None] | None = None,
    now: datetime | None = None,
) -> tuple[PipelineHealth, ...]:
    """Return the health of each pipeline; `sizes` are its stores' bytes."""
    # `champions` holds what was read of the registry already.
    if not pipelines:
        return ()
    moment, state = now or datetime.now(UTC), pipelines[0].state
    shared = evidence.each_accounts(pipelines)
    ledgers: dict[str, tuple[Accounts, str]] = {}
    for ledger, of in shared:
        mark_of = ledger.change_marks()
        ledgers |= {p.config.name: (ledger, mark_of(p.config.name)) for p in of}
    stored = stored_champions(state)
    kept = read_kept(state) if shared else {}
    found = {}
    for pipeline in pipelines:
        name = pipeline.config.name
        answer = (
            (True, champions[name], "")
            if champions and name in champions
            else _ask(pipeline, stored)
        )
        given = ledgers.get(name, (evidence.NoAccounts(), ""))
        found[name] = _kept_or_made(pipeline, *given, answer, kept.get(name), moment)
    of_others = {name: one for name, one in kept.items() if moment < one.until}
    now_kept = of_others | {name: one for name, (one, _) in found.items()}
    if shared and now_kept != kept:
        write_kept(state, now_kept)
    return tuple(
        health.model_copy(
            update={"age_days": _age(health.champion, moment), "stores": dict(sizes or {})}
        )
        for _, health in found.values()
    )


def _kept_or_made(
    pipeline: Pipeline,
    ledger: Accounts,
    mark: str,
    answer: _RegistryAnswer,
    kept: KeptHealth | None,
    now: datetime,
) -> tuple[KeptHealth, PipelineHealth]:
    inputs = inputs_digest(pipeline, answer, mark)
    if kept is not None and kept.holds(inputs, now):
        with contextlib.suppress(ValidationError):
            return kept, PipelineHealth.model_validate_json(kept.health)
    health = _health_of(pipeline, ledger, answer, now)
    until = _holds_until(pipeline, health, now)
    text = ""
    with contextlib.suppress(ValueError):  # of characters that UTF-8 does not hold
        text = health.model_dump_json()
    return KeptHealth(inputs=inputs, made=now, until=until, health=text), health


def _holds_until(pipeline: Pipeline, health: PipelineHealth, now: datetime) -> datetime:
    """Return when the time alone may change a health: a run is due, or a window is missed."""
    ends = [now + timedelta(days=1), *health.next_runs.values()]
    seen = health.last.get("monitoring") or health.champion
    at = seen.at if isinstance(seen, LastRun) else seen.since if seen else None
    if pipeline.config.schedules.monitoring is None and at is not None:
        ends.append(at + 2 * pipeline.config.monitoring.window)
    return min(ends)


def _age(champion: Champion | None, now: datetime) -> float | None:
    """Return days."""
    since = champion.since if champion else None
    return (now - since).total_seconds() / 86_400 if since else None


def _health_of(
    pipeline: Pipeline,
    ledger: Accounts,
    answer: _RegistryAnswer,
    now: datetime,
) -> PipelineHealth:
    name = pipeline.config.name
    decisions = ledger.decisions(name, kinds=_READ, most=_MOST_READ)
    scored = ledger.decisions(name, kinds=("scored",), most=1)
    moves = ledger.decisions(name, kinds=(*MOVES, "confirmed"), most=20)
    trained = ledger.decisions(name, kinds=("trained",), most=50)
    outcomes = last_outcomes(pipeline.work, most=50)
    answered, registered, refused = answer
    champion = champion_of(moves, trained, outcomes, registered, moved_unrecorded(pipeline))
    gone = champion if answered and registered is None else None
    champion = None if gone else champion
    last = last_runs((*decisions, *scored), outcomes, ledger.answered_at(name))
    shown = [p for p in points(decisions) if champion is None or p.version == champion.version]
    aside = waiting(pipeline)
    asked = _asked(ledger, name)
    known = (*decisions, *moves, *trained)
    gain, weighed = gain_now(pipeline, champion, known)
    word, reason = judged(pipeline, champion, known, last, shown, now, asked)
    if gone is not None:
        reason = (
            f"v{gone.version} scored until it, or its alias, was deleted in MLflow: promote a "
            "version that is left, or train."
        )
    if refused:
        word, reason = "stopped", refused
    kinds = [kind for kind in KINDS if kind not in ("scored", "monitored")]
    return PipelineHealth(
        pipeline=name,
        health=word,
        reason=reason,
        champion=champion,
        last=last,
        drift=drift_now(shown),
        performance=performance_now(shown),
        gain=gain,
        weighed=weighed,
        next_runs=next_runs(pipeline.config.schedules, now),
        timezone=pipeline.config.schedules.timezone,
        latest=tuple(
            d
            for d in ledger.decisions(name, kinds=kinds, most=_MOST_READ)
            if not evidence.repeats_stop(d)
        )[:6],
        waiting=sum(kept.aside.rows for kept in aside),
        waiting_rules=tuple(dict.fromkeys(name for kept in aside for name in kept.aside.names)),
        waiting_command=_score_waiting(pipeline, aside[0].aside) if aside else "",
        asked=asked,
        state=str(pipeline.state),
        fault=pipeline.fault,
        next_command=_next_command(pipeline, champion, word),
    )


def _asked(ledger: Accounts, name: str) -> AskedTraining | None:
    """Return the training that the last alarm requested, while it has no outcome."""
    last = ledger.decisions(name, kinds=("alarmed",), most=1)
    if not last or not last[0].evidence.get("retrain"):
        return None
    if ledger.decisions(name, kinds=_ANSWERS, correlation=last[0].correlation, most=1):
        return None
    # A person's training answers the alarm too, under a correlation of its own.
    trained = ledger.decisions(name, kinds=("trained",), since=last[0].at, most=1)
    if trained:
        return None
    due = last[0].text("answer_by")
    return AskedTraining(at=last[0].at, due=datetime.fromisoformat(due) if due else None)


def _score_waiting(pipeline: Pipeline, aside: SetAside) -> str:
    """Return the command that scores rows set aside; both files may lie elsewhere by now."""
    if {rule.rule for rule in aside.rules} & {"present", "kind"}:
        return aside.score_command  # of the source: the rows lack what is wanted of them
    return f"{command('score', file=pipeline.path)} --input {quote(aside.file)}"


def _next_command(pipeline: Pipeline, champion: Champion | None, word: Health) -> str:
    if champion is None:
        return command("run", file=pipeline.path)
    verb = {"stale": "monitor", "healthy": "monitor", "retraining": "status"}.get(word, "why")
    return command(verb, file=pipeline.path)


def _ask(pipeline: Pipeline, stored: StoredChampions | None) -> _RegistryAnswer:
    """Return whether the registry responded, the version that scores by it, and why not."""
    if not evidence.has_registry(pipeline):
        return False, None, ""
    try:
        with working_on(pipeline.path):
            champion = intact_champion(pipeline, stored)
            if champion is not None:
                _registered(champion)  # a tag that cannot be read is a refusal too
    except InfrastructureError:
        return False, None, ""
    except ModelRefusedError as error:
        return False, None, str(error)
    return True, champion, ""


def champion_of(
    moves: Sequence[Decision],
    trained: Sequence[Decision],
    outcomes: Sequence[TrainingOutcome],
    known: ModelVersion | None = None,
    by_hand: Collection[str] = (),
) -> Champion | None:
    """Return the version that scores now: by the registry, else by the newest record."""
    # Records come newest first; moves `by_hand` were killed before they were recorded.
    version, since, former = _newest_move(moves, outcomes)
    if known is not None and known.version != version:
        mover = "hand" if known.version in by_hand else "registry" if moves or outcomes else ""
        return _registered(known).model_copy(update={"unrecorded": mover})
    if known is not None and not _recorded(known, trained):
        return _registered(known)
    if version is None:
        return None
    of_version = next((d for d in trained if d.version == version), None)
    if of_version is not None:
        return Champion(
            version=version,
            since=since,
            former=former,
            candidate=of_version.text("challenger"),
            metric=of_version.text("metric"),
            score=evidence.score_of(of_version),
        )
    outcome = next((o for o in outcomes if o.model and o.model.version == version), None)
    if outcome is None:
        return Champion(version=version, since=since, former=former)
    return Champion(
        version=version, since=since, former=former, candidate=outcome.challenger,
        metric=outcome.metric, score=outcome.metrics.get(outcome.metric),
    )  # fmt: skip


def _recorded(known: ModelVersion, trained: Sequence[Decision]) -> bool:
    """Return whether the newest training of this number made this version."""
    # A model that was deleted in MLflow and trained again counts its versions from 1.
    newest = next((d for d in trained if d.version == known.version), None)
    key = known.tags.get("keepfit.training_key", "")
    same = newest is None or newest.text("key").startswith(key)
    later = newest is not None and known.created is not None and newest.at >= known.created
    return same and (later or newest is None)


def _newest_move(
    moves: Sequence[Decision], outcomes: Sequence[TrainingOutcome]
) -> tuple[str | None, datetime | None, str | None]:
    move = next((d for d in moves if d.kind in MOVES and d.version), None)
    made = next((o for o in outcomes if o.verdict.promoted and o.model), None)
    if move is not None and (
        made is None
        or made.finished <= move.at
        or (made.model is not None and made.model.version == move.version)
    ):
        former = move.text("former") if move.kind == "promoted" else None
        return move.version, move.at, former or None
    if made is not None and made.model is not None:
        return made.model.version, made.finished, made.verdict.champion_version
    return (outcomes[0].champion_version if outcomes else None), None, None


def _registered(version: ModelVersion) -> Champion:
    former = version.tags.get("keepfit.replaced", "none")
    return Champion(
        version=version.version,
        since=version.promoted_at or version.created,
        candidate=version.tags.get("keepfit.candidate", ""),
        metric=version.tags.get("keepfit.metric", ""),
        score=None if version.score is None else MetricValue(value=version.score),
        former=None if former == "none" else former,
    )
