"""The page of one monitored window: what was looked at, what was found, what was made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.base.monitoring_records import (
    ColumnFinding,
    Decision,
    DriftResult,
    Gain,
    Performance,
    PolicyDecision,
)
from tasks.base.text.phrases import Tone
from tasks.dashboard.page_environment import render
from tasks.history import evidence, links
from tasks.history.entries import anchor, answered, facts, plain
from tasks.history.series import relative
from tasks.policy.gain_sentences import gain_method, gain_sentence

MOST_COLUMNS = 400
_IN_FACTS = {"version", "window", "rows", "policy", "reasons", "enough", "notes", "contract"}


@dataclass(frozen=True)
class Judgement:
    """The window in one sentence, and its tone."""

    title: str
    sentence: str
    tone: Tone


def window_html(decision: Decision) -> str:
    """Return the page of a window that was `monitored`; every name and value in it is escaped."""
    # Local links are relative to the page's place in `decision.links["report"]`.
    drift = decision.read(DriftResult, "drift")
    columns = ordered(drift) if drift is not None else ()
    policy = decision.read(PolicyDecision, "policy")
    warnings = decision.part("contract").get("warnings")
    return render(
        "window.html.j2",
        decision=decision,
        drift=drift,
        judgement=judgement(decision, drift),
        columns=columns[:MOST_COLUMNS],
        more_columns=max(0, len(columns) - MOST_COLUMNS),
        gain=_gained(decision),
        performance=decision.read_all(Performance, "performance"),
        policy=policy,
        answer=answered(policy) if policy is not None else "",
        rules=evidence.broken_rules(decision),
        warnings=tuple(str(w) for w in warnings) if isinstance(warnings, list) else (),
        notes=decision.texts("notes"),
        probation=_probation(decision),
        details=tuple(
            fact
            for fact in facts(decision)
            if fact.name not in _IN_FACTS
            and not fact.name.startswith(("performance", "drift", "gain"))
        ),
        links=_links(decision),
    )


def judgement(decision: Decision, drift: DriftResult | None) -> Judgement:
    """Return the findings of the window, the gravest first."""
    if evidence.broken_rules(decision):
        return Judgement("These rows break their contract", decision.sentence, "bad")
    if decision.evidence.get("alarm") is True:
        return Judgement("This window is an alarm", decision.sentence, "warn")
    if drift is not None and not drift.enough:
        return Judgement("Not enough data for a judgement", decision.sentence, "quiet")
    policy = decision.read(PolicyDecision, "policy")
    if policy is not None and policy.retrain:
        title = "No alarm in this window, yet a training is called for"
        return Judgement(title, decision.sentence, "warn")
    return Judgement("Nothing calls for action", decision.sentence, "good")


def ordered(drift: DriftResult) -> tuple[ColumnFinding, ...]:
    """Return the columns, what matters most first."""
    # What drifted, by importance; then what is odd; then the rest by how near its threshold it is.

    def rank(found: ColumnFinding) -> tuple[bool, bool, float, float, str]:
        odd = bool(found.notes or found.unseen)
        near = relative(found.statistic, found.threshold) or 0.0
        weight = found.importance or 0.0
        return not found.drifted, not odd, -weight if found.drifted else 0.0, -near, found.column

    return tuple(sorted(drift.columns, key=rank))


def _gained(decision: Decision) -> tuple[str, str]:
    """Return the gain of retraining and how it was measured; empty where it was not."""
    gain, policy = decision.read(Gain, "gain"), decision.read(PolicyDecision, "policy")
    if gain is None:
        return "", ""
    sentence = gain_sentence(gain, policy.weighed if policy is not None else "")
    method = gain_method(gain)
    return f"{sentence[0].upper()}{sentence[1:]}.", f"{method}." if method else ""


def _probation(decision: Decision) -> str:
    value = decision.evidence.get("probation")
    if not isinstance(value, dict):
        return ""
    sentence = value.get("sentence")
    return sentence if isinstance(sentence, str) and sentence else plain(value)


def _links(decision: Decision) -> tuple[tuple[str, str | None, str], ...]:
    report = decision.links.get("report", "")
    folder = Path(report).parent.absolute()
    opened = [
        (links.named(name), links.href(target, folder, folder), target)
        for name, target in decision.links.items()
        if name != "report" and target
    ]
    # <state>/pipelines/<name>/monitoring/<window>/index.html
    if report and len(folder.parents) > 3 and folder.parents[2].name == "pipelines":
        dashboard = f"../../../../dashboard/index.html#{anchor(decision)}"
        opened.append(("All decisions", dashboard, dashboard))
    return tuple(opened)
