"""Doors: rows are checked against their contract before anything is fitted or scored."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.base.pipeline_file import Pipeline
from tasks.base.progress import Step, report
from tasks.base.records import ContractResult, ModelVersion, Snapshot
from tasks.base.retries import BRIEF, retried


@task(name="check contract", cache_policy=NO_CACHE, **retried(BRIEF))
def check_contract(
    pipeline: Pipeline, snapshot: Snapshot, *, fresh: bool = False
) -> ContractResult:
    """Check the training window; a broken rule of severity ``error`` ends the flow."""
    from tasks.validation.changed_columns import naming_changes
    from tasks.validation.checking import held, require_passed
    from tasks.validation.pipelines import check_pipeline

    result = check_pipeline(pipeline, snapshot, fresh=fresh)
    with naming_changes(snapshot.findings):
        require_passed(result)
    report(Step("contract", held(result)))
    return result


@task(name="check features", cache_policy=NO_CACHE, **retried(BRIEF))
def check_features(
    pipeline: Pipeline, snapshot: Snapshot, champion: ModelVersion
) -> ContractResult:
    """Check rows to score against the contract's part on the champion's features."""
    from tasks.validation.changed_columns import naming_changes
    from tasks.validation.checking import held, require_passed
    from tasks.validation.pipelines import check_pipeline

    result = check_pipeline(pipeline, snapshot, champion=champion)
    with naming_changes(snapshot.findings):
        require_passed(result)
    report(Step("contract", held(result)))
    return result
