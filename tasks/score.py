"""Doors: new rows are scored by the champion and written."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.base.loop import Cause
from tasks.base.outcomes import ScoringOutcome
from tasks.base.pipeline_file import Pipeline
from tasks.base.progress import Step, report
from tasks.base.records import ContractResult, ModelVersion, Snapshot
from tasks.base.retries import BRIEF, PATIENT, retried


@task(name="find champion", cache_policy=NO_CACHE, **retried(BRIEF))
def find_champion(pipeline: Pipeline) -> ModelVersion:
    """Return the version that scores now."""
    from tasks.scoring.batches import champion_of

    champion = champion_of(pipeline)
    report(Step("champion", f"{champion.name} v{champion.version}"))
    return champion


@task(name="score rows", cache_policy=NO_CACHE, **retried(PATIENT))
def score_rows(
    pipeline: Pipeline,
    snapshot: Snapshot,
    contract: ContractResult,
    champion: ModelVersion,
    cause: Cause,
) -> ScoringOutcome:
    """Score the snapshot and write the predictions, all of them or none.

    By the calendar the sink gets the rows that were never scored before.
    """
    from tasks.scoring.batches import score_batch

    outcome = score_batch(pipeline, snapshot, contract, champion, newcomers=cause.kind != "manual")
    create_markdown_artifact(
        key=f"scoring-{pipeline.key}",
        markdown=f"{outcome.rows:,} rows scored by v{outcome.version} into `{outcome.output}`",
        description=f"The last scoring of {pipeline.config.name}",
    )
    report(Step("score", f"{outcome.rows:,} rows scored"))
    return outcome


@task(name="nothing to score", cache_policy=NO_CACHE)
def nothing_to_score(
    pipeline: Pipeline, snapshot: Snapshot, champion: ModelVersion
) -> ScoringOutcome:
    """Say that no row has come since the last scoring."""
    from tasks.scoring.batches import nothing_new

    report(Step("score", "no new rows"))
    return nothing_new(pipeline, snapshot, champion)


@task(name="record scoring", cache_policy=NO_CACHE, **retried(PATIENT))
def record_scoring(
    pipeline: Pipeline, outcome: ScoringOutcome, cause: Cause, prefect_run: str | None
) -> None:
    """Record the batch among the decisions."""
    from tasks.scoring.newcomers import record_batch

    record_batch(pipeline, outcome, cause, prefect_run or "")
