"""History of a version after its training: alias, probation, successors, messages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import JsonValue

from tasks.base.monitoring_records import Decision, Window
from tasks.base.plugin_settings import OwnCode
from tasks.base.text.phrases import listed, plural
from tasks.history import links
from tasks.history.series import Point, points
from tasks.ledger.ledger import ledger_of
from tasks.lineage.records import Known, Link, What
from tasks.monitoring.probation.verdict import judge_probation
from tasks.monitoring.shadow.challenger_trial import BY


def followed(known: Known, decision: Decision) -> Link | None:
    """Return the effect of `decision` on the version; None for what is shown elsewhere."""
    version, kind = known.version, decision.kind
    former, by = decision.text("former"), decision.text("by")
    own = decision.version == version
    hand = " by hand" if by == "hand" else f" by the {by}" if by else ""
    what: What | None = None
    sentence, numbers = decision.sentence, _moved_by(decision)
    if kind == "promoted" and own:
        instead = f" instead of v{former}" if former else ""
        what, sentence = "promoted", f"Alias champion moved to v{version}{instead}{hand}."
    elif kind == "refused" and own:
        stayed = f"Alias champion stayed{f' with v{former}' if former else ''}{hand}."
        what, sentence = "refused", f"{stayed} {sentence}".strip()
    elif kind == "promoted" and former == version:
        what, sentence = "replaced", f"v{decision.version} took its place{hand}."
    elif kind == "confirmed" and own:
        what = "confirmed"
    elif kind == "rolled_back" and version in (former, decision.version):
        what = "rolled back"
    elif kind == "collected" and own:
        what, numbers = "collected", {}
    elif kind in ("alerted", "unheard") and _is_about(known, decision):
        what, numbers = "alert", dict(decision.evidence)
    return None if what is None else link_of(known, decision, what, sentence, numbers)


def _is_about(known: Known, alert: Decision) -> bool:
    """Return whether a message reported this version or what led to it."""
    return alert.correlation == known.correlation or alert.text("of") in known.reported


def _moved_by(decision: Decision) -> dict[str, JsonValue]:
    kept = ("former", "difference", "interval", "rows", "windows", "confidence", "by", "skipped")
    return {name: decision.evidence[name] for name in kept if name in decision.evidence}


def tagged(known: Known) -> list[Link]:
    """Return the moves of the alias in the registry's tags, for a version without decisions."""
    outcome, version = known.outcome, known.registered
    if version is not None and version.promoted_at is not None:
        former = known.tags.get("keepfit.replaced", "none")
        instead = "" if former == "none" else f" instead of v{former}"
        return [
            Link(
                at=version.promoted_at,
                what="promoted",
                sentence=f"Alias champion moved to v{known.version}{instead}.",
                numbers={"former": None if former == "none" else former},
            )
        ]
    stated = known.tags.get("keepfit.verdict")
    if outcome is None and stated is None:
        return []
    promoted = outcome.verdict.promoted if outcome else stated == "promoted"
    what: What = "promoted" if promoted else "refused"
    sentence = f"Alias champion moved to v{known.version}." if promoted else "The champion stayed."
    return [Link(at=outcome.finished if outcome else None, what=what, sentence=sentence)]


def in_use(known: Known) -> Link:
    """Return the champion's results since it scores; a window looked at again counts once."""
    looks = {d.id: d for d in known.of("monitored") if d.version == known.version}
    windows = points(looks.values())
    if not windows:
        return Link(at=None, what="in use", sentence="It scores now; no window was monitored yet.")
    newest = windows[-1]
    alarms = sum(_calls(point) for point in windows)
    moved = tuple(c.column for c in newest.drift.drifted) if newest.drift else ()
    latest = f"; in the last, {listed(moved, 3)} moved" if moved else ""
    sentence = (
        f"It scores now: {plural(len(windows), 'window')} monitored with it, "
        f"{alarms or 'none'} of them an alarm{latest}."
    )
    numbers: dict[str, JsonValue] = {"windows": len(windows), "alarms": alarms}
    return link_of(known, looks[newest.decision], "in use", sentence, numbers)


def _calls(point: Point) -> bool:
    drifted = point.drift is not None and point.drift.harmful
    return drifted or (point.performance is not None and point.performance.worse)


def link_of(
    known: Known, decision: Decision, what: What, sentence: str, numbers: dict[str, Any]
) -> Link:
    """Return a step that a decision records, with what there is to open."""
    return Link(
        at=decision.at,
        what=what,
        sentence=sentence,
        numbers=numbers,
        links=links.addresses(known.pipeline, decision),
    )


def beside_champion(known: Known) -> Link | None:
    """Return the paired comparison of a version that predicted into the ledger only."""
    # None where the file configures no shadow, or nothing is recorded of this one.
    pipeline, version = known.pipeline, known.registered
    if pipeline.config.scoring.shadow is None or version is None:
        return None
    ledger, name, roles = ledger_of(pipeline), pipeline.config.name, version.roles
    ours = ledger.window_rows(name, None, roles, role="shadow", version=version.version)
    if ours.empty:
        return None
    first, last = ours["time"].min(), ours["time"].max()
    span = (
        None
        if ours["time"].isna().any()
        else Window(
            start=first.to_pydatetime(), end=last.to_pydatetime() + timedelta(microseconds=1)
        )
    )
    metric = version.tags.get("keepfit.metric", pipeline.config.metric or "")
    found = judge_probation(
        [ours],
        [ledger.window_rows(name, span, roles)],
        roles=roles.running(OwnCode.of(pipeline.config.hooks, pipeline.base)),
        metric=metric,
        windows=[span],
        confidence=(1 + pipeline.config.gate.confidence) / 2,  # of one side
        needed=1,
        seed=pipeline.config.training.seed,
        min_rows=pipeline.config.monitoring.min_rows,
    )
    numbers: dict[str, JsonValue] = {
        "rows": len(ours),
        "labelled": found.rows,
        "metric": metric,
        "difference": found.difference,
        "interval": list(found.interval) if found.interval else None,
    }
    head = f"Predicted {len(ours):,} rows into the ledger beside the champion"
    needed = max(1, pipeline.config.policy.probation)
    judged = any(d.evidence.get("by") == BY for d in known.decisions)
    after = (
        "" if judged else f" The gate judges it once, on {plural(needed, 'window')} with labels."
    )
    if found.difference is None or found.interval is None:
        few = f"{head}; too few have labels to compare.{after}"
        return Link(at=None, what="shadow", sentence=few, numbers=numbers)
    low, high = found.interval
    return Link(
        at=None,
        what="shadow",
        sentence=f"{head}: on {found.rows:,} with labels {metric} differs by "
        f"{found.difference:+.4f} ({low:+.4f} to {high:+.4f}; above 0 it is better).{after}",
        numbers=numbers,
    )
