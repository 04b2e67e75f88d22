"""The evidence of an alarm, read from the decisions of its monitoring pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from expectations.text.phrases import say_share
from tasks.base.monitoring_records import (
    ColumnFinding,
    Decision,
    DriftResult,
    Gain,
    GainAnswer,
    Performance,
    PolicyDecision,
    Window,
)
from tasks.base.text.phrases import plural
from tasks.base.training_records import MetricValue
from tasks.monitoring.alerts.markup import cleaned, code, listed
from tasks.policy.gain_sentences import gain_method, gain_sentence
from tasks.policy.triggers import triggers_of

_MOST_COLUMNS = 5


@dataclass(frozen=True)
class Moved:
    """Findings of one window."""

    window: str = ""
    names: tuple[str, ...] = ()  # the columns that moved most, with figures if there are any
    drifted: int = 0  # drifted, columns: features that drifted, of how many; 0: not known
    columns: int = 0
    predictions: bool = False
    performance: Performance | None = None
    withheld: str = ""  # withheld, policy: why nothing is trained: a word, a sentence
    policy: str = ""
    since: str = ""  # when it began, as a sentence
    others: tuple[Window, ...] = ()  # earlier windows that the same alarm reports, oldest first
    gain: Gain | None = None  # gain, weighed: of retraining, and its verdict, if measured
    weighed: GainAnswer = ""
    harm: str = ""  # why what moved could hurt, as a sentence; empty where it could not


def moved(alarm: Decision, related: Sequence[Decision]) -> Moved:
    """Return the findings behind an alarm, from it and from what was monitored around it."""
    looked = [d for d in related if d.kind == "monitored" and d.window == alarm.window]
    own = [d for d in looked if d.correlation == alarm.correlation]
    monitored = max(own or looked, key=lambda d: d.at, default=None)
    drift = monitored.read(DriftResult, "drift") if monitored else None
    features = [c for c in drift.columns if c.role == "feature"] if drift else []
    found = [c for c in drift.drifted if c.role == "feature"] if drift else []
    answered = alarm if alarm.evidence.get("policy") or monitored is None else monitored
    stated, decided = answered.part("policy"), answered.read(PolicyDecision, "policy")
    return Moved(
        window=str(alarm.window) if alarm.window else "",
        names=tuple(_described(c) for c in found) or _named(alarm),
        drifted=len(found),
        columns=len(features),
        predictions=any(c.role == "prediction" for c in drift.drifted) if drift else False,
        performance=_performance(alarm, monitored),
        withheld=str(stated.get("withheld") or alarm.evidence.get("withheld") or ""),
        policy=str(stated.get("sentence") or "").rstrip("."),
        since=_since(alarm, related),
        others=_others(alarm),
        gain=decided.gain if decided is not None else None,
        weighed=decided.weighed if decided is not None else "",
        harm=drift.harm_sentence if drift is not None and drift.harmful else "",
    )


def is_upkeep(alarm: Decision) -> bool:
    """Return whether an alarm only requests a refit because the champion ages."""
    # It is not reported: a replaced champion is.
    triggers = triggers_of(alarm)
    decided = alarm.read(PolicyDecision, "policy")
    return (
        bool(triggers)
        and all(trigger.by == "gain" for trigger in triggers or ())
        and bool(alarm.evidence.get("retrain"))
        and decided is not None
        and decided.weighed == "ages"
    )


def what_moved(found: Moved) -> str:
    """Return the columns that moved, and why that could hurt; empty where none and nothing did."""
    harm = cleaned(f"{found.harm[:1].upper()}{found.harm[1:]}", 400)
    if not found.names:
        return harm
    shown, left = found.names[:_MOST_COLUMNS], len(found.names) - _MOST_COLUMNS
    count = f"{found.drifted} of {found.columns} columns moved" if found.drifted else "moved"
    where = f" in {found.window}" if found.window else ""
    also = "; the predictions moved too" if found.predictions else ""
    more = [f"and {left} more"] if left > 0 else []
    text = f"{count}{where}{also}:{listed([*shown, *more])}"
    return f"{harm}. {text}" if harm else text


def gain_statement(found: Moved) -> str:
    """Return the gain of retraining and how it was measured; empty where it was not."""
    if found.gain is None or found.gain.gain is None:
        return ""
    gain = gain_sentence(found.gain, found.weighed)
    return cleaned(f"{gain[0].upper()}{gain[1:]}. {gain_method(found.gain)}.", 600)


def statement(performance: Performance | None) -> str:
    """Return realised, else estimated, performance beside the usual one; empty without."""
    if performance is None:
        return ""
    value, how = performance.realised, "realised"
    if value is None or value.value is None:
        value, how = performance.estimated, "estimated, labels are not there yet"
    if value is None or value.value is None:
        return ""
    usual = performance.reference
    beside = f", {number(usual.value)} on its holdout" if usual and number(usual.value) else ""
    return f"{code(performance.metric)} {_with_interval(value)} {how}{beside}."


def number(value: JsonValue) -> str:
    """Return a finite number in three figures; empty for anything else.

    >>> number(0.69081), number(None), number(True)
    ('0.691', '', '')
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _with_interval(value: MetricValue) -> str:
    low, high = number(value.low), number(value.high)
    return number(value.value) + (f" ({low} to {high})" if low and high else "")


def _described(column: ColumnFinding) -> str:
    figure, usual = number(column.statistic), number(column.threshold)
    facts = []
    if figure:
        facts.append(f"{figure}, usual up to {usual}" if usual else figure)
    missing, before = column.missing or 0.0, column.missing_reference or 0.0
    if missing > before + 0.05:
        facts.append(f"{say_share(missing)} missing, was {say_share(before)}")
    if column.unseen:
        facts.append(f"{plural(column.unseen, 'row')} of new categories")
    if not facts:
        facts = [cleaned(note, 60) for note in column.notes[:1]]
    return code(column.column, 40) + (f" ({'; '.join(facts)})" if facts else "")


def _named(alarm: Decision) -> tuple[str, ...]:
    columns = alarm.evidence.get("columns")
    names = [
        item.get("column") if isinstance(item, dict) else item
        for item in (columns if isinstance(columns, list) else [])
    ]
    return tuple(code(name, 40) for name in names if isinstance(name, str))


def _performance(alarm: Decision, monitored: Decision | None) -> Performance | None:
    stated = alarm if alarm.evidence.get("performance") or monitored is None else monitored
    found = stated.read_all(Performance, "performance")
    worse = [p for p in found if p.worse]
    own = [p for p in found if p.window == alarm.window]
    return next(iter(worse or own), None)


def _others(alarm: Decision) -> tuple[Window, ...]:
    found = {t.window for t in triggers_of(alarm) or () if t.window is not None}
    return tuple(sorted(found - {alarm.window}, key=lambda w: w.start))


def _since(alarm: Decision, related: Sequence[Decision]) -> str:
    """Return since when every window called for action, latest window first."""
    if alarm.window is None:
        return ""
    latest = {
        d.window: bool(d.evidence.get("alarm"))
        for d in sorted(related, key=lambda d: d.at)
        if d.kind == "monitored" and d.window is not None and d.window.end <= alarm.window.start
    }
    first, count = alarm.window, 1
    for window in sorted(latest, key=lambda w: w.start, reverse=True):
        if not latest[window]:
            break
        first, count = window, count + 1
    began = f"{first.start:%Y-%m-%d %H:%M} UTC"
    return f"{began}, {count} windows in a row." if count > 1 else f"{began}, this window only."
