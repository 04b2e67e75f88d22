"""Policies compared on the same rows: losses, intervals, shares of the gain, alarms that paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tasks.backtest.engine import Replay, State
from tasks.backtest.fits import FittedModel
from tasks.backtest.history import History
from tasks.backtest.results import PolicyResult, WindowScore
from tasks.backtest.schedule import Schedule, best_schedule
from tasks.base.training_records import MetricValue
from tasks.metrics.bootstrap import interval, resampling, time_blocks
from tasks.metrics.losses import ABSOLUTE, row_losses
from tasks.metrics.scorer import score

Floats = NDArray[np.float64]

REPLICATES = 500
CONFIDENCE = 0.95


def loss_name(history: History) -> str:
    """Return the name of the loss of a row."""
    if history.roles.task == "ranking":
        return f"1 - {history.metric}"
    if history.roles.classes:
        return "log_loss"
    return "absolute_error" if history.metric in ABSOLUTE else "squared_error"


@dataclass
class Losses:
    """Loss of each row under each model, computed once."""

    history: History

    def __post_init__(self) -> None:
        """Start empty."""
        self._known: dict[tuple[str, int], Floats] = {}

    def of(self, model: FittedModel, window: int) -> Floats:
        """Return the loss of each row of a window, shape (n_rows,)."""
        key = (model.key, window)
        if key not in self._known:
            self._known[key] = self._computed(model, window)
        return self._known[key]

    def all_of(self, models: Sequence[FittedModel]) -> Floats:
        """Return the loss of each row of all windows under the model of each, shape (n_rows,)."""
        return np.concatenate([self.of(model, w) for w, model in enumerate(models)])

    def score(self, model: FittedModel, window: int) -> float | None:
        """Return the pipeline's metric in a window; None where it is not defined."""
        history = self.history
        first, last = history.bounds(window)
        found, roles = model.predictions(first, last), history.roles
        y = history.y[first:last]
        if roles.classes and len(np.unique(y)) < 2:
            return None
        value = score(
            history.metric, y, found.predicted, found.probability, roles.classes, roles.positive,
            history.queries(first, last), roles.own,
        )  # fmt: skip
        return float(value) if np.isfinite(value) else None

    def _computed(self, model: FittedModel, window: int) -> Floats:
        history = self.history
        first, last = history.bounds(window)
        if history.roles.task == "ranking":
            value = self.score(model, window)
            return np.full(last - first, np.nan if value is None else 1.0 - value)
        found = model.predictions(first, last)
        return row_losses(
            history.y[first:last], found.predicted, found.probability, history.roles, history.metric
        )


class Comparison:
    """Policies of one replay on the same rows."""

    def __init__(self, replay: Replay, states: Sequence[State]) -> None:
        self.replay, self._states = replay, {s.policy.name: s for s in states}
        self.losses = Losses(replay.history)

    def results(self) -> tuple[PolicyResult, ...]:
        """Return the result of each policy, hindsight last."""
        found = [self._result(name) for name in self._states]
        return (*found, self._hindsight())

    @cached_property
    def fresh(self) -> tuple[FittedModel, ...]:
        """The model that training every window has in each window."""
        return tuple(c.model for c in self._states["every_window"].served)

    @cached_property
    def _calendars(self) -> dict[timedelta | None, tuple[FittedModel, ...]]:
        """Models of the policies that train at the end of every window, ungated, by span."""
        found = [s for s in self._states.values() if s.policy.every == 1 and not s.policy.gated]
        return {s.policy.span: tuple(c.model for c in s.served) for s in found}

    @cached_property
    def schedule(self) -> Schedule:
        """The best schedule in hindsight, over all spans of training rows."""
        n = len(self.fresh)
        totals = np.zeros((len(self._calendars), n, n))
        for k, models in enumerate(self._calendars.values()):
            for i, model in enumerate(models):
                for j in range(i, n):
                    totals[k, i, j] = float(np.nansum(self.losses.of(model, j)))
        return best_schedule(totals)

    @cached_property
    def _units(self) -> NDArray[np.int64]:
        """Blocks of rows that are drawn together."""
        history = self.replay.history
        first, last = history.bounds(0)[0], history.bounds(len(history.windows) - 1)[1]
        if history.roles.task == "ranking":
            sizes = [b - a for a, b in map(history.bounds, range(len(history.windows)))]
            return np.repeat(np.arange(len(sizes)), sizes)
        return time_blocks(history.stamps(first, last))

    def harmful(
        self, model: FittedModel, window: int, fresh: FittedModel | None = None
    ) -> bool | None:
        """Return whether a fresh model beats `model` in a window beyond noise.

        None where both are the same.

        `fresh`: trained just before the window; that of training every window when absent.
        """
        fresh = fresh or self.fresh[window]
        if fresh.key == model.key:
            return None
        gain = self.losses.of(model, window) - self.losses.of(fresh, window)
        first, last = self.replay.history.bounds(window)
        found = _gain(gain, time_blocks(self.replay.history.stamps(first, last)))
        return found.low is not None and found.low > 0

    def _served(self, name: str) -> Floats:
        return self.losses.all_of([c.model for c in self._states[name].served])

    def _result(self, name: str) -> PolicyResult:
        state = self._states[name]
        events = state.events
        fresh = self._calendars.get(state.policy.span, self.fresh)
        reported = [alarm for alarm in state.alarmed if not alarm.upkeep]
        paid = [self.harmful(a.champion.model, a.window, fresh[a.window]) for a in reported]
        acted = {a.window: bool(p) for a, p in zip(reported, paid, strict=True)}
        return self._compared(
            name,
            state.policy.sentence,
            tuple(c.model for c in state.served),
            trainings=sum(e.action == "training" for e in events),
            refits=sum(e.action == "refit" for e in events),
            promotions=sum(e.promoted is True for e in events),
            refusals=sum(e.promoted is False for e in events),
            alarms=len(reported),
            alarms_paid=sum(p is True for p in paid),
            seconds=state.seconds + sum(seconds for _, seconds in state.needed),
            events=tuple(
                e.model_copy(update={"paid": acted.get(e.window)}) if e.alarm else e for e in events
            ),
        )

    def _hindsight(self) -> PolicyResult:
        plan = self.schedule
        calendars = tuple(self._calendars.values())
        served = tuple(calendars[kind][i] for kind, i in plan.serving)
        return self._compared(
            "hindsight",
            "The best schedule of trainings without a gate, had all losses been known: the bound.",
            served,
            trainings=len(plan.trained),
            refits=0,
            promotions=len(plan.trained),
            refusals=0,
            alarms=0,
            alarms_paid=0,
            seconds=sum({m.key: m.seconds for m in served}.values()),
            events=tuple(
                e.model_copy(update={"alarm": False})
                for e in self._states["every_window"].events
                if e.window + 1 in plan.trained
            ),
        )

    def _compared(
        self, name: str, sentence: str, models: Sequence[FittedModel], **counts: object
    ) -> PolicyResult:
        losses = self.losses.all_of(models)
        never, every = self._served("never"), self._served("every_window")
        share = _share(losses, never, every, self._units)
        windows = tuple(
            WindowScore(loss=_mean(self.losses.of(model, w)), score=self.losses.score(model, w))
            for w, model in enumerate(models)
        )
        scores = [w.score for w in windows if w.score is not None]
        return PolicyResult(
            policy=name,
            sentence=sentence,
            loss=float(np.nanmean(losses)),
            score=float(np.mean(scores)) if scores else None,
            captured=share.value,
            captured_low=share.low,
            captured_high=share.high,
            gain_over_never=_gain(never - losses, self._units),
            gain_over_every=_gain(every - losses, self._units),
            windows=windows,
            **counts,
        )


def _sums(values: Floats, units: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return sums and counts of the finite values by unit."""
    found, places = np.unique(units, return_inverse=True)
    finite = np.isfinite(values)
    sums = np.bincount(places, np.where(finite, values, 0.0), minlength=len(found))
    counts = np.bincount(places, finite, minlength=len(found))
    return sums.astype(np.float64), counts.astype(np.float64)


def _mean(losses: Floats) -> float | None:
    """Return the mean loss; None where no row has one, as of groups that cannot be ranked."""
    known = losses[np.isfinite(losses)]
    return float(known.mean()) if len(known) else None


def _gain(values: Floats, units: NDArray[np.int64]) -> MetricValue:
    """Return the mean of paired differences with its block bootstrap interval."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return MetricValue(value=None)
    if not finite.any():
        return MetricValue(value=0.0, low=0.0, high=0.0)
    return _ratio(float(finite.mean()), *_sums(values, units))


def _share(losses: Floats, never: Floats, every: Floats, units: NDArray[np.int64]) -> MetricValue:
    """Return the share of the gain of training every window; None where that gains nothing."""
    whole = float(np.nansum(never - every))
    if whole <= 0:
        return MetricValue(value=None)
    value = float(np.nansum(never - losses)) / whole
    ours, theirs = _sums(never - losses, units)[0], _sums(never - every, units)[0]
    # A share of next to nothing is meaningless: such replicates are left out.
    return _ratio(value, ours, theirs, least=0.05 * whole)


def _ratio(value: float, over: Floats, under: Floats, least: float = 0.0) -> MetricValue:
    """Return a ratio of sums over units with the interval of a bootstrap of the units.

    `over`, `under`: sums of each unit, shape (n_units,); `least`: a replicate whose divisor is no
    greater is left out.
    """
    plan = resampling(len(over), None, REPLICATES, 0)
    drawn = np.concatenate(list(plan.weights(len(over))))
    if drawn.shape[1] != len(over):
        return MetricValue(value=value)
    divisors = drawn @ under
    with np.errstate(divide="ignore", invalid="ignore"):
        replicates = np.where(divisors > least, (drawn @ over) / divisors, np.nan)
    low, high = interval(replicates, CONFIDENCE, len(over)) or (None, None)
    return MetricValue(value=value, low=low, high=high)
