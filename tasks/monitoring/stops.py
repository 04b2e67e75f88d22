"""Rows that broke their contract: recorded, so that people and `why` learn of it."""

from __future__ import annotations

from datetime import datetime

from tasks.base.loop import Cause, Decision, Window, decision_id
from tasks.base.pipeline_file import Pipeline
from tasks.base.stack_file import prefect_run_page
from tasks.monitoring.windows.triggers import start_of

TOLD = (
    "alarmed",
    "stopped",
    "promoted",
    "refused",
    "rolled_back",
    "confirmed",
    "skipped",
    "cancelled",
)


def record_stop(
    pipeline: Pipeline,
    flow: str,
    cause: Cause,
    message: str,
    remedy: str,
    prefect_run: str,
    now: datetime,
    window: Window | None = None,
) -> Decision:
    """Record that rows broke their contract and `flow` made nothing of them.

    The same broken rules of the same flow are one decision until they change, however often the
    calendar finds them.

    Parameters
    ----------
    window
        The one whose rows they are; a training's rows are those of no window, whatever window
        its cause names.
    """
    from tasks.ledger.ledger import ledger_of

    head, *lines = [line.strip() for line in message.splitlines() if line.strip()]
    # Samples are values of rows: they stand on the contract's page only.
    rules = [line.partition(" e.g. ")[0] for line in lines]
    page = prefect_run_page(pipeline.state, prefect_run)
    of = str(window) if window is not None else f"{now:%Y-%m-%d}"
    decision = Decision(
        id=decision_id(pipeline.config.name, "stopped", flow, of, *rules),
        pipeline=pipeline.config.name,
        kind="stopped",
        at=now,
        correlation=cause.correlation,
        sentence=f"{flow}: {head}",
        window=window,
        config_digest=pipeline.digest,
        prefect_run=prefect_run,
        evidence={
            "rules": list(rules),
            "flow": flow,
            "remedy": remedy,
            "cause": cause.model_dump(mode="json"),
        },
        links={"prefect": page} if page else {},
    )
    ledger_of(pipeline).record(decision)
    return decision


def to_tell(pipeline: Pipeline, correlation: str) -> tuple[Decision, ...]:
    """Return the decisions under one correlation that people may be told of, oldest first.

    Of several windows that a pass found broken, the newest stands for all.
    """
    from tasks.ledger.ledger import ledger_of

    found = ledger_of(pipeline).decisions(
        pipeline.config.name, kinds=TOLD, correlation=correlation, most=200
    )
    broken = [d for d in found if d.kind == "stopped" and d.window is not None]
    newest = max(broken, key=lambda d: start_of(d.window), default=None)
    return tuple(d for d in reversed(found) if d not in broken or d is newest)
