"""Training: load → validate → split → fit → evaluate → gate → register."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, runtime

from tasks.base.outcomes import TrainingOutcome
from tasks.base.pipeline_file import load_pipeline
from tasks.base.records import Basis
from tasks.evaluate import draw_figures, evaluate_candidates
from tasks.load import load_window, split_window
from tasks.promote import (
    conclude_training,
    fail_open_run,
    find_training,
    judge_challenger,
    open_run,
    record_candidates,
    register_challenger,
)
from tasks.train import fit_candidates, refit_winner
from tasks.validate import check_contract


def _close_open_run(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001 - Prefect's hook
    fail_open_run(load_pipeline(Path(flow_run.parameters["pipeline"])), str(flow_run.id))


@flow(
    name="training",
    flow_run_name="training {pipeline}",
    on_failure=[_close_open_run],
    on_crashed=[_close_open_run],
    on_cancellation=[_close_open_run],
)
def training(pipeline: str, fresh: bool = False) -> TrainingOutcome:
    """Train the model of a pipeline file once and let the gate decide about it.

    Parameters
    ----------
    pipeline
        Path of the pipeline file.
    fresh
        Recompute what an unchanged earlier training has done.
    """
    plan = load_pipeline(Path(pipeline))
    snapshot = load_window(plan, fresh=fresh)
    checking = check_contract.submit(plan, snapshot, fresh=fresh)
    splitting = split_window.submit(plan, snapshot)
    basis = Basis(snapshot=snapshot, contract=checking.result(), prepared=splitting.result())
    earlier = None if fresh else find_training(plan, basis)
    if earlier is not None:
        return earlier
    opening = open_run.submit(plan, basis, runtime.flow_run.id)
    results = fit_candidates(plan, basis, fresh=fresh)
    assessment = evaluate_candidates(plan, basis, results)
    drawing = draw_figures.submit(plan, basis, results, assessment)
    run_id = opening.result()
    recording = record_candidates.submit(plan, basis, results, assessment, run_id)
    verdict = judge_challenger(plan, basis, results, assessment)
    winner = refit_winner(plan, basis, results, assessment, verdict)
    figures, runs = drawing.result(), recording.result()
    version = register_challenger(plan, basis, winner, assessment, figures, verdict, runs)
    flow_run = runtime.flow_run.id
    return conclude_training(
        plan, basis, results, assessment, figures, verdict, version, runs, run_id, flow_run
    )
