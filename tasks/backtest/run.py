"""One backtest from a pipeline file to its outcome."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from tasks.backtest.comparison import Comparison, loss_name
from tasks.backtest.engine import Replay, State
from tasks.backtest.fits import Fits, search, training_of
from tasks.backtest.history import History, load_history
from tasks.backtest.observation import Monitor
from tasks.backtest.policies import policies_of
from tasks.backtest.recommendation import recommend
from tasks.backtest.results import BacktestOutcome, ReplayedWindow
from tasks.base.commands import command
from tasks.base.durations import format_duration
from tasks.base.loop import Window
from tasks.base.pipeline_file import Pipeline
from tasks.base.records import Record
from tasks.trainings.keys import fit_key


class BacktestRequest(Record):
    """What a person asked for; what is None is as the pipeline file states.

    Attributes
    ----------
    every
        Length of a window.
    label_delay
        Until labels are known.
    quick
        The newest windows on a sample of rows, with fewer policies.
    fresh
        Fit and look again; reuse nothing.
    """

    every: str | None = None
    label_delay: str | None = None
    quick: bool = False
    fresh: bool = False


def prepare_replay(pipeline: Pipeline, asked: BacktestRequest) -> Replay:
    """Return the replay of a pipeline's history, with the first training's settings searched.

    Raises
    ------
    UsageError
        When rows have no time, or there are too few windows.
    DataError
        When no row has a label.
    FitError
        When no candidate could be fitted.
    """
    folder = pipeline.work / "backtest"
    if asked.fresh:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
    history = load_history(
        pipeline, folder, every=asked.every, label_delay=asked.label_delay, quick=asked.quick
    )
    config = pipeline.config
    training = training_of(config, quick=asked.quick)
    first = history.trained(history.windows[0].start, config.training.window)
    mark = _digest(fit_key(pipeline, history.snapshot), training.model_dump(mode="json"), first)
    kept = folder / mark
    fitter = search(history, config, training, kept / "search")
    fits = Fits(history, fitter, kept / "fits")
    looked = _digest(
        fitter.identity, config.monitoring.model_dump(mode="json"), str(history.delay),
        [str(window) for window in history.windows],
    )  # fmt: skip
    monitor = Monitor(history, config, kept / "windows" / looked)
    return Replay(history, config, fits, monitor, candidate=fitter.recipe.family)


def begin_replay(pipeline: Pipeline, asked: BacktestRequest, replay: Replay) -> tuple[State, ...]:
    """Return the states of all policies before the first window."""
    history = replay.history
    first = history.windows[0].start - history.start
    policies = policies_of(pipeline.config, len(history.windows), first, quick=asked.quick)
    return replay.begin(policies)


def conclude_replay(
    pipeline: Pipeline,
    asked: BacktestRequest,
    replay: Replay,
    states: Sequence[State],
    seconds: float,
) -> BacktestOutcome:
    """Return what the policies came to, with a recommendation."""
    history = replay.history
    comparison = Comparison(replay, states)
    results = comparison.results()
    every = format_duration(history.length)
    policies = {state.policy.name: state.policy for state in states}
    never = next(s for s in states if s.policy.name == "never").served[0].model
    fits = replay.fits.made
    return BacktestOutcome(
        pipeline=pipeline.config.name,
        metric=history.metric,
        loss_name=loss_name(history),
        first=Window(start=history.start, end=history.windows[0].start),
        every=every,
        label_delay=format_duration(history.delay),
        candidate=replay.candidate,
        quick=asked.quick,
        windows=tuple(_window(history, comparison, never, w) for w in range(replay.size)),
        policies=results,
        recommendation=recommend(results, policies, every=every, loss_name=loss_name(history)),
        notes=history.notes,
        rows=history.rows,
        fits=len(fits),
        fit_seconds=sum(fit.seconds for fit in fits),
        seconds=seconds,
        finished=datetime.now(UTC),
        next_command=command("backtest", "--apply", file=pipeline.path),
    )


def _window(history: History, comparison: Comparison, never, place: int) -> ReplayedWindow:  # type: ignore[no-untyped-def]
    first, last = history.bounds(place)
    harmed = comparison.harmful(never, place)
    return ReplayedWindow(window=history.windows[place], rows=last - first, harmed=bool(harmed))


def _digest(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
