"""Tasks: rows are checked against their contract before anything is fitted or scored."""

from __future__ import annotations

from tasks.base.command_results import ScoringScope
from tasks.base.monitoring_records import Cause
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.progress import Step, report
from tasks.base.training_records import Admitted, ModelVersion, Snapshot
from tasks.contracts.pipeline_check import check_pipeline, naming_changes
from tasks.contracts.snapshot_check import held, require_passed
from tasks.orchestration.declarations import BRIEF, task
from tasks.registry.open_pipeline import OpenPipeline
from tasks.scoring import quarantine


@task(name="check contract", retried=BRIEF)
def check_contract(pipeline: Pipeline, snapshot: Snapshot, *, fresh: bool = False) -> Admitted:
    """Check the training window; a broken rule of severity ``error`` ends the flow.

    Where it breaks because of rows that scoring set aside already, they are left out.
    """
    result = check_pipeline(pipeline, snapshot, fresh=fresh)
    if not result.passed and (rest := quarantine.without_waiting(pipeline, snapshot)) is not None:
        snapshot, result = rest, check_pipeline(pipeline, rest, fresh=fresh)
    with naming_changes(snapshot.findings):
        require_passed(result, file=pipeline.path)
    report(Step("contract", held(result)))
    return Admitted(snapshot=snapshot, contract=result)


@task(name="admit rows", retried=BRIEF)
def admit_rows(
    pipeline: OpenPipeline,
    snapshot: Snapshot,
    champion: ModelVersion,
    cause: Cause,
    scope: ScoringScope,
) -> Admitted:
    """Check rows to score against the contract's part on the champion's features.

    Rows that break it are set aside in a file, and the others go on.
    """
    with naming_changes(snapshot.findings):
        admitted = quarantine.admit_rows(pipeline, snapshot, champion, cause, scope)
    aside = admitted.aside
    kept = f"{aside.rows:,} of {aside.of:,} rows set aside: {aside.file}" if aside else ""
    report(Step("contract", kept or held(admitted.contract)))
    return admitted


@task(name="admit window", retried=BRIEF)
def admit_window(pipeline: Pipeline, snapshot: Snapshot, champion: ModelVersion) -> Admitted:
    """Check a window as rows to score are checked; rows at fault are left out of it."""
    with naming_changes(snapshot.findings):
        admitted = quarantine.admit_window(pipeline, snapshot, champion)
    left_out = admitted.contract.aside
    outcome = f"{left_out:,} rows at fault are left out" if left_out else held(admitted.contract)
    report(Step("contract", outcome))
    return admitted
