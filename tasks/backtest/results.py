"""Results of a backtest: records that pass to the terminal, the page, MLflow and JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from tasks.base.monitoring_records import Window
from tasks.base.training_records import MetricValue, Record


class Event(Record):
    """A policy's actions at the end of one window."""

    window: int  # place of the window among those replayed, from 0
    alarm: bool = False  # whether the window called for action
    # ``training`` searches the candidates in production, ``refit`` fits the champion's settings on
    # newer rows; empty where nothing was trained.
    action: Literal["", "training", "refit"] = ""
    # Whether what was trained became champion; None where nothing was trained.
    promoted: bool | None = None
    # Of an alarm: whether a model trained just before the window would have been better in it
    # beyond noise; None where that is not known.
    paid: bool | None = None
    reason: str = ""  # why it trained or did not, in a sentence


class WindowScore(Record):
    """Score of a policy's champion in one window."""

    # Mean loss of the window's rows; smaller is better; None where it is not defined.
    loss: float | None
    score: float | None = None  # the pipeline's metric; None where it is not defined


class PolicyResult(Record):
    """Result of one policy over the history."""

    policy: str
    sentence: str
    loss: float  # mean loss of all rows of all windows; smaller is better
    score: float | None  # mean of the pipeline's metric over the windows
    # Share of the gain of training every window without a gate that this policy has, a fraction;
    # None where training every window gained nothing.
    captured: float | None
    captured_low: float | None = None
    captured_high: float | None = None
    # gain_over_never, gain_over_every: by how much its loss is smaller, with a paired block
    # interval.
    gain_over_never: MetricValue
    gain_over_every: MetricValue
    # trainings, refits: after the first model: trainings with a search in production, and refits of
    # the champion's settings.
    trainings: int
    refits: int
    promotions: int
    refusals: int
    # alarms, alarms_paid: windows that called for action, and those of them in which a model
    # trained just before would have been better beyond noise.
    alarms: int
    alarms_paid: int
    seconds: float  # of the fits that it needs and of its decisions, had it been replayed alone
    windows: tuple[WindowScore, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def fitted(self) -> int:
        """Trainings and refits together."""
        return self.trainings + self.refits


class Recommendation(Record):
    """Settings to write into the pipeline file."""

    policy: str
    sentence: str
    settings: dict[str, Any] = Field({})  # dotted key of the pipeline file to its value
    sure: bool = False  # whether the gain over never training again lies beyond noise


class ReplayedWindow(Record):
    """One window of the replay; `harmed` where a fresh model beats the first one beyond noise."""

    window: Window
    rows: int
    harmed: bool = False


class BacktestOutcome(Record):
    """A backtest."""

    pipeline: str
    metric: str
    # What `loss` is: ``log_loss``, ``absolute_error``, ``squared_error`` or ``1 - metric``.
    loss_name: str
    first: Window  # span of the rows of the first training
    every: str
    label_delay: str
    candidate: str  # the candidate that the first training chose, whose settings later ones use
    quick: bool
    windows: tuple[ReplayedWindow, ...]
    policies: tuple[PolicyResult, ...]
    recommendation: Recommendation
    notes: tuple[str, ...] = ()  # what was assumed or left out, a sentence each
    rows: int = 0
    fits: int = 0  # fits, fit_seconds: distinct fits of the replay, and what they took
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
