"""Decisions as the pages show them: a sentence, its evidence as text, and links."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from tasks.base.monitoring_records import (
    Cause,
    ColumnFinding,
    Decision,
    DriftResult,
    Gain,
    Performance,
    PolicyDecision,
    is_of_prefect,
)
from tasks.base.text.numbers import metric_words, number, seconds
from tasks.base.text.phrases import (
    KINDS,
    Tone,
    brief,
    differing,
    listed,
    minute,
    plural,
    span,
    valued,
)
from tasks.base.training_records import Verdict
from tasks.history import evidence
from tasks.policy.gain_sentences import gain_sentence

MOST_COLUMNS = 12
_LONGEST = 400
_DIGITS = 16


@dataclass(frozen=True)
class Fact:
    """A name and what is known of it; `exact` text is shown as code."""

    name: str
    text: str
    exact: bool = False


@dataclass(frozen=True)
class Entry:
    """One decision on a page."""

    anchor: str  # its place in the page
    at: datetime
    kind: str
    word: str
    tone: Tone
    pipeline: str  # name, and number among the pipelines of the page
    place: int
    sentence: str
    facts: tuple[Fact, ...]
    columns: tuple[ColumnFinding, ...]
    more_columns: int
    rules: tuple[str, ...]
    # Word, address or None, and target as it was recorded.
    links: tuple[tuple[str, str | None, str], ...]
    # Anchor, word and time of the other decisions with the same correlation.
    chain: tuple[tuple[str, str, str], ...] = ()


def entry(
    decision: Decision,
    place: int,
    links: tuple[tuple[str, str | None, str], ...],
    chain: tuple[tuple[str, str, str], ...] = (),
) -> Entry:
    """Return a decision as text."""
    word, tone = KINDS[decision.kind]
    columns = moved_columns(decision)
    return Entry(
        anchor=anchor(decision), at=decision.at, kind=decision.kind, word=word, tone=tone,
        pipeline=decision.pipeline, place=place, sentence=decision.sentence,
        facts=facts(decision), columns=columns[:MOST_COLUMNS],
        more_columns=max(0, len(columns) - MOST_COLUMNS), rules=evidence.broken_rules(decision),
        links=links, chain=chain,
    )  # fmt: skip


def anchor(decision: Decision) -> str:
    """Return the id of a decision's element in a page."""
    return "d-" + "".join(c for c in decision.id if c.isalnum())[:40]


def chains(decisions: Sequence[Decision]) -> Mapping[str, tuple[Decision, ...]]:
    """Return correlation to the decisions that carry it, in the order of time, where several do."""
    found: dict[str, list[Decision]] = {}
    for decision in sorted(decisions, key=lambda d: d.at):
        if decision.kind != "scored":
            found.setdefault(decision.correlation, []).append(decision)
    return {key: tuple(value) for key, value in found.items() if len(value) > 1}


def linked(decision: Decision, chain: Sequence[Decision]) -> tuple[tuple[str, str, str], ...]:
    """Return anchor, word and time of the other decisions of a chain."""
    return tuple((anchor(d), KINDS[d.kind][0], minute(d.at)) for d in chain if d.id != decision.id)


def moved_columns(decision: Decision) -> tuple[ColumnFinding, ...]:
    """Return the columns that drifted or are odd, the most important first."""
    drift = decision.read(DriftResult, "drift")
    if drift is None:
        return decision.read_all(ColumnFinding, "columns")
    return (*drift.drifted, *[c for c in drift.columns if not c.drifted and (c.notes or c.unseen)])


def facts(decision: Decision) -> tuple[Fact, ...]:
    """Return all that a decision rests on, as text; what is not recorded is left out."""
    found = [Fact("version", f"v{decision.version}")] if decision.version else []
    if decision.window is not None:
        found.append(Fact("window", span(decision.window)))
    for name, value in decision.evidence.items():
        found += _told(decision, name, value)
    identities = {
        "data": decision.data_digest[:_DIGITS],
        "contract": decision.contract_digest[:_DIGITS],
        "settings": decision.config_digest[:_DIGITS],
        "Prefect run" if is_of_prefect(decision.prefect_run) else "run": decision.prefect_run,
        "MLflow run": decision.mlflow_run,
        "correlation": decision.correlation,
    }
    return (*found, *(Fact(k, v, exact=True) for k, v in identities.items() if v))


# Shown elsewhere in the entry, or within another fact.
_ELSEWHERE = {
    "of", "columns", "rules", "broken", "interval", "page", "alarm", "confidence", "output",
    "triggers", "asked",
}  # fmt: skip


_NAMES = {"rows_train": "rows to train on", "rows_holdout": "rows held out"}


def _told(decision: Decision, name: str, value: JsonValue) -> list[Fact]:
    """Return the facts in one key of the evidence."""
    if name in _ELSEWHERE or value in (None, "", [], {}):
        return []
    special = {
        "drift": _drift,
        "performance": _performance,
        "gain": _gain,
        "policy": _policy,
        "verdict": _verdict,
        "cause": _cause,
        "contract": _contract,
        "score": _score,
    }.get(name)
    if special is not None:
        return special(decision)
    if name == "difference":
        text = differing(decision.number(name), decision.interval())
        confidence = decision.number("confidence")
        return [Fact("difference", text + (f", {100 * confidence:g} %" if confidence else ""))]
    if name == "seconds":
        return [Fact("took", seconds(decision.number(name)))]
    return [Fact(_NAMES.get(name, name.replace("_", " ")), plain(value))]


def plain(value: JsonValue) -> str:
    """Return a JSON value as text for a person.

    >>> plain(1234), plain(True), plain(["a", "b"]), plain({"x": 1.5})
    ('1,234', 'yes', 'a, b', 'x: 1.5000')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list) and not any(isinstance(v, dict | list) for v in value):
        return _cut(", ".join(plain(v) for v in value))
    if isinstance(value, dict) and not any(isinstance(v, dict | list) for v in value.values()):
        return _cut("; ".join(f"{k}: {plain(v)}" for k, v in value.items() if v is not None))
    if isinstance(value, str):
        return _cut(_moment(value))
    return _cut(json.dumps(value, ensure_ascii=False))


def _moment(text: str) -> str:
    """Return a time as people read it, any other text as it is."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d[\d:.]*(Z|[+-]\d\d:\d\d)?", text):
        return text
    try:
        return minute(datetime.fromisoformat(text))
    except ValueError:
        return text


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _drift(decision: Decision) -> list[Fact]:
    drift = decision.read(DriftResult, "drift")
    if drift is None:
        return []
    if not drift.enough or drift.score is None:
        return [Fact("drift", f"not enough data in {plural(drift.rows, 'row')}")]
    limit = "" if drift.limit is None else f", limit {brief(drift.limit)}"
    moved = listed(tuple(c.column for c in drift.drifted), 3)
    return [
        Fact("drift", f"score {brief(drift.score)}{limit}"),
        Fact("compared", f"{drift.rows:,} rows with {drift.reference_rows:,} of the reference"),
        *([Fact("moved", moved)] if moved else []),
    ]


def _performance(decision: Decision) -> list[Fact]:
    return [
        Fact("performance", f"{span(p.window)}: {performed(p)}")
        for p in decision.read_all(Performance, "performance")
    ]


def performed(found: Performance) -> str:
    """Return one statement about performance."""
    name = metric_words(found.metric)
    parts = []
    if found.realised is not None and found.realised.value is not None:
        how = "realised" if found.mature else "realised so far"
        parts.append(f"{how} {valued(found.realised)} on {plural(found.labelled, 'label')}")
    if found.estimated is not None and found.estimated.value is not None:
        parts.append(f"estimated {valued(found.estimated)}")
    if found.reference is not None and found.reference.value is not None:
        parts.append(f"reference {valued(found.reference)}")
    worse = "worse: " if found.worse else ""
    return f"{worse}{name} " + ("; ".join(parts) or "not known")


def _gain(decision: Decision) -> list[Fact]:
    gain, policy = decision.read(Gain, "gain"), decision.read(PolicyDecision, "policy")
    if gain is None:
        return []
    return [Fact("gain", gain_sentence(gain, policy.weighed if policy is not None else ""))]


def _policy(decision: Decision) -> list[Fact]:
    policy = decision.read(PolicyDecision, "policy")
    return [] if policy is None else [Fact("policy", answered(policy))]


def answered(policy: PolicyDecision) -> str:
    """Return the policy's decision as text."""
    if policy.sentence:
        return policy.sentence
    if policy.retrain:
        return "Train."
    return f"No training: {policy.withheld or 'nothing called for it'}."


def _verdict(decision: Decision) -> list[Fact]:
    """Return the gate's decision and its numbers."""
    verdict = decision.read(Verdict, "verdict")
    if verdict is None:
        return []
    found = [Fact("gate", f"{'promote' if verdict.promoted else 'keep'}: {verdict.sentence}")]
    if verdict.difference is not None:
        text = differing(verdict.difference, verdict.interval)
        confidence = f"{text}, {100 * verdict.confidence:g} %"
        found.append(Fact("gain", f"over {judged_against(verdict)}: {confidence}"))
    rests = verdict.evidence
    if rests is not None:
        blocks = f" in {rests.blocks} {rests.blocks_of}" if rests.blocks else ""
        found.append(Fact("judged on", plural(rests.rows, "row") + blocks))
        if rests.detectable is not None and verdict.champion_version:
            found.append(Fact("smallest to be seen", number(rests.detectable, rests.detectable)))
    return found


def judged_against(verdict: Verdict) -> str:
    """Return the reference of the gate's difference."""
    former, rests = verdict.champion_version, verdict.evidence
    unmeasured = rests is not None and rests.difference is None
    return "the trivial baseline" if former is None or unmeasured else f"v{former}"


def _cause(decision: Decision) -> list[Fact]:
    """Return why something was done."""
    cause = decision.read(Cause, "cause")
    if cause is None:
        return []
    words = {
        "alarm": "an alarm",
        "schedule": "the schedule",
        "manual": "requested by hand",
        "probe": "a probe",
    }
    window = f" about {span(cause.window)}" if cause.window else ""
    reasons = f": {' '.join(cause.reasons)}" if cause.reasons else ""
    return [Fact("cause", _cut(f"{words[cause.kind]}{window}{reasons}"))]


def _contract(decision: Decision) -> list[Fact]:
    value = decision.evidence.get("contract")
    if not isinstance(value, dict):
        return []
    broken = evidence.broken_rules(decision)
    warnings = value.get("warnings")
    warned = len(warnings) if isinstance(warnings, list) else 0
    outcome = f"{plural(len(broken), 'rule')} broken" if broken else "held"
    return [Fact("contract", outcome + (f", {plural(warned, 'warning')}" if warned else ""))]


def _score(decision: Decision) -> list[Fact]:
    score, metric = evidence.score_of(decision), decision.text("metric")
    return [] if score is None else [Fact(f"holdout {metric_words(metric)}", valued(score))]
