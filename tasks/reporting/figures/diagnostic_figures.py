"""The figures of a diagnosis, each with what it lets a person conclude."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from tasks.base.runtime.libraries import mpl
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.text.numbers import number, seconds
from tasks.base.training_records import LeaderboardRow
from tasks.evaluation.explanation.partial_dependence import Dependence
from tasks.evaluation.findings import FitVerdict, GroupDifference, LearningCurve, WeakSlice
from tasks.reporting.figures.diagrams import _rows
from tasks.reporting.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    canvas,
    compact,
    grid,
    legend,
    name_axes,
    panels,
    plain,
)
from tasks.reporting.figures.training_figures import Drawing


def draw_fits(
    fits: Sequence[FitVerdict], metric: str, challenger: str, baseline: float | None
) -> Drawing | None:
    """Return each candidate's score on its own rows and on unseen ones."""
    measured = [f for f in fits if f.train is not None and f.holdout is not None]
    if not measured:
        return None
    figure, axes = _rows([plain(f.candidate) for f in measured])
    for place, fit in enumerate(measured):
        ends = (float(fit.holdout or 0.0), float(fit.train or 0.0))
        axes.hlines(place, min(ends), max(ends), color=GREY, lw=2)
    places = np.arange(len(measured))
    own_rows = [float(f.train or 0.0) for f in measured]
    unseen = [float(f.holdout or 0.0) for f in measured]
    axes.plot(own_rows, places, "o", mfc="none", color=ORANGE, ms=6, label="own rows")
    axes.plot(unseen, places, "o", color=BLUE, ms=6, label="unseen rows")
    near = baseline is not None and _near(baseline, measured)
    if baseline is not None and near:
        axes.axvline(baseline, color=GREY, lw=1, ls="--")
    name_axes(axes, plain(metric))
    legend(axes, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    own = next((f for f in measured if f.candidate == challenger), None)
    caption = "A long bar is what a candidate gains on its own rows only."
    if own is not None:
        caption = f"{own.sentence} {own.advice} {caption}"
    if near:
        caption += " The dashed line is the trivial baseline."
    return Drawing("fit", "Own rows and unseen rows", caption, figure)


def _near(value: float, fits: Sequence[FitVerdict]) -> bool:
    ends = [float(v) for f in fits for v in (f.train, f.holdout) if v is not None]
    room = (max(ends) - min(ends)) or abs(max(ends)) or 1.0
    return min(ends) - 2 * room <= value <= max(ends) + 2 * room


def draw_pareto(rows: Sequence[LeaderboardRow], metric: str, challenger: str) -> Drawing | None:
    """Return the score of each candidate against the seconds of its fit."""
    measured = [
        r
        for r in rows
        if r.holdout is not None and r.fit_seconds is not None and r.candidate != "baseline"
    ]
    if len(measured) < 2:
        return None
    sign = 1.0 if greater_is_better(metric) else -1.0
    front = [r for r in measured if not any(_beats(o, r, sign) for o in measured)]
    figure, axes = canvas()
    grid(axes)
    edge = sorted(front, key=lambda r: r.fit_seconds or 0.0)
    spent = [max(r.fit_seconds or 0.0, 1e-3) for r in edge]
    reached = [r.holdout or 0.0 for r in edge]
    axes.step(spent, reached, where="post", color=GREEN, lw=1.4, alpha=0.7)
    beside: dict[str, Any] = {"xytext": (4, 5), "textcoords": "offset points"}
    for row in measured:
        x, y = max(row.fit_seconds or 0.0, 1e-3), row.holdout or 0.0
        colour = BLUE if row.candidate == challenger else GREEN if row in front else GREY
        axes.plot(x, y, "o", color=colour, ms=6)
        axes.annotate(plain(row.candidate, 20), (x, y), **beside, fontsize=8, color=INK)
    axes.set_xscale("log")
    axes.margins(x=0.3, y=0.15)
    _plain_ticks(axes)
    name_axes(axes, "seconds of the fit", f"{plain(metric)} on the holdout")
    quick = edge[0]
    best = edge[-1]
    caption = (
        f"On the line no candidate is both quicker and better. {quick.candidate} is the quickest "
        f"of them ({seconds(quick.fit_seconds)}, {number(quick.holdout)})"
    )
    if best is not quick:
        caption += (
            f"; {best.candidate} the best ({seconds(best.fit_seconds)}, {number(best.holdout)})"
        )
    caption += ". What lies within the intervals above may be chance."
    return Drawing("time_and_score", "Time against score", caption, figure)


def _beats(other: LeaderboardRow, row: LeaderboardRow, sign: float) -> bool:
    better = sign * ((other.holdout or 0.0) - (row.holdout or 0.0))
    quicker = (row.fit_seconds or 0.0) - (other.fit_seconds or 0.0)
    return better >= 0 and quicker >= 0 and (better > 0 or quicker > 0)


def draw_curve(curve: LearningCurve | None) -> Drawing | None:
    """Return score against rows; the table of its points stands in the report."""
    if curve is None or len(curve.points) < 2:
        return None
    figure, axes = canvas()
    grid(axes)
    rows = [p.rows for p in curve.points]
    for label, colour, values, spread in (
        ("own rows", ORANGE, "train", "train_std"),
        ("validation", BLUE, "valid", "valid_std"),
    ):
        y = np.array([getattr(p, values) for p in curve.points])
        around = np.array([getattr(p, spread) for p in curve.points])
        axes.fill_between(rows, y - around, y + around, color=colour, alpha=0.15, lw=0)
        axes.plot(rows, y, color=colour, marker="o", ms=4, lw=1.8, label=f" {label}")
    if curve.gain is not None and curve.low is not None and curve.high is not None:
        sign = 1.0 if greater_is_better(curve.metric) else -1.0
        last = curve.points[-1].valid
        ends = sorted((last + sign * curve.low, last + sign * curve.high))
        axes.vlines(2 * rows[-1], ends[0], ends[1], color=GREEN, lw=3)
        way = [rows[-1], 2 * rows[-1]], [last, last + sign * curve.gain]
        axes.plot(*way, "o--", color=GREEN, lw=1.4, ms=4, label=" twice the rows")
    axes.set_xscale("log")
    _plain_ticks(axes)
    name_axes(axes, "training rows", plain(curve.metric))
    legend(axes, loc="best")
    caption = f"{curve.sentence} Where the two curves have met, more rows bring nothing."
    title = f"Learning curve of {curve.candidate}"
    return Drawing("learning_curve", title, caption, figure)


def _plain_ticks(axes: mpl.axes.Axes) -> None:
    """Write the ticks of a logarithmic axis as people do."""
    low, high = axes.get_xlim()
    subs = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(compact))
    axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())


def draw_slices(slices: Sequence[WeakSlice], sentence: str) -> Drawing | None:
    """Return the mean loss in each weak slice and elsewhere."""
    slices = [s for s in slices if s.rest > 0]
    if not slices:
        return None
    figure, axes = _rows([plain(s.where, 34) for s in slices])
    places = np.arange(len(slices))
    times = [s.loss / s.rest for s in slices]
    axes.barh(places, times, color=ORANGE, alpha=0.8, height=0.55)
    axes.axvline(1.0, color=INK, lw=1.2)
    name_axes(axes, "mean loss, in times of that elsewhere")
    caption = f"{sentence} At the stroke a slice would be like all other rows."
    return Drawing("weak_slices", "Where it is weak", caption, figure)


def draw_groups(groups: GroupDifference) -> Drawing | None:
    """Return the rates of each group with their intervals, a panel for each rate."""
    names = list(groups.groups[0].rates) if groups.groups else []
    if len(groups.groups) < 2:
        return None
    shown = [n for n in names if any(g.rates[n].value is not None for g in groups.groups)]
    labels = [plain(g.value, 18) for g in groups.groups]
    height = 1.0 + 0.24 * len(labels)
    figure, shown_in = panels(len(shown), 1, 0.2 + height * len(shown))
    for axes, name in zip(shown_in, shown, strict=True):
        for place, group in enumerate(groups.groups):
            value = group.rates[name]
            if value.value is None:
                continue
            if value.low is not None and value.high is not None:
                axes.hlines(place, value.low, value.high, color=BLUE, lw=2.4)
            axes.plot(value.value, place, "o", color=BLUE, ms=5)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        grid(axes, "x")
        name_axes(axes, plain(name))
    title = f"Groups of {groups.column}"
    # A name that a file may have; two columns do not share one.
    mark = sha256(groups.column.encode("utf-8", "replace")).hexdigest()[:8]
    return Drawing(f"groups_{mark}", title, groups.sentence, figure)


def draw_dependence(found: Sequence[Dependence], of: str) -> Drawing | None:
    """Return the partial dependence of the features that matter most."""
    if not found:
        return None
    figure, shown_in = panels(len(found), 2, 0.2 + 1.55 * -(-len(found) // 2))
    low = min(float(d.y.min()) for d in found)
    high = max(float(d.y.max()) for d in found)
    room = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    for axes, one in zip(shown_in, found, strict=True):
        grid(axes)
        if one.labels is None:
            axes.plot(one.x, one.y, color=BLUE, lw=1.6, marker="o", ms=2.5)
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
            axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(compact))
        else:
            axes.plot(one.x, one.y, "o", color=BLUE, ms=5)
            rotated = max(len(v) for v in one.labels) > 4 and len(one.labels) > 2
            names = [plain(v, 9) for v in one.labels]
            axes.set_xticks(one.x, names, rotation=60 if rotated else 0)
        axes.set_ylim(low - room, high + room)
        axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(compact))
        name_axes(axes, plain(one.column, 24))
    widest = max(found, key=lambda d: float(np.ptp(d.y)))
    top = int(widest.y.argmax())
    at = number(float(widest.x[top])) if widest.labels is None else widest.labels[top]
    caption = (
        f"Mean {of} where a column is set to a value and the others stay as they are. It moves "
        f"most with {widest.column}: from {number(float(widest.y.min()))} to "
        f"{number(float(widest.y.max()))}, highest at {at}. A flat line is a column that does not "
        "matter by itself; this shows what the model does, not what causes what."
    )
    return Drawing("dependence", "How the prediction moves", caption, figure)


def draw_contributions(sizes: Mapping[str, float], scale: str) -> Drawing | None:
    """Return the mean size of the columns' contributions."""
    top = [(c, v) for c, v in sizes.items() if v > 0][:15]
    if not top:
        return None
    figure, axes = _rows([plain(c) for c, _ in top])
    axes.barh(np.arange(len(top)), [v for _, v in top], color=BLUE, alpha=0.75, height=0.62)
    name_axes(axes, f"mean size of the contribution to the {plain(scale)}")
    share = sum(v for _, v in top[:3]) / (sum(sizes.values()) or 1.0)
    first = ", ".join(c for c, _ in top[:3])
    caption = (
        f"SHAP values of its trees: {first} make {share:.0%} of what moves a "
        "prediction. Unlike shuffling, this counts what the model uses, whether it helps or not."
    )
    return Drawing("contributions", "What moves its predictions", caption, figure)
