"""Results of a backtest: records that pass to the terminal, the page, MLflow and JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from tasks.base.monitoring_records import Window
from tasks.base.training_records import MetricValue, Record

FIXED = ("file", "never", "every_window", "every_window_gated", "hindsight")
"""Policies that every backtest has."""


class Event(Record):
    """A policy's actions at the end of one window.

    Attributes
    ----------
    window
        Place of the window among those replayed, from 0.
    alarm
        Whether the window called for action.
    action
        ``training`` searches the candidates in production, ``refit`` fits the champion's settings
        on newer rows; empty where nothing was trained.
    promoted
        Whether what was trained became champion; None where nothing was trained.
    paid
        Of an alarm: whether a model trained just before the window would have been better in it
        beyond noise; None where that is not known.
    reason
        Why it trained or did not, in a sentence.
    """

    window: int
    alarm: bool = False
    action: Literal["", "training", "refit"] = ""
    promoted: bool | None = None
    paid: bool | None = None
    reason: str = ""


class WindowScore(Record):
    """Score of a policy's champion in one window.

    Attributes
    ----------
    loss
        Mean loss of the window's rows; smaller is better; None where it is not defined.
    score
        The pipeline's metric; None where it is not defined.
    """

    loss: float | None
    score: float | None = None


class PolicyResult(Record):
    """Result of one policy over the history.

    Attributes
    ----------
    loss
        Mean loss of all rows of all windows; smaller is better.
    score
        Mean of the pipeline's metric over the windows.
    captured
        Share of the gain of training every window without a gate that this policy has, a fraction;
        None where training every window gained nothing.
    gain_over_never, gain_over_every
        By how much its loss is smaller, with a paired block interval.
    trainings, refits
        After the first model: trainings with a search in production, and refits of the champion's
        settings.
    alarms, alarms_paid
        Windows that called for action, and those of them in which a model trained just before
        would have been better beyond noise.
    seconds
        Of the fits that it needs and of its decisions, had it been replayed alone.
    """

    policy: str
    sentence: str
    loss: float
    score: float | None
    captured: float | None
    captured_low: float | None = None
    captured_high: float | None = None
    gain_over_never: MetricValue
    gain_over_every: MetricValue
    trainings: int
    refits: int
    promotions: int
    refusals: int
    alarms: int
    alarms_paid: int
    seconds: float
    windows: tuple[WindowScore, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def fitted(self) -> int:
        """Trainings and refits together."""
        return self.trainings + self.refits


class Recommendation(Record):
    """Settings to write into the pipeline file.

    Attributes
    ----------
    settings
        Dotted key of the pipeline file to its value.
    sure
        Whether the gain over never training again lies beyond noise.
    """

    policy: str
    sentence: str
    settings: dict[str, Any] = Field({})
    sure: bool = False


class ReplayedWindow(Record):
    """One window of the replay; `harmed` where a fresh model beats the first one beyond noise."""

    window: Window
    rows: int
    harmed: bool = False


class BacktestOutcome(Record):
    """A backtest.

    Attributes
    ----------
    loss_name
        What `loss` is: ``log_loss``, ``absolute_error``, ``squared_error`` or ``1 - metric``.
    first
        Span of the rows of the first training.
    candidate
        The candidate that the first training chose, whose settings later ones use.
    notes
        What was assumed or left out, a sentence each.
    fits, fit_seconds
        Distinct fits of the replay, and what they took.
    """

    pipeline: str
    metric: str
    loss_name: str
    first: Window
    every: str
    label_delay: str
    candidate: str
    quick: bool
    windows: tuple[ReplayedWindow, ...]
    policies: tuple[PolicyResult, ...]
    recommendation: Recommendation
    notes: tuple[str, ...] = ()
    rows: int = 0
    fits: int = 0
    fit_seconds: float = 0.0
    seconds: float = 0.0
    report: str = ""
    mlflow_run_id: str = ""
    applied: bool = False
    finished: datetime | None = None
    next_command: str = ""

    def of(self, policy: str) -> PolicyResult:
        """Return the result of a policy."""
        return next(result for result in self.policies if result.policy == policy)

    def answer(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        return self.model_dump(mode="json")
