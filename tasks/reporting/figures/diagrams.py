"""Drawing of the values that `curves` and `importance` compute; each returns its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.base.arrays import Floats, spread
from tasks.base.runtime.libraries import mpl
from tasks.base.training_records import LeaderboardRow
from tasks.evaluation.explanation.permutation_importance import Importance
from tasks.reporting.figures.curve_data import CURVE_POINTS, Calibration, Ranking, Residuals
from tasks.reporting.figures.style import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    ORANGE,
    canvas,
    grid,
    legend,
    name_axes,
    plain,
)

MOST_CLASSES = 20
_MOST_COLOURED = 6
_MOST_CONFUSIONS = 15
_PARTS = {"training": (ORANGE, "rows learnt from"), "validation": (BLUE, "rows set aside")}


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> mpl.figure.Figure:
    """Draw the share of each true class by what it was predicted as."""
    # Of more than 20 classes, the 15 commonest confusions are drawn instead.
    cells = np.asarray(counts, dtype=np.float64)
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    k = len(classes)
    if k > MOST_CLASSES:
        return _commonest_confusions(shares, classes)
    side = min(6.4, max(3.4, 1.6 + 0.36 * k))
    figure, axes = canvas(side + 0.5, side)
    # Colour by rightness, depth by share; nothing below, so that any page shows through.
    tints = np.where(
        np.eye(k, dtype=bool)[..., None], mpl.colors.to_rgb(BLUE), mpl.colors.to_rgb(ORANGE)
    )
    shades = np.concatenate([tints, 0.72 * shares[..., None]], axis=2)
    axes.imshow(shades, interpolation="nearest")
    size = 10 if k <= 4 else 8 if k <= 12 else 6
    for i, j in np.ndindex(k, k):
        if text := _cell(float(cells[i, j]), float(shares[i, j]), k):
            axes.text(j, i, text, ha="center", va="center", color=INK, fontsize=size)
    labels = [plain(c, 14 if k > 4 else 18) for c in classes]
    wide = k > 4 and max(len(label) for label in labels) > 3
    axes.set_xticks(range(k), labels, rotation=90 if wide else 0)
    axes.set_yticks(range(k), labels)
    axes.tick_params(length=0)
    axes.set(xlim=(-0.5, k - 0.5), ylim=(k - 0.5, -0.5), aspect="equal")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.hlines(np.arange(k + 1) - 0.5, -0.5, k - 0.5, color=INK, alpha=0.14, lw=0.8)
    axes.vlines(np.arange(k + 1) - 0.5, -0.5, k - 0.5, color=INK, alpha=0.14, lw=0.8)
    name_axes(axes, "predicted", "true")
    return figure


def _cell(count: float, share: float, k: int) -> str:
    if k <= 4:
        return f"{count:,.0f}\n{share:.1%}"
    if k <= 12:
        return f"{count:,.0f}" if count else ""
    return f"{share * 100:.0f}" if share >= 0.005 else ""


def _commonest_confusions(shares: Floats, classes: Sequence[str]) -> mpl.figure.Figure:
    wrong = shares - np.diag(np.diag(shares))
    places = [p for p in np.argsort(-wrong, axis=None)[:_MOST_CONFUSIONS] if wrong.flat[p] > 0]
    pairs = [divmod(int(p), len(classes)) for p in places]
    labels = [f"{plain(classes[i], 14)} → {plain(classes[j], 14)}" for i, j in pairs]
    figure, axes = _rows(labels)
    axes.barh(range(len(pairs)), [wrong[i, j] * 100 for i, j in pairs], color=ORANGE, height=0.62)
    name_axes(axes, "% of the true class predicted as the other")
    return figure


def _rows(labels: Sequence[str]) -> tuple[mpl.figure.Figure, mpl.axes.Axes]:
    """Return a figure with one named row for each label, the first on top."""
    figure, axes = canvas(4.4, max(1.6, 0.8 + 0.24 * len(labels)))
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    grid(axes, "x")
    return figure, axes


def roc(ranking: Ranking) -> mpl.figure.Figure:
    """Draw ROC curves."""
    figure, axes = canvas()
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
    _curves(axes, ranking)
    name_axes(axes, "share of the other rows flagged", "share of the class found")
    return figure


def precision_recall(ranking: Ranking) -> mpl.figure.Figure:
    """Draw precision-recall curves."""
    figure, axes = canvas()
    if ranking.chance is not None:
        axes.axhline(ranking.chance, color=GREY, lw=1, ls="--")
    _curves(axes, ranking)
    name_axes(axes, "recall: share of the class found", "precision: share that is right")
    return figure


def _curves(axes: mpl.axes.Axes, ranking: Ranking) -> None:
    lines = ranking.lines
    grid(axes)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    if len(lines) <= _MOST_COLOURED:
        for line, colour in zip(lines, COLOURS, strict=False):
            label = f" {plain(line.label, 16)} ({line.area:.3f})"
            axes.plot(line.x, line.y, color=colour, lw=1.8, label=label)
    else:
        weakest = min(lines, key=lambda line: line.area)
        for line in lines:
            axes.plot(line.x, line.y, color=GREY, lw=0.8, alpha=0.6)
        across = np.linspace(0, 1, CURVE_POINTS // 3)
        mean = np.mean([np.interp(across, line.x, line.y) for line in lines], axis=0)
        area = np.mean([line.area for line in lines])
        axes.plot(across, mean, color=BLUE, lw=2, label=f"mean ({area:.3f})")
        label = f"weakest: {plain(weakest.label, 12)} ({weakest.area:.3f})"
        axes.plot(weakest.x, weakest.y, color=ORANGE, lw=1.4, label=label)
    legend(axes, loc="best")


def reliability(record: Calibration, before: Calibration | None = None) -> mpl.figure.Figure:
    """Draw stated probability against what happened, and as it was before calibration."""
    figure, axes = canvas()
    grid(axes)
    drawn = [record] if before is None else [record, before]
    top = min(1.0, 1.08 * max(float(max(r.stated.max(), r.high.max())) for r in drawn))
    axes.plot([0, top], [0, top], color=GREY, lw=1, ls="--")
    if before is not None:
        axes.plot(
            before.stated, before.happened, color=ORANGE, lw=1.2, marker="o", ms=3.5, mfc="none",
            label=" before",
        )  # fmt: skip
    axes.vlines(record.stated, record.low, record.high, color=BLUE, alpha=0.45, lw=2)
    label = None if before is None else " calibrated"
    axes.plot(record.stated, record.happened, color=BLUE, lw=1.4, marker="o", ms=4, label=label)
    if before is not None:
        legend(axes, loc="upper left")
    axes.set(xlim=(-0.01 * top, top), ylim=(-0.01 * top, top))
    name_axes(axes, f"stated probability of {plain(record.of, 20)}", "share that came true")
    return figure


def predicted_observed(record: Residuals) -> mpl.figure.Figure:
    """Draw observed against predicted values."""
    figure, axes = canvas()
    grid(axes)
    ends = [
        min(record.predicted.min(), record.observed.min()),
        max(record.predicted.max(), record.observed.max()),
    ]
    alpha = 0.45 if len(record.observed) > 300 else 0.7
    axes.scatter(
        record.predicted, record.observed, s=8, color=BLUE, alpha=alpha, lw=0, rasterized=True
    )
    axes.plot(ends, ends, color=GREY, lw=1, ls="--")
    name_axes(axes, "predicted", "observed")
    return figure


def residual_histogram(record: Residuals) -> mpl.figure.Figure:
    """Draw how far observed values lie from predicted ones."""
    figure, axes = canvas()
    grid(axes, "y")
    axes.stairs(record.counts, record.edges, fill=True, color=BLUE, alpha=0.75)
    axes.axvline(0, color=GREY, lw=1, ls="--")
    name_axes(axes, "observed minus predicted", "rows")
    return figure


def importances(record: Importance, most: int = 15) -> mpl.figure.Figure:
    """Draw what the metric loses when each column is shuffled."""
    columns = record.columns[:most]
    figure, axes = _rows([plain(c.column) for c in columns])
    places = np.arange(len(columns))
    axes.barh(places, [c.loss for c in columns], color=BLUE, alpha=0.75, height=0.62)
    axes.hlines(places, [c.low for c in columns], [c.high for c in columns], color=INK, lw=1.2)
    axes.axvline(0, color=INK, alpha=0.5, lw=0.8)
    name_axes(axes, f"{plain(record.metric)} lost when the column is shuffled")
    return figure


def leaderboard(rows: Sequence[LeaderboardRow], metric: str, challenger: str) -> mpl.figure.Figure:
    """Draw each candidate's metric on the holdout with its interval; the baseline is a line."""
    # A candidate far from all others is left out, see `comparable`.
    scored = comparable(rows)
    figure, axes = _rows([plain(row.candidate) for row in scored])
    for place, row in enumerate(scored):
        value = row.holdout if row.holdout is not None else np.nan
        colour = BLUE if row.candidate == challenger else GREY
        if row.holdout_low is not None and row.holdout_high is not None:
            axes.hlines(place, row.holdout_low, row.holdout_high, color=colour, lw=2.4)
        axes.plot(value, place, "o", color=colour, ms=6)
        if row.candidate == "baseline":
            axes.axvline(value, color=GREY, lw=1, ls="--")
    name_axes(axes, f"{plain(metric)} on the holdout")
    return figure


def comparable(rows: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    """Return the rows that share one scale: the baseline only where it lies near the others."""
    scored = [row for row in rows if row.holdout is not None]
    rivals = [row for row in scored if row.candidate != "baseline"]
    if len(rivals) < 2:
        return scored
    ends = [e for r in rivals for e in (r.holdout, r.holdout_low, r.holdout_high) if e is not None]
    room = max(ends) - min(ends)
    near = (min(ends) - 2 * room, max(ends) + 2 * room)
    return [
        row
        for row in scored
        if row.holdout is not None
        and (row.candidate != "baseline" or near[0] <= row.holdout <= near[1])
    ]


def learning(loss: str, parts: Mapping[str, Floats], cut: int | None = None) -> mpl.figure.Figure:
    """Draw a loss by iteration, on each of the `parts`; a line where the model was cut."""
    figure, axes = canvas()
    grid(axes)
    for part, y in parts.items():
        x = np.arange(1, len(y) + 1)
        keep = spread(len(y), CURVE_POINTS)
        marker = "o" if len(y) == 1 else None
        colour, label = _PARTS.get(part, (GREY, plain(part)))
        axes.plot(x[keep], y[keep], color=colour, lw=1.8, marker=marker, label=f" {label}")
    if cut is not None:
        axes.axvline(cut, color=GREY, lw=1, ls="--")
    name_axes(axes, "iteration", plain(loss.replace("_", " ")))
    if len(parts) > 1:
        legend(axes, loc="best")
    return figure
