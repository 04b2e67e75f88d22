"""The commands: one flow each, in an environment that this process owns."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from expectations.engine.lazy_imports import Deferred
from flows.terminal.progress import progress
from tasks.base.command_results import (
    MonitoringOutcome,
    PipelineStatus,
    ScoringOutcome,
    TrainingOutcome,
)
from tasks.base.errors import InfrastructureError, KeepfitError, ModelRefusedError
from tasks.base.monitoring_records import Cause, new_correlation
from tasks.base.pipeline_file import Pipeline, load_pipeline, require_trusted_state
from tasks.base.runtime.environment import keep_prefect_in, keep_private, turn_telemetry_off
from tasks.base.runtime.files import private_folder, require_writable
from tasks.base.runtime.running_flows import left_on
from tasks.base.servers.server_contact import first_contact
from tasks.base.servers.stack_file import running_stack
from tasks.base.text.commands import command, working_on
from tasks.base.text.redaction import errors_without
from tasks.models.execution import worker_pool
from tasks.orchestration.prefect_api import check_configured, configured_api, use_api
from tasks.training.warm_start import remember_training, trained_before

if TYPE_CHECKING:
    from flows import backtesting as backtesting_flow
    from flows import monitoring as monitoring_flow
    from flows import prefect_runs
    from flows import scoring as scoring_flow
    from flows import training as training_flow
    from tasks.backtest import history
    from tasks.backtest import run as backtest_run
    from tasks.backtest.results import BacktestOutcome
    from tasks.contracts import snapshot_check
    from tasks.history import state_sizes
    from tasks.ledger import training_outcomes
    from tasks.models.execution import engines
    from tasks.registry.mlflow import shared_stores
else:
    backtesting_flow = Deferred("flows.backtesting")
    monitoring_flow = Deferred("flows.monitoring")
    prefect_runs = Deferred("flows.prefect_runs")
    scoring_flow = Deferred("flows.scoring")
    training_flow = Deferred("flows.training")
    history = Deferred("tasks.backtest.history")
    backtest_run = Deferred("tasks.backtest.run")
    snapshot_check = Deferred("tasks.contracts.snapshot_check")
    state_sizes = Deferred("tasks.history.state_sizes")
    training_outcomes = Deferred("tasks.ledger.training_outcomes")
    engines = Deferred("tasks.models.execution.engines")
    shared_stores = Deferred("tasks.registry.mlflow.shared_stores")

_LEAST_FREE_BYTES = 200_000_000
_LEAST_ADDRESSES = 800_000_000  # of address space; with less libraries may wait for ever


def run_training(file: Path | None, *, fresh: bool = False, refit: bool = False) -> TrainingOutcome:
    """Run the training flow of `file` once, in this process."""
    began = monotonic()
    pipeline = load_pipeline(file)
    with progress(), _contacted(pipeline):
        _require_space(pipeline)
        known = not fresh and trained_before(pipeline)
        with _companions(pipeline, checks=not known, fits=not known):
            given: dict[str, Any] = {"fresh": fresh, "cause": by_hand(), "refit": refit}
            answer: Any = training_flow.training(str(pipeline.path), **given)
        remember_training(pipeline)
        outcome: TrainingOutcome = answer.model_copy(update={"seconds": monotonic() - began})
        if not outcome.unchanged:
            training_outcomes.save_outcome(pipeline.work, outcome)
    return outcome


def run_scoring(
    file: Path | None,
    *,
    input_path: str | Path | None = None,
    output_path: str | Path | None = None,
    everything: bool = False,
) -> ScoringOutcome:
    """Run the scoring flow of `file` once, in this process."""
    began = monotonic()
    pipeline = load_pipeline(file)
    with progress(), _contacted(pipeline), _companions(pipeline, checks=True, fits=False):
        outcome = scoring_flow.scoring(
            str(pipeline.path),
            str(input_path) if input_path else None,
            str(output_path) if output_path else None,
            cause=by_hand(),
            everything=everything,
        )
    return outcome.model_copy(update={"seconds": monotonic() - began})


def run_monitoring(
    file: Path | None, *, window: str | None = None, every: str | None = None
) -> MonitoringOutcome:
    """Run the monitoring flow of `file` once, in this process."""
    began = monotonic()
    pipeline = load_pipeline(file)
    with (
        progress(),
        _contacted(pipeline),
        _companions(pipeline, checks=True, fits=False, keep=True),
    ):
        outcome = monitoring_flow.monitoring(
            str(pipeline.path), window, cause=by_hand(), every=every
        )
    return outcome.model_copy(update={"seconds": monotonic() - began})


def run_backtest(file: Path | None, **options: Any) -> BacktestOutcome:
    """Run the backtesting flow of `file` once, in this process."""
    began = monotonic()
    request = backtest_run.BacktestRequest(**options)
    pipeline = load_pipeline(file)
    history.lengths_of(pipeline, request.every, request.label_delay)
    with progress(), _contacted(pipeline), _companions(pipeline, checks=False, fits=True):
        _require_space(pipeline)
        outcome = backtesting_flow.backtesting(str(pipeline.path), request)
    return outcome.model_copy(update={"seconds": monotonic() - began})


def by_hand() -> Cause:
    """Return the cause of a run that a person started."""
    return Cause(kind="manual", correlation=new_correlation(), at=datetime.now(UTC))


def read_status(file: Path | None) -> PipelineStatus:
    """Return the champion of `file` and its last trainings."""
    pipeline = load_pipeline(file)
    name = pipeline.config.name
    trainings = training_outcomes.last_outcomes(pipeline.work)
    champion, score, uri = None, None, ""
    if trainings or os.environ.get("MLFLOW_TRACKING_URI"):
        uri = shared_stores.shown_address(pipeline.state)
        # Why it is refused stands in the pipeline's health.
        with contextlib.suppress(ModelRefusedError):
            champion = shared_stores.champion_if_any(pipeline)
            score = champion and champion.score
    age = None
    if champion is not None and champion.created is not None:
        age = (datetime.now(UTC) - champion.created).total_seconds() / 86_400
    return PipelineStatus(
        pipeline=name,
        champion=champion,
        champion_age_days=age,
        score=score,
        metric=champion.tags.get("keepfit.metric") if champion else None,
        trainings=trainings,
        mlflow_uri=uri,
        state=str(pipeline.state),
        state_bytes=state_sizes.bytes_in(pipeline.state),
        next_command=command("score" if champion else "run", file=pipeline.path),
    )


@contextlib.contextmanager
def workplace(pipeline: Pipeline) -> Iterator[None]:
    """Make the state folder usable, and keep secrets out of error messages."""
    turn_telemetry_off()
    keep_private()
    try:
        private_folder(pipeline.work)
        require_trusted_state(pipeline.state, pipeline.path)
        require_writable(pipeline.work)
    except OSError as error:
        raise InfrastructureError(
            f"The state folder {pipeline.state} cannot be made: {error.strerror}.",
            "Name another with `state:` in the file or KEEPFIT_STATE.",
        ) from None
    keep_prefect_in(pipeline.state)
    with contextlib.suppress(Exception):
        # What another process left is no reason to fail; the next command tries again.
        if left_on(pipeline.state, configured_api() or ""):
            prefect_runs.end_left(pipeline.state)
    with working_on(pipeline.path), errors_without(pipeline.secrets):
        yield


def _require_space(pipeline: Pipeline) -> None:
    """Refuse to begin what could not keep its fits."""
    free = shutil.disk_usage(pipeline.state).free
    if free < _LEAST_FREE_BYTES:
        raise InfrastructureError(
            f"{free / 1e6:.0f} MB are free on the disk of {pipeline.state}; fitting models needs "
            f"{_LEAST_FREE_BYTES / 1e6:.0f} MB at least.",
            "Free some space, or name another state folder with KEEPFIT_STATE.",
        )


def _require_memory() -> None:
    """Refuse to begin in less address space than the libraries take."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _LEAST_ADDRESSES:
        raise InfrastructureError(
            f"Memory is limited to {limit / 1e6:.0f} MB of address space; keepfit's libraries "
            f"take {_LEAST_ADDRESSES / 1e6:.0f} MB.",
            "Raise the limit: ulimit -v, or LimitAS= of the service.",
        )


@contextlib.contextmanager
def _contacted(pipeline: Pipeline) -> Iterator[None]:
    """Make the state folder usable, and check that the configured servers respond."""
    _require_memory()
    with workplace(pipeline):
        first_contact(pipeline)
        yield


@contextlib.contextmanager
def _companions(
    pipeline: Pipeline, *, checks: bool, fits: bool, keep: bool = False
) -> Iterator[None]:
    """Start the processes that a flow needs, and name the Prefect API that runs it, if any."""
    # `checks`, `fits`: whether a contract will probably be checked and models fitted; where that
    # turns out wrong, the process is started when it is needed. `keep`: whether contracts will be
    # checked several times, and runs logged early.
    stack = running_stack(pipeline.state)
    configured = stack.prefect_api if stack else configured_api()
    named = os.environ.get("PREFECT_API_URL")
    if configured is not None:
        check_configured(configured)
        use_api(configured, stack.credentials if stack is not None else "")
    try:
        if checks:
            snapshot_check.start_checker(keep=keep)
        if fits:
            worker_pool.warm_up()
        elif keep or not shared_stores.read_directly(pipeline.state):
            _connect_early(pipeline)
        yield
    except KeyboardInterrupt:
        engines.close_all()
        raise
    finally:
        snapshot_check.stop_checker()
        if configured is not None and named is None:
            use_api(None)


def _connect_early(pipeline: Pipeline) -> None:
    """Import MLflow and connect beside the first steps; a failure shows where it is needed."""

    def connect() -> None:
        with contextlib.suppress(KeepfitError):
            shared_stores.store_of(pipeline).warm_up()

    threading.Thread(target=connect, daemon=True).start()
