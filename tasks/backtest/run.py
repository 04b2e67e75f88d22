"""One backtest from a pipeline file to its outcome."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tasks.backtest import page
from tasks.backtest.comparison import Comparison, loss_name
from tasks.backtest.engine import Replay, State
from tasks.backtest.fits import Fits, FittedModel, search, training_of
from tasks.backtest.history import History, load_history
from tasks.backtest.observation import Monitor
from tasks.backtest.policies import policies_of, with_span
from tasks.backtest.recommendation import recommend
from tasks.backtest.results import BacktestOutcome, Recommendation, ReplayedWindow
from tasks.base.monitoring_records import Window
from tasks.base.pipeline_file import Pipeline, pipeline_of
from tasks.base.runtime.files import write_whole
from tasks.base.settings.yaml_document import edited_yaml, parse_yaml
from tasks.base.text.commands import command
from tasks.base.text.durations import format_duration
from tasks.base.training_records import Record
from tasks.models.execution.engines import side_by_side
from tasks.registry.mlflow.store import Store
from tasks.registry.open_pipeline import OpenPipeline
from tasks.training.training_identity import fit_key


class BacktestRequest(Record):
    """Options of a backtest; None stands for the pipeline file's setting."""

    every: str | None = None  # length of a window
    label_delay: str | None = None  # until labels are known
    quick: bool = False  # the newest windows on a sample of rows, with fewer policies
    fresh: bool = False  # fit and look again; reuse nothing
    apply: bool = False  # write the recommended settings into the pipeline file


def prepare_replay(pipeline: Pipeline, request: BacktestRequest) -> Replay:
    """Return the replay of a pipeline's history, with the first training's settings searched.

    Raises UsageError when rows have no time, or there are too few windows; DataError when no row
    has a label; FitError when no candidate could be fitted.
    """
    folder = folder_of(pipeline)
    if request.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    history = load_history(
        pipeline, folder, every=request.every, label_delay=request.label_delay, quick=request.quick
    )
    config = pipeline.config
    training = training_of(config, quick=request.quick)
    first = history.trained(history.windows[0].start, config.training.window)
    mark = _digest(fit_key(pipeline, history.snapshot), training.model_dump(mode="json"), first)
    kept = folder / mark
    fitter = search(history, config, training, kept / "search")
    at_once = side_by_side(config.engine)
    fits = Fits(history, fitter, kept / "fits", side_by_side=at_once)
    looked = _digest(
        fitter.identity, config.monitoring.model_dump(mode="json"), str(history.delay),
        [str(window) for window in history.windows],
    )  # fmt: skip
    monitor = Monitor(history, config, kept / "windows" / looked, fits)
    return Replay(history, config, fits, monitor, candidate=fitter.recipe.family)


def begin_replay(pipeline: Pipeline, request: BacktestRequest, replay: Replay) -> tuple[State, ...]:
    """Return the states of all policies before the first window."""
    history = replay.history
    first = history.windows[0].start - history.start
    policies = policies_of(pipeline.config, len(history.windows), first, quick=request.quick)
    return replay.begin(policies)


def more_policies(replay: Replay, states: Sequence[State]) -> tuple[State, ...]:
    """Return further replays on another training window, where one is better beyond noise.

    They are the policies by which production would use it: trained at the end of every window, and
    on measured gain, each through the gate.
    """
    results = {r.policy: r for r in Comparison(replay, states).results()}
    policies = [s.policy for s in states]
    spans = [p for p in policies if p.every == 1 and not p.gated and p.name != "every_window"]
    better = [
        p for p in spans if (low := results[p.name].gain_over_every.low) is not None and low > 0
    ]
    if not better:
        return ()
    best = min(better, key=lambda p: results[p.name].loss)
    gated = [p for p in policies if p.name in ("every_window_gated", "gain")]
    return replay.begin([with_span(policy, best.span) for policy in gated])


def conclude_replay(
    pipeline: OpenPipeline,
    request: BacktestRequest,
    replay: Replay,
    states: Sequence[State],
    seconds: float,
) -> BacktestOutcome:
    """Return the results of the policies, with a recommendation."""
    history = replay.history
    comparison = Comparison(replay, states)
    results = comparison.results()
    every = format_duration(history.length)
    policies = {state.policy.name: state.policy for state in states}
    never = next(s for s in states if s.policy.name == "never").served[0].model
    fits = replay.fits.made
    outcome = BacktestOutcome(
        pipeline=pipeline.config.name,
        metric=history.metric,
        loss_name=loss_name(history),
        first=Window(start=history.start, end=history.windows[0].start),
        every=every,
        label_delay=format_duration(history.delay),
        candidate=replay.candidate,
        quick=request.quick,
        windows=tuple(_window(history, comparison, never, w) for w in range(replay.size)),
        policies=results,
        recommendation=recommend(
            results,
            policies,
            pipeline.config,
            length=history.length,
            loss_name=loss_name(history),
        ),
        notes=(*history.notes, *_notes(pipeline, request, replay)),
        rows=history.rows,
        fits=len(fits),
        fit_seconds=sum(fit.seconds for fit in fits),
        seconds=seconds,
        finished=datetime.now(UTC),
        next_command=command("backtest", "--apply", file=pipeline.path),
    )
    if request.apply and apply_settings(pipeline, outcome.recommendation):
        outcome = outcome.model_copy(update={"applied": True})
    file = folder_of(pipeline) / "index.html"
    outcome = outcome.model_copy(update={"report": str(file)})
    write_whole(file, page.render_page(outcome))
    return outcome.model_copy(update={"mlflow_run_id": record(pipeline.store, outcome)})


def record(store: Store, outcome: BacktestOutcome) -> str:
    """Log the backtest to MLflow, a run a policy below one of all; return that one's id.

    They stand in an experiment of their own, and a step is a window.
    """
    name = outcome.pipeline
    experiment = store.experiment(f"{name}-backtest", metric="loss", greater_is_better=False)
    note = (
        f"Backtest of **{name}**: {len(outcome.windows)} windows of {outcome.every}, a step a "
        f"window. {outcome.recommendation.sentence}"
    )
    marks = {"keepfit.pipeline": name, "keepfit.role": "backtest"}
    parent = store.start_run(
        experiment,
        f"backtest {outcome.windows[0].window.start:%Y-%m-%d}..",
        tags={**marks, "keepfit.note": note},
        params={
            "every": outcome.every,
            "label_delay": outcome.label_delay,
            "candidate": outcome.candidate,
            "recommended": outcome.recommendation.policy,
        },
    )
    for result in outcome.policies:
        child = store.start_run(
            experiment, result.policy, parent=parent,
            tags={**marks, "keepfit.note": result.sentence},
        )  # fmt: skip
        counts = ("trainings", "refits", "promotions", "refusals", "alarms", "alarms_paid")
        store.log(
            child,
            metrics={
                "loss": result.loss,
                "captured": result.captured,
                **{count: float(getattr(result, count)) for count in counts},
            },
            curves={
                "window.loss": _numbers(w.loss for w in result.windows),
                f"window.{outcome.metric}": _numbers(w.score for w in result.windows),
            },
        )
        store.finish_run(child)
    store.log_files(parent, {"backtest.html": outcome.report})
    store.finish_run(parent)
    return parent


def _numbers(values: Iterable[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def folder_of(pipeline: Pipeline) -> Path:
    """Return where the backtests of a pipeline are kept."""
    return pipeline.work / "backtest"


def apply_settings(pipeline: Pipeline, recommendation: Recommendation) -> bool:
    """Write recommended settings into the pipeline file, comments kept; return whether any were.

    Raises ConfigError when the file would not be right with them; it stays as it is then.
    """
    if not recommendation.settings:
        return False
    gone = object()
    edits = [
        (tuple(key.split(".")), gone if value is None else value)
        for key, value in recommendation.settings.items()
    ]
    text = edited_yaml(pipeline.path.read_text(encoding="utf-8-sig"), edits, gone)
    pipeline_of(parse_yaml(text, pipeline.path))
    write_whole(pipeline.path, text)
    return True


def _notes(pipeline: Pipeline, request: BacktestRequest, replay: Replay) -> tuple[str, ...]:
    """Return notes for reading the figures."""
    history, monitoring = replay.history, pipeline.config.monitoring
    found = []
    if request.quick:
        found.append(
            f"quick: the newest {len(history.windows)} windows only, at most 20,000 rows, two "
            "candidates and no other training windows: intervals are wider and rare changes may "
            "be missed; without --quick all of it is replayed"
        )
    sizes = sorted(last - first for first, last in map(history.bounds, range(replay.size)))
    median = sizes[len(sizes) // 2]
    if median < monitoring.min_rows:
        longer = -(-monitoring.min_rows // max(1, median)) * history.length
        found.append(
            f"a window has {median:,} rows in the middle, below monitoring.min_rows "
            f"({monitoring.min_rows:,}), so that drift and performance of most windows are not "
            f"judged: --every {format_duration(longer)} would have enough"
        )
    return tuple(found)


def _window(
    history: History, comparison: Comparison, never: FittedModel, place: int
) -> ReplayedWindow:
    first, last = history.bounds(place)
    harmed = comparison.harmful(never, place)
    return ReplayedWindow(window=history.windows[place], rows=last - first, harmed=bool(harmed))


def _digest(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
