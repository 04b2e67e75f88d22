"""Tasks: new rows are scored by the champion and written."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.base.command_results import ScoringOutcome, ScoringScope
from tasks.base.monitoring_records import Cause
from tasks.base.runtime.progress import Step, report
from tasks.base.text.phrases import plural
from tasks.base.training_records import Admitted, ModelVersion, Snapshot
from tasks.monitoring.alerts.notification import tell
from tasks.monitoring.incidents.contract_stops import record_stale_files
from tasks.orchestration.artifacts import leave
from tasks.orchestration.declarations import BRIEF, PATIENT, task
from tasks.registry.open_pipeline import OpenPipeline
from tasks.scoring.batches import champion_of, nothing_new, score_batch, score_nothing
from tasks.scoring.incremental import record_batch
from tasks.scoring.quarantine_listing import mark_scored


@task(name="find champion", retried=BRIEF)
def find_champion(pipeline: OpenPipeline) -> ModelVersion:
    """Return the version that scores now."""
    champion = champion_of(pipeline)
    report(Step("champion", f"{champion.name} v{champion.version}"))
    return champion


@task(name="score rows", retried=PATIENT)
def score_rows(
    pipeline: OpenPipeline,
    admitted: Admitted,
    champion: ModelVersion,
    scope: ScoringScope,
    *,
    named: bool = False,
) -> ScoringOutcome:
    """Score the rows that were admitted and write the predictions, all of them or none.

    Where only new rows are wanted, the output gets those that were never scored before.

    Parameters
    ----------
    named
        Whether a person named the output: it is written under just that name.
    """
    outcome = score_batch(
        pipeline,
        admitted.snapshot,
        admitted.contract,
        champion,
        newcomers=scope == "new",
        named=named,
    ).model_copy(update={"scope": scope, "quarantined": admitted.aside})
    rows = plural(outcome.rows, "row")
    leave(
        "markdown",
        key=f"scoring-{pipeline.key}",
        markdown=f"{rows} scored by v{outcome.version} into `{outcome.output}`",
        description=f"The last scoring of {pipeline.config.name}",
    )
    report(Step("score", f"{plural(outcome.scored, 'row')} scored"))
    return outcome


@task(name="nothing to score")
def nothing_to_score(
    pipeline: OpenPipeline, snapshot: Snapshot, champion: ModelVersion, scope: ScoringScope
) -> ScoringOutcome:
    """Return the outcome without rows; for a file or all rows, an empty output is written."""
    report(Step("score", "no new rows" if scope == "new" else "no rows"))
    if scope == "new":
        outcome = nothing_new(pipeline, snapshot, champion)
    else:
        outcome = score_nothing(pipeline, snapshot, champion)
    return outcome.model_copy(update={"scope": scope})


@task(name="record scoring", retried=PATIENT)
def record_scoring(
    pipeline: OpenPipeline,
    outcome: ScoringOutcome,
    cause: Cause,
    prefect_run: str | None,
    input_path: str | None = None,
) -> None:
    """Record the batch among the decisions, and report files that are no longer written."""
    record_batch(pipeline, outcome, cause, prefect_run or "")
    now = datetime.now(UTC)
    for decision in record_stale_files(pipeline, outcome.aside, cause, prefect_run or "", now):
        tell(pipeline, decision)
    if outcome.quarantined is None:
        mark_scored(pipeline, input_path)
