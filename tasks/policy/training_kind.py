"""Whether a training refits the champion or searches anew: a pure function of records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.base.monitoring_records import CauseKind, Decision, WindowFlag
from tasks.base.settings.monitoring import PolicyConfig
from tasks.base.training_records import TrainingKind
from tasks.base.utc_times import as_utc
from tasks.policy.retraining import is_newer


@dataclass(frozen=True)
class LastTraining:
    """The last training and its outcome."""

    kind: TrainingKind
    promoted: bool
    # Time of the newest row that it saw; None where it is not known.
    seen_until: datetime | None = None

    @classmethod
    def of(cls, decisions: Sequence[Decision]) -> LastTraining | None:
        """Return the newest among `decisions`, the newest first; None where there is none."""
        trained = next((d for d in decisions if d.kind == "trained"), None)
        if trained is None:
            return None
        until = trained.evidence.get("seen_until")
        return cls(
            kind="refit" if trained.evidence.get("training") == "refit" else "search",
            promoted=trained.part("verdict").get("promoted") is True,
            seen_until=datetime.fromisoformat(until) if isinstance(until, str) else None,
        )


@dataclass(frozen=True)
class Chosen:
    """Refit or search, and why."""

    kind: TrainingKind
    reason: str


def choose_kind(
    policy: PolicyConfig,
    cause: CauseKind,
    *,
    refit: bool,
    last: LastTraining | None,
    windows: Sequence[WindowFlag],
    by: Sequence[str] = (),
) -> Chosen:
    """Return whether a training that is done refits the champion or searches anew.

    An alarm leads to a refit, unless the last training was one that did not help: the gate
    refused it, or the champion did worse than it should in a window since. The calendar and a
    person search, unless a refit is requested.

    `refit`: whether the request is for a refit; `last`: None before the first training; `windows`:
    monitored windows of the champion, the newest last; `by`: what called for the training: a gain
    is of the champion's own recipe on newer rows, so a refit is apt even where the last one was
    refused.

    >>> choose_kind(PolicyConfig(), "alarm", refit=False, last=None, windows=()).kind
    'refit'
    >>> refused = LastTraining("refit", promoted=False)
    >>> choose_kind(PolicyConfig(), "alarm", refit=False, last=refused, windows=())
    Chosen(kind='search', reason='the last refit was refused')
    """
    if refit:
        return Chosen("refit", "requested by hand" if cause == "manual" else "the refit calendar")
    if cause != "alarm":
        return Chosen("search", "the calendar" if cause == "schedule" else "requested by hand")
    if policy.answer == "search":
        return Chosen("search", "policy.answer is search")
    if last is not None and last.kind == "refit":
        if not last.promoted and "gain" not in by:
            return Chosen("search", "the last refit was refused")
        until = last.seen_until
        worse = [flag for flag in windows if flag.enough and flag.worse]
        if any(until is None or is_newer(flag, as_utc(until)) for flag in worse):
            return Chosen("search", "performance is out of its range since the last refit")
    return Chosen("refit", "an alarm leads to a refit first")
