"""Predictions of a version beside the champion, and how both did on the same rows."""

from __future__ import annotations

from datetime import timedelta

from pydantic import JsonValue

from tasks.base.monitoring_records import Window
from tasks.base.plugin_settings import OwnCode
from tasks.base.text.phrases import plural
from tasks.ledger.ledger import ledger_of
from tasks.lineage.records import Known, Link
from tasks.monitoring.probation.verdict import judge_probation
from tasks.monitoring.shadow.challenger_trial import BY


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
        confidence=pipeline.config.gate.confidence,
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
