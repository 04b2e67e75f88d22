"""Tasks: rows are loaded and split."""

from __future__ import annotations

from tasks.base.command_results import ScoringScope
from tasks.base.monitoring_records import Cause, PolicyDecision
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.progress import Step, report
from tasks.base.source_notes import note_text
from tasks.base.text.phrases import plural
from tasks.base.training_records import ModelVersion, Prepared, Snapshot, Split
from tasks.models.execution.plugin_checks import check_hooks
from tasks.orchestration.declarations import BRIEF, task
from tasks.registry.mlflow.shared_stores import intact_champion
from tasks.registry.open_pipeline import OpenPipeline
from tasks.scoring.incremental import scored_since
from tasks.training.interrupted_promotion import settled_champion
from tasks.training.refit_candidacy import candidacy
from tasks.training.row_windows import scoring_snapshot, training_snapshot
from tasks.training.training_plan import prepare


@task(name="load window", retried=BRIEF)
def load_window(pipeline: Pipeline, *, fresh: bool = False, whole: bool = True) -> Snapshot:
    """Read the training window into a snapshot; an unchanged source is not read again.

    Files that are still being written are refused, or left aside where not all must be `whole`.
    A champion that is not what was signed, as where the state folder was moved, is refused before.
    """
    check_hooks(pipeline.config, pipeline.base)
    intact_champion(pipeline)
    snapshot = training_snapshot(pipeline, fresh=fresh, whole=whole)
    unchanged = ", unchanged" if snapshot.cached else ""
    report(Step("load", f"{plural(snapshot.rows, 'row')}{unchanged}"))
    return snapshot


@task(name="load rows to score", retried=BRIEF)
def load_rows(
    pipeline: OpenPipeline, champion: ModelVersion, cause: Cause, scope: ScoringScope
) -> Snapshot:
    """Read the rows to score into a snapshot: those of a file, all, or what is new."""
    since = scored_since(pipeline, champion) if scope == "new" else None
    settled = cause.kind != "manual"
    snapshot = scoring_snapshot(pipeline, since, whole=scope == "file", settled=settled)
    for note in snapshot.findings:
        report(Step("reading", note_text(note)))
    # Rows since a while before the last scoring are read again: of late ones some may be new.
    purpose = "read, only new ones are scored" if scope == "new" else "to score"
    report(Step("load", f"{plural(snapshot.rows, 'row')} {purpose}"))
    return snapshot


@task(name="split window")
def split_window(
    pipeline: OpenPipeline, snapshot: Snapshot, answer: PolicyDecision, cause: Cause
) -> Prepared:
    """Decide each column's part, which rows are held out, and whether the champion is refitted."""
    champion = settled_champion(pipeline, snapshot.digest)
    refit = candidacy(pipeline.store, champion, answer, strict=cause.kind == "manual")
    until = None if champion is None else champion.trained_until
    prepared = prepare(
        pipeline, snapshot, champion_until=until, refit=refit, reason=answer.training_reason
    )
    report(Step("split", _parts(prepared.split)))
    return prepared


def _parts(split: Split) -> str:
    text = f"{split.n_train:,} to train on, {split.n_holdout:,} held out by {split.kind}"
    left_out = f", {split.no_target:,} without a label left out" if split.no_target else ""
    return text + left_out
