"""Commands that read status and evidence or move the champion alias by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expectations.engine.lazy_imports import Deferred
from flows.commands import workplace
from tasks.base.known_pipelines import known_pipelines, remember_pipeline
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.environment import turn_telemetry_off
from tasks.registry import manual_promotion
from tasks.registry.open_pipeline import OpenPipeline, open_pipeline

if TYPE_CHECKING:
    from tasks.base.monitoring_records import Decision
    from tasks.dashboard import refresh as dashboard
    from tasks.evaluation.explanation.shap_values import RowExplanation
    from tasks.history import overview as health
    from tasks.history import state_sizes
    from tasks.history.overview import PipelineHealth
    from tasks.lineage import evidence_chain as chain
    from tasks.lineage.evidence_chain import Chain
    from tasks.monitoring.alerts import notification
    from tasks.plugins import versions
    from tasks.scoring import batches, row_explanation, version_predictions
    from tasks.training import interrupted_promotion
else:
    dashboard = Deferred("tasks.dashboard.refresh")
    health = Deferred("tasks.history.overview")
    state_sizes = Deferred("tasks.history.state_sizes")
    chain = Deferred("tasks.lineage.evidence_chain")
    notification = Deferred("tasks.monitoring.alerts.notification")
    versions = Deferred("tasks.plugins.versions")
    batches = Deferred("tasks.scoring.batches")
    row_explanation = Deferred("tasks.scoring.row_explanation")
    version_predictions = Deferred("tasks.scoring.version_predictions")
    interrupted_promotion = Deferred("tasks.training.interrupted_promotion")


def promote_by_hand(file: Path | None, version: str) -> Decision:
    """Make a version champion, record it and send an alert."""
    with steered(file) as pipeline:
        decision = manual_promotion.promote_by_hand(pipeline, version)
        _report(pipeline, decision)
    return decision


def roll_back_by_hand(file: Path | None) -> Decision:
    """Let the former champion score again, record it and send an alert."""
    with steered(file) as pipeline:
        decision = manual_promotion.roll_back_by_hand(pipeline)
        _report(pipeline, decision)
    return decision


def load_estimator(file: Path | None, version: str | None) -> Any:
    """Return the champion, or another version, fitted, as scoring loads it."""
    with steered(file) as pipeline:
        found = batches.version_of(pipeline, version)
        versions.require_hooks(pipeline.config, pipeline.base, found)
        return version_predictions.load_version(pipeline, found)


def read_chain(file: Path | None, version: str | None) -> Chain:
    """Return the chain of evidence behind a version, or behind the champion."""
    with steered(file) as pipeline:
        return chain.explain_version(pipeline, version)


def explain_row(file: Path | None, row: str, version: str | None) -> RowExplanation:
    """Return each column's contribution to the prediction of one row."""
    with steered(file) as pipeline:
        return row_explanation.explain_row(pipeline, row, version)


def read_health(file: Path | None) -> tuple[PipelineHealth, ...]:
    """Return the health of the pipeline of `file`, then of the others of its state folder."""
    with steered(file) as pipeline:
        others = [p for p in known_pipelines(pipeline.state) if p.work != pipeline.work]
        return health.overview([pipeline, *others], sizes=state_sizes.sizes(pipeline.state))


@contextlib.contextmanager
def steered(file: Path | None) -> Iterator[OpenPipeline]:
    """Open the pipeline of `file` for a command that runs no flow."""
    turn_telemetry_off()
    pipeline = open_pipeline(load_pipeline(file))
    with workplace(pipeline):
        remember_pipeline(pipeline)
        with contextlib.suppress(Exception):
            # What another process left is no reason to fail; the next command tries again.
            interrupted_promotion.record_interrupted(pipeline)
            if manual_promotion.moved_unrecorded(pipeline):
                manual_promotion.record_moves(pipeline)
        yield pipeline


def _report(pipeline: Pipeline, decision: Decision) -> None:
    notification.tell(pipeline, decision)
    dashboard.refresh(pipeline)
