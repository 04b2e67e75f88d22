"""One word for how a pipeline is, the gravest that holds, and what it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from tasks.base.command_results import TrainingOutcome
from tasks.base.monitoring_records import Decision, Gain, GainAnswer, Performance, Window
from tasks.base.pipeline_file import Pipeline
from tasks.base.text.phrases import elapsed, listed, minute, span
from tasks.base.training_records import MetricValue, Record
from tasks.history import evidence
from tasks.history.schedule import FLOWS, time_before
from tasks.history.series import Point
from tasks.policy.gain_rule import weigh
from tasks.policy.gain_sentences import gain_sentence

_GRACE = timedelta(minutes=10)

Health = Literal[
    "healthy",
    "on probation",
    "retraining",
    "drifting",
    "falling",
    "stopped",
    "no champion",
    "stale",
]


class Champion(Record):
    """The version that scores now, as far as is recorded."""

    version: str
    since: datetime | None = None
    candidate: str = ""
    metric: str = ""
    score: MetricValue | None = None  # of the holdout, in `metric`; None where it is not recorded
    former: str | None = None  # the version it replaced
    # Who moved the alias without a decision in the ledger: a person by a command that was killed,
    # whose record the next pass writes, or anyone with write access to the registry.
    unrecorded: Literal["", "hand", "registry"] = ""


class LastRun(Record):
    """The last time that a flow did its work, or failed to."""

    at: datetime
    kind: str
    sentence: str


class DriftNow(Record):
    """The latest window that was looked at for drift."""

    window: Window | None
    at: datetime
    enough: bool
    # Whether what moved could hurt by `harm`; `score`, of the columns, may be below its limit.
    alarm: bool
    score: float | None
    limit: float | None
    columns: tuple[str, ...] = ()
    harm: str = ""


class AskedTraining(Record):
    """A requested training: when, and when its outcome is due, both in UTC."""

    at: datetime
    due: datetime | None = None


def last_runs(
    decisions: Iterable[Decision],
    outcomes: Sequence[TrainingOutcome] = (),
    served: datetime | None = None,
) -> dict[str, LastRun]:
    """Return flow to what it did last or how it failed; `served` over HTTP is a scoring too."""
    last: dict[str, LastRun] = {}
    for decision in sorted(decisions, key=lambda d: d.at):
        flow = evidence.flow_of(decision)
        if flow is not None:
            last[flow] = LastRun(at=decision.at, kind=decision.kind, sentence=decision.sentence)
    if outcomes and ("training" not in last or last["training"].at < outcomes[0].finished):
        newest = outcomes[0]
        kind = "promoted" if newest.verdict.promoted else "refused"
        last["training"] = LastRun(at=newest.finished, kind=kind, sentence=newest.verdict.sentence)
    if served is not None and ("scoring" not in last or last["scoring"].at < served):
        last["scoring"] = LastRun(
            at=served, kind="scored", sentence="Rows were predicted over HTTP."
        )
    return {flow: last[flow] for flow in FLOWS if flow in last}


def drift_now(shown: Sequence[Point]) -> DriftNow | None:
    """Return the drift of the newest window that was looked at."""
    looked = [p for p in shown if p.drift is not None]
    if not looked or (drift := looked[-1].drift) is None:
        return None
    return DriftNow(
        window=looked[-1].window,
        at=looked[-1].at,
        enough=drift.enough,
        alarm=drift.harmful,
        score=drift.score,
        limit=drift.limit,
        columns=tuple(c.column for c in drift.drifted),
        harm=drift.harm_sentence if drift.harmful else "",
    )


def performance_now(shown: Sequence[Point]) -> Performance | None:
    """Return the newest realised performance that is mature, else the newest estimate."""
    known = [p.performance for p in shown if p.performance is not None]
    mature = [p for p in known if p.mature and p.realised and p.realised.value is not None]
    stated = [p for p in known if p.estimated and p.estimated.value is not None]
    best = mature or stated or known
    return best[-1] if best else None


def gain_now(
    pipeline: Pipeline, champion: Champion | None, decisions: Sequence[Decision]
) -> tuple[Gain | None, GainAnswer]:
    """Return the champion's last measured gain and its conclusion, until a training acts on it."""
    if champion is None:
        return None, ""
    for decision in sorted(decisions, key=lambda d: d.at, reverse=True):
        gain = decision.read(Gain, "gain") if decision.kind == "monitored" else None
        if gain is None or gain.gain is None or gain.version != champion.version:
            continue
        answered = any(d.kind == "trained" and d.at > decision.at for d in decisions)
        return gain, "" if answered else weigh(pipeline.config.policy, gain)
    return None, ""


def judged(
    pipeline: Pipeline,
    champion: Champion | None,
    decisions: Sequence[Decision],
    last: Mapping[str, LastRun],
    shown: Sequence[Point],
    now: datetime,
    asked: AskedTraining | None = None,
) -> tuple[Health, str]:
    """Return the health of a pipeline in one word, the gravest that holds, and what it rests on."""
    if champion is None:
        return "no champion", "No version scores yet."
    broken = [run for run in last.values() if run.kind in ("stopped", "failed")]
    if broken:
        return "stopped", max(broken, key=lambda run: run.at).sentence
    if missed := overdue(pipeline, champion, last, now):
        return "stale", missed
    gain, weighed = gain_now(pipeline, champion, decisions)
    if gain is not None and weighed in ("pays", "steady"):
        sentence = gain_sentence(gain, weighed)
        return "falling", f"{sentence[0].upper()}{sentence[1:]}."
    performance = performance_now(shown)
    if performance is not None and performance.worse:
        return "falling", performance.sentence or "Performance is worse than on the holdout."
    drift = drift_now(shown)
    if drift is not None and drift.alarm:
        return "drifting", _moved(drift)
    if asked is not None and asked.due is not None:
        return "retraining", _awaited(asked)
    if on_probation(pipeline, champion, decisions):
        windows = pipeline.config.policy.probation
        return "on probation", (
            f"v{champion.version} is compared over {windows} windows with labels with "
            f"v{champion.former}; where that is a refit on probation itself, with the champion "
            "before them."
        )
    return "healthy", _nothing_found(drift)


def _moved(drift: DriftNow) -> str:
    if not drift.columns and drift.harm:
        return f"{span(drift.window)} {drift.harm}."
    what = listed(drift.columns, 3) or "The window as a whole"
    return f"{what} moved in {span(drift.window)}{drift.harm and f', which {drift.harm}'}."


def _awaited(asked: AskedTraining) -> str:
    return (
        f"An alarm requested a training on {minute(asked.at)} UTC; its outcome is due by "
        f"{minute(asked.due)}."
    )


def _nothing_found(drift: DriftNow | None) -> str:
    if drift is None:
        return "A new champion; no window was monitored yet."
    if not drift.enough:
        return f"{span(drift.window)} has too few rows for a judgement."
    if drift.columns:
        return f"{listed(drift.columns, 3)} moved in {span(drift.window)}, which is harmless."
    return f"Nothing moved in {span(drift.window)}."


def on_probation(pipeline: Pipeline, champion: Champion, decisions: Sequence[Decision]) -> bool:
    """Return whether the champion was promoted over another and not yet confirmed."""
    if not pipeline.config.policy.probation or champion.former is None or champion.since is None:
        return False
    return not any(
        d.kind in ("confirmed", "rolled_back")
        and d.version == champion.version
        and d.at >= champion.since
        for d in decisions
    )


def overdue(
    pipeline: Pipeline, champion: Champion, last: Mapping[str, LastRun], now: datetime
) -> str:
    """Return the overdue runs as a sentence; empty where nothing is overdue."""
    # A scheduled flow is overdue when it missed its last two times, and the older by more minutes
    # than a start of the stack or the run itself takes. Without a schedule, a champion is to be
    # looked at once in two windows.
    schedules = pipeline.config.schedules
    for flow in ("monitoring", "scoring"):
        expression = getattr(schedules, flow)
        begun = last[flow].at if flow in last else champion.since
        if expression is None or begun is None:
            continue
        due = min(
            time_before(expression, schedules.timezone, now, 2),
            time_before(expression, schedules.timezone, now - _GRACE, 1),
        )
        if begun < due:
            return f"{flow.capitalize()} was due on {minute(due)} UTC and did not run."
    window = pipeline.config.monitoring.window
    seen = last["monitoring"].at if "monitoring" in last else champion.since
    if schedules.monitoring is None and seen is not None and now - seen > 2 * window:
        ago = elapsed((now - seen).total_seconds())
        return f"No window was monitored for {ago}."
    return ""
