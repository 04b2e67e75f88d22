"""Trials of tuning: the score of every trial against each hyperparameter."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np

from tasks.base.runtime.libraries import mpl
from tasks.base.settings.evaluation import CLASSIFICATION_METRICS, greater_is_better
from tasks.base.settings.search_spaces import Space, Value, spaces_of
from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import CandidateResult, Trial
from tasks.reporting.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    compact,
    grid,
    name_axes,
    panels,
    plain,
)
from tasks.reporting.figures.training_figures import Drawing

_EDGE = 0.03
_FAR = 5.0


def draw_search(result: CandidateResult, metric: str, training: TrainingConfig) -> Drawing | None:
    """Return a panel for each hyperparameter that was searched; None without two scores."""
    # Trials over all folds are dots. One that was stopped early has a score over fewer folds, which
    # compares with none of these: its value is marked at the foot.
    complete = [t for t in result.trials if t.state == "complete" and t.score is not None]
    spaces = _spaces(result, metric, training)
    if len(complete) < 2 or not spaces:
        return None
    figure, drawn = panels(len(spaces), 2, 0.2 + 1.5 * -(-len(spaces) // 2))
    scores = [float(t.score or 0.0) for t in complete]
    floor = _floor(scores, metric)
    ends = _ends(scores, floor, metric)
    for place, (axes, space) in enumerate(zip(drawn, spaces, strict=True)):
        _panel(axes, space, result.trials, floor, metric)
        axes.set_ylim(*ends)
        name_axes(axes, plain(space.name, 24), plain(metric, 12) if place % 2 == 0 else "")
    _legend(figure, any(t.state == "pruned" for t in result.trials))
    return Drawing(
        f"tuning_{result.candidate}",
        f"Tuning of {result.candidate}",
        _caption(result, spaces, metric),
        figure,
    )


def _spaces(result: CandidateResult, metric: str, training: TrainingConfig) -> tuple[Space, ...]:
    found = spaces_of(
        result.candidate,
        {n: s.model_dump() for n, s in training.spaces.get(result.candidate, {}).items()},
        classification=metric in CLASSIFICATION_METRICS,
        class_weight=training.class_weight,
    )
    tried = {name for trial in result.trials for name in trial.params}
    return tuple(space for space in found if space.name in tried)


def _floor(scores: Sequence[float], metric: str) -> float | None:
    """Return the score beyond which a trial is drawn at the rim, so that the others stay apart."""
    sign = 1.0 if greater_is_better(metric) else -1.0
    values = sign * np.asarray(scores)
    best, middle = float(values.max()), float(np.median(values))
    rim = best - _FAR * (best - middle)
    return sign * rim if middle < best and values.min() < rim else None


def _ends(scores: Sequence[float], floor: float | None, metric: str) -> tuple[float, float]:
    """Return the ends of every panel's axis, with room for the marks."""
    shown = list(scores)
    if floor is not None:
        nearer = max if greater_is_better(metric) else min
        shown = [nearer(score, floor) for score in scores]
    low, high = min(shown), max(shown)
    room = 0.16 * (high - low) or 0.01 * abs(high) or 1.0
    return low - 1.4 * room, high + room


def _panel(
    axes: mpl.axes.Axes, space: Space, trials: Sequence[Trial], floor: float | None, metric: str
) -> None:
    grid(axes)
    _scale(axes, space, trials)
    foot = axes.get_xaxis_transform()
    for trial in trials:
        at = _at(space, trial.params.get(space.name))
        if at is None:
            continue
        if trial.state == "pruned":
            axes.plot([at], [0.04], "|", color=GREY, ms=7, mew=1.2, transform=foot)
        elif trial.state == "complete" and trial.score is not None:
            _dot(axes, at, trial, floor, metric)
    untuned = next((t.score for t in trials if t.number == 0 and t.score is not None), None)
    if untuned is not None:
        axes.axhline(untuned, color=ORANGE, lw=0.9, ls="--")


def _dot(axes: mpl.axes.Axes, at: float, trial: Trial, floor: float | None, metric: str) -> None:
    score, marker = float(trial.score or 0.0), "o"
    if floor is not None:
        greater = greater_is_better(metric)
        nearer = max(score, floor) if greater else min(score, floor)
        if nearer != score:
            score, marker = nearer, "v" if greater else "^"
    if trial.number == 0:
        axes.plot([at], [score], "D", mfc="none", mec=ORANGE, ms=6, mew=1.4)
    else:
        axes.plot([at], [score], marker, color=BLUE, ms=4, alpha=0.8)
    if trial.chosen:
        axes.plot([at], [score], "o", mfc="none", mec=GREEN, ms=10, mew=1.6)


def _scale(axes: mpl.axes.Axes, space: Space, trials: Sequence[Trial]) -> None:
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(compact))
    if space.choices:
        axes.set_xlim(-0.5, len(space.choices) - 0.5)
        names = [plain(choice, 9) for choice in space.choices]
        long = len(names) > 3 and max(map(len, names)) > 4
        axes.set_xticks(range(len(names)), names, rotation=40 if long else 0)
        return
    values = [_at(space, trial.params.get(space.name)) for trial in trials]
    known = [value for value in values if value is not None]
    low, high = min([space.low, *known]), max([space.high, *known])
    if space.log:
        axes.set_xscale("log")
        axes.set_xlim(low / (high / low) ** 0.06, high * (high / low) ** 0.06)
        subs = (1.0,) if high > 40 * low else (1.0, 2.0, 5.0)
        axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=subs, numticks=5))
        axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    else:
        axes.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(compact))


def _at(space: Space, value: Value | None) -> float | None:
    """Return where a value lies on a panel's axis; None where it has no place on it."""
    if space.choices:
        return float(space.choices.index(value)) if value in space.choices else None
    if not isinstance(value, int | float) or (space.log and value <= 0):
        return None
    return float(value)


def _legend(figure: mpl.figure.Figure, pruned: bool) -> None:
    marks = [
        ("trial", {"marker": "o", "color": BLUE, "ms": 4}),
        ("untuned", {"marker": "D", "mfc": "none", "mec": ORANGE, "ms": 6}),
        ("kept", {"marker": "o", "mfc": "none", "mec": GREEN, "ms": 9, "mew": 1.6}),
    ]
    if pruned:
        marks.append(("stopped early", {"marker": "|", "color": GREY, "ms": 7}))
    handles = [mpl.lines.Line2D([], [], ls="", **how) for _, how in marks]  # type: ignore[arg-type]
    look: dict[str, Any] = {"fontsize": 8, "labelcolor": INK, "frameon": False}
    look |= {"handletextpad": 0.2, "columnspacing": 1.2, "ncols": len(marks)}
    figure.legend(handles, [name for name, _ in marks], loc="outside upper center", **look)


def _caption(result: CandidateResult, spaces: Sequence[Space], metric: str) -> str:
    sentences = [f"{note[:1].upper()}{note[1:]}." for note in result.asked.get("tuning", ())]
    edges = _edges(result, spaces)
    if edges:
        sentences.append(
            f"What is kept lies at the edge of what is searched: widen {', '.join(edges)} in "
            "training.spaces."
        )
    sentences.append(
        f"Better lies {'up' if greater_is_better(metric) else 'down'}; where dots lie level, a "
        "hyperparameter does not matter here."
    )
    return " ".join(sentences)


def _edges(result: CandidateResult, spaces: Sequence[Space]) -> list[str]:
    """Return the hyperparameters whose kept value could lie beyond what is searched."""
    found = []
    for space in spaces:
        value = result.tuned.get(space.name)
        if space.choices or not isinstance(value, int | float):
            continue
        place = _place(space, float(value))
        below = place < _EDGE and space.low > space.least
        above = place > 1 - _EDGE and space.high < space.most
        if below or above:
            found.append(f"{space.name} ({compact(space.low)} to {compact(space.high)})")
    return found


def _place(space: Space, value: float) -> float:
    """Return where a value lies between the ends, as a fraction.

    >>> round(_place(Space("C", 0.01, 100.0, log=True), 1.0), 2)
    0.5
    """
    if space.log:
        return log(value / space.low) / log(space.high / space.low) if value > 0 else 0.0
    return (value - space.low) / (space.high - space.low)
