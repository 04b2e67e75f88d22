"""The trials of one candidate's tuning as text, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.base.text.numbers import ABSENT, number
from tasks.base.training_records import Trial


@dataclass(frozen=True)
class TrialRow:
    """One trial; `settings` in the order of the table's names."""

    title: str
    chosen: bool
    score: str
    folds: str
    seconds: str
    settings: tuple[str, ...]


@dataclass(frozen=True)
class TrialTable:
    """Every trial of a candidate, the best complete one first, then those that were stopped."""

    names: tuple[str, ...]
    rows: tuple[TrialRow, ...]


def trial_table(trials: Sequence[Trial], *, greater: bool) -> TrialTable:
    """Return the trials as a table; `greater`: a larger score is the better one."""
    names = tuple(dict.fromkeys(name for trial in trials for name in trial.params))
    sign = -1.0 if greater else 1.0

    def place(trial: Trial) -> tuple[bool, float, int]:
        complete = trial.state == "complete" and trial.score is not None
        return not complete, sign * (trial.score or 0.0) if complete else 0.0, trial.number

    rows = tuple(
        TrialRow(
            title=_title(trial),
            chosen=trial.chosen,
            score=number(trial.score),
            folds=f"{len(trial.scores)}",
            seconds=f"{trial.seconds:.1f}",
            settings=tuple(_setting(trial.params.get(name)) for name in names),
        )
        for trial in sorted(trials, key=place)
    )
    return TrialTable(names, rows)


def _title(trial: Trial) -> str:
    name = "untuned" if trial.number == 0 else f"{trial.number}"
    return name if trial.state == "complete" else f"{name}, {trial.state}"


def _setting(value: str | int | float | None) -> str:
    if value is None:
        return ABSENT
    return f"{value:.4g}" if isinstance(value, float) else str(value)
