"""Figures of a ranking: how good its first places are, and on which groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tasks.base.arrays import Floats, Ints
from tasks.base.runtime.libraries import mpl
from tasks.base.text.numbers import number
from tasks.metrics.bootstrap import interval, resampling
from tasks.metrics.ranking import CUT, RankingGroups, by_group
from tasks.reporting.figures.style import BLUE, GREY, INK, canvas, grid, legend, name_axes, plain
from tasks.reporting.figures.training_figures import Drawing

CUTS = (1, 2, 3, 5, 10, 20)
CHANCE = "chance"
_SIZES = 5
_REPLICATES = 200


@dataclass(frozen=True)
class BySize:
    """NDCG at 10 of groups of about one size."""

    least: int  # rows of a group
    most: int
    groups: int
    value: float
    low: float  # bootstrap interval over the groups
    high: float


def ndcg_by_cut(
    y_true: ArrayLike, predictions: Mapping[str, ArrayLike], queries: RankingGroups
) -> dict[str, Floats]:
    """Return the mean NDCG at 1, 2, 3, 5, 10 and 20 of each model, and of an order by chance.

    >>> queries = RankingGroups(np.array([0, 0]), (0.0, 1.0), 1)
    >>> found = ndcg_by_cut([1.0, 0.0], {"model": [2.0, 1.0]}, queries)
    >>> found["model"].tolist(), round(float(found["chance"][0]), 2)
    ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 0.5)
    """
    truth = np.asarray(y_true, np.float64)
    given = {**predictions, CHANCE: np.zeros(len(truth))}
    found = {}
    for name, predicted in given.items():
        values = []
        for cut in CUTS:
            (ndcg, _), telling, _ = by_group(truth, np.asarray(predicted, float), queries, cut)
            values.append(float(ndcg[telling].mean()) if telling.any() else float("nan"))
        found[name] = np.array(values)
    return found


def ndcg_by_size(
    y_true: ArrayLike, predicted: ArrayLike, queries: RankingGroups, seed: int = 0
) -> tuple[BySize, ...]:
    """Return NDCG at 10 of the groups by their size, in at most five parts of about as many."""
    truth = np.asarray(y_true, np.float64)
    (ndcg, _), telling, _ = by_group(truth, np.asarray(predicted, np.float64), queries)
    sizes = np.unique(queries.groups, return_counts=True)[1][telling]
    values = ndcg[telling]
    if not len(values):
        return ()
    edges = np.unique(np.quantile(sizes, np.linspace(0, 1, _SIZES + 1)[1:-1], method="lower"))
    part = np.searchsorted(edges, sizes, side="left")
    return tuple(_of_size(sizes[part == one], values[part == one], seed) for one in np.unique(part))


def _of_size(sizes: Ints, values: Floats, seed: int) -> BySize:
    mean = float(values.mean())
    plan = resampling(len(values), None, _REPLICATES, seed)
    ends = None
    if plan.replicates:
        drawn = np.concatenate([w @ values / len(values) for w in plan.weights(1)])
        ends = interval(drawn, 0.95, plan.n_units)
    low, high = (mean, mean) if ends is None else ends
    return BySize(int(sizes.min()), int(sizes.max()), len(values), mean, low, high)


def draw_ranking(
    name: str, y_true: ArrayLike, predictions: Mapping[str, ArrayLike], queries: RankingGroups
) -> tuple[Drawing, ...]:
    """Return the figures of candidate `name`; a baseline among `predictions` is drawn beside."""
    wanted = {k: v for k, v in predictions.items() if k in (name, "baseline")}
    curves = ndcg_by_cut(y_true, wanted, queries)
    if not np.isfinite(curves[name]).all():
        return ()
    sizes = ndcg_by_size(y_true, predictions[name], queries)
    first = Drawing(
        "ndcg_at_k", "How good the first places are", _cut_caption(name, curves), _cuts(curves)
    )
    if len(sizes) < 2:
        return (first,)
    figure = _by_size(sizes)
    return first, Drawing("ndcg_by_size", "By size of group", _size_caption(sizes), figure)


def _cut_caption(name: str, curves: Mapping[str, Floats]) -> str:
    at = CUTS.index(CUT)
    value, chance = curves[name][at], curves[CHANCE][at]
    text = f"At 10 places it reaches {number(float(value))}, an order by chance {number(chance)}"
    if "baseline" in curves and name != "baseline":
        text += f", what is popular {number(float(curves['baseline'][at]))}"
    return f"{text}; 1 is the best order that there is."


def _size_caption(sizes: tuple[BySize, ...]) -> str:
    worst = min(sizes, key=lambda one: one.value)
    return (
        f"Weakest on groups of {_range(worst)} rows ({worst.groups:,} of them), with "
        f"{number(worst.value)}. Short lists score high by themselves: there is less to mix up."
    )


def _range(size: BySize) -> str:
    return f"{size.least:,}" if size.least == size.most else f"{size.least:,} to {size.most:,}"


def _cuts(curves: Mapping[str, Floats]) -> mpl.figure.Figure:
    figure, axes = canvas()
    grid(axes)
    places = np.arange(len(CUTS))
    for name, values in curves.items():
        beside = name in (CHANCE, "baseline")
        colour = GREY if name == CHANCE else INK if beside else BLUE
        style = "--" if name == CHANCE else ":" if beside else "-"
        marker = "" if beside else "o"
        axes.plot(places, values, style, marker=marker, ms=4, color=colour, label=plain(name))
    axes.set_xticks(places, [str(cut) for cut in CUTS])
    name_axes(axes, "places that count", "NDCG on the holdout")
    legend(axes)
    return figure


def _by_size(sizes: tuple[BySize, ...]) -> mpl.figure.Figure:
    figure, axes = canvas()
    grid(axes, "y")
    for place, one in enumerate(sizes):
        axes.vlines(place, one.low, one.high, color=BLUE, lw=2.4)
        axes.plot(place, one.value, "o", color=BLUE, ms=6)
    axes.set_xticks(range(len(sizes)), [_range(one) for one in sizes])
    axes.set_xlim(-0.5, len(sizes) - 0.5)
    name_axes(axes, "rows of a group", "NDCG at 10, 95 % interval")
    return figure
