"""Training: load → validate → split → fit → evaluate → gate → register."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

from flows.run_lifecycle import answerable, named, pipeline_of_run
from tasks.alert import tell_decided
from tasks.base.command_results import TrainingOutcome
from tasks.base.errors import NoNewerRowsError
from tasks.base.known_pipelines import pipeline_in_use
from tasks.base.monitoring_records import Cause, PolicyDecision
from tasks.base.training_records import Basis
from tasks.evaluate import diagnose_training, draw_figures, evaluate_candidates
from tasks.load import load_window, split_window
from tasks.orchestration.current_run import run_id, skipped
from tasks.orchestration.declarations import Parameters, flow
from tasks.promote import (
    conclude_training,
    fail_open_run,
    find_training,
    judge_challenger,
    open_run,
    record_candidates,
    record_decisions,
    register_challenger,
)
from tasks.registry.open_pipeline import OpenPipeline, open_pipeline
from tasks.train import fit_candidates, refit_winner
from tasks.training.single_training import admitted, hold_back
from tasks.training.training_record import outline
from tasks.validate import check_contract


def _close_open_run(parameters: Parameters, run: str) -> None:
    fail_open_run(open_pipeline(pipeline_in_use(Path(parameters["pipeline"]))), run)


@flow("training", run_name=named, on_unsuccessful=_close_open_run)
def training(
    pipeline: str, fresh: bool = False, cause: Cause | None = None, refit: bool = False
) -> Any:
    """Train the model of a pipeline file once and let the gate decide about it.

    `pipeline`: path of the pipeline file; `fresh`: recompute what an unchanged earlier training has
    done; `cause`: why: an alarm's event brings it along; the calendar or a person when absent;
    `refit`: fit the champion's recipe on newer rows instead of searching among all candidates.
    Returns: a state named ``Skipped`` when the policy or another training holds it back, or a refit
    has too few newer rows.
    """
    plan = pipeline_of_run(pipeline)
    with (
        answerable(plan, "training", cause) as why,
        admitted(plan, why, refit=refit) as answer,
    ):
        if not answer.retrain:
            tell_decided(plan, why.correlation)
            return skipped(answer.sentence)
        try:
            outcome = _train(plan, why, fresh, answer)
        except NoNewerRowsError as error:
            if why.kind == "manual":
                raise
            waits = hold_back(plan, why, error)
            tell_decided(plan, why.correlation)
            return skipped(waits.sentence)
        tell_decided(plan, why.correlation)
    return outcome


def _train(plan: OpenPipeline, why: Cause, fresh: bool, answer: PolicyDecision) -> TrainingOutcome:
    began = monotonic()
    snapshot = load_window(plan, fresh=fresh, whole=why.kind == "manual")
    checking = check_contract.submit(plan, snapshot, fresh=fresh)
    splitting = split_window.submit(plan, snapshot, answer, why)
    rows, prepared = checking.result(), splitting.result()
    if rows.snapshot != snapshot:
        prepared = split_window(plan, rows.snapshot, answer, why)
    basis = Basis(snapshot=rows.snapshot, contract=rows.contract, prepared=prepared)
    earlier = find_training(plan, basis, why, fresh)
    if earlier is not None:
        return earlier
    opening = open_run.submit(plan, basis, run_id())
    results = fit_candidates(plan, basis, fresh=fresh)
    assessment = evaluate_candidates(plan, basis, results)
    drawing = draw_figures.submit(plan, basis, results, assessment)
    diagnosing = diagnose_training.submit(plan, basis, results, assessment)
    mlflow_run = opening.result()
    recording = record_candidates.submit(plan, basis, results, assessment, mlflow_run)
    verdict = judge_challenger(plan, basis, results, assessment)
    winner = refit_winner(plan, basis, results, assessment, verdict)
    figures, runs = drawing.result(), recording.result()
    draft = outline(plan, basis, results, assessment, verdict, runs, mlflow_run, run_id())
    version = register_challenger(plan, basis, winner, assessment, figures, draft, runs, why)
    outcome = conclude_training(
        plan, basis, results, assessment, figures, draft, version, runs, diagnosing.result()
    )
    record_decisions(plan, basis, outcome, why, monotonic() - began)
    return outcome
