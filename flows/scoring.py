"""Scoring: champion → load → validate → predict → write."""

from __future__ import annotations

from flows.run_lifecycle import answerable, named, pipeline_of_run
from tasks.alert import note_set_aside
from tasks.base.command_results import ScoringOutcome
from tasks.base.monitoring_records import Cause
from tasks.load import load_rows
from tasks.orchestration.current_run import run_id
from tasks.orchestration.declarations import flow
from tasks.registry.open_pipeline import open_pipeline
from tasks.score import find_champion, nothing_to_score, record_scoring, score_rows
from tasks.training.row_windows import scope_of, with_overrides
from tasks.validate import admit_rows


@flow("scoring", run_name=named)
def scoring(
    pipeline: str,
    input_path: str | None = None,
    output_path: str | None = None,
    cause: Cause | None = None,
    *,
    everything: bool = False,
) -> ScoringOutcome:
    """Score new rows of a pipeline file with its champion.

    `pipeline`: path of the pipeline file; `input_path`: file or folder to score instead of the
    file's source; `output_path`: ``.parquet`` or ``.csv`` to write instead of the file's sink;
    `cause`: why; `everything`: score every row of the source; else those that have come since the
    last scoring.
    """
    plan = open_pipeline(with_overrides(pipeline_of_run(pipeline), input_path, output_path))
    scope = scope_of(input_path, everything=everything)
    with answerable(plan, "scoring", cause) as why:
        champion = find_champion(plan)
        snapshot = load_rows(plan, champion, why, scope)
        admitted = admit_rows(plan, snapshot, champion, why, scope) if snapshot.rows else None
        if admitted is None or not admitted.snapshot.rows:
            rest = snapshot if admitted is None else admitted.snapshot
            outcome = nothing_to_score(plan, rest, champion, scope)
            if outcome.aside:
                record_scoring(plan, outcome, why, run_id())
            return outcome
        outcome = score_rows(plan, admitted, champion, scope, named=output_path is not None)
        record_scoring(plan, outcome, why, run_id(), input_path)
        if admitted.aside is not None:
            note_set_aside(plan, admitted.aside, why, run_id())
    return outcome
