"""The page of a backtest: its figures, and one self-contained file of HTML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from markupsafe import Markup

from tasks.backtest.results import BacktestOutcome, PolicyResult
from tasks.base.runtime.libraries import mpl
from tasks.base.training_records import MetricValue
from tasks.reporting.figures import style as drawing
from tasks.reporting.report.page_environment import filled, page_environment

_TEMPLATES = Path(__file__).parent / "templates"
_SHOWN = ("never", "every_window", "hindsight")


def pareto(results: tuple[PolicyResult, ...]) -> tuple[PolicyResult, ...]:
    """Return the policies that none beats with as few trainings, the fewest trainings first."""
    found: list[PolicyResult] = []
    for result in sorted(results, key=lambda r: (r.fitted, r.loss)):
        if not found or result.loss < found[-1].loss:
            found.append(result)
    return tuple(found)


def draw_pareto(outcome: BacktestOutcome) -> mpl.figure.Figure:
    """Return loss over trainings, a point a policy, with the line of those that none beats."""
    figure, axes = drawing.canvas(6.4, 4.2)
    drawing.grid(axes)
    real = tuple(r for r in outcome.policies if r.policy != "hindsight")
    front = pareto(real)
    axes.step(
        [r.fitted for r in front], [r.loss for r in front], where="post",
        color=drawing.GREY, linewidth=1.2, linestyle="--", zorder=1,
    )  # fmt: skip
    for result in outcome.policies:
        chosen = result.policy == outcome.recommendation.policy
        bound = result.policy == "hindsight"
        axes.plot(
            result.fitted, result.loss, marker="*" if chosen else "D" if bound else "o",
            markersize=12 if chosen else 6, linestyle="none",
            color=drawing.ORANGE if chosen else drawing.GREEN if bound else drawing.BLUE,
        )  # fmt: skip
    _label(axes, outcome.policies)
    drawing.name_axes(axes, "trainings and refits", outcome.loss_name.replace("_", " "))
    return figure


def _label(axes: mpl.axes.Axes, results: tuple[PolicyResult, ...]) -> None:
    """Name the points, from below upwards, those near each other apart."""
    losses = [r.loss for r in results]
    room = (max(losses) - min(losses) or 1.0) / 22
    most = max(r.fitted for r in results) or 1
    placed: list[tuple[float, float]] = []
    for result in sorted(results, key=lambda r: r.loss):
        left = result.fitted > 0.7 * most
        y = result.loss
        while any(abs(y - b) < room and abs(result.fitted - a) < 0.3 * most for a, b in placed):
            y += room / 2
        placed.append((result.fitted, y))
        axes.annotate(
            drawing.plain(result.policy), (result.fitted, result.loss),
            xytext=(result.fitted + (-0.02 if left else 0.02) * most, y), textcoords="data",
            ha="right" if left else "left", va="bottom", fontsize=8, color=drawing.INK,
        )  # fmt: skip
    axes.margins(0.08)


def draw_windows(outcome: BacktestOutcome) -> mpl.figure.Figure:
    """Return the loss of each window under the policies that matter most."""
    figure, axes = drawing.canvas(6.4, 3.6)
    drawing.grid(axes, "y")
    names = dict.fromkeys((*_SHOWN, outcome.recommendation.policy))
    colours = (drawing.GREY, drawing.BLUE, drawing.GREEN, drawing.ORANGE)
    places = np.arange(len(outcome.windows))
    for name, colour in zip(names, colours, strict=False):
        losses = np.array([w.loss for w in outcome.of(name).windows], np.float64)  # None: a gap
        axes.plot(places, losses, color=colour, linewidth=1.4, label=drawing.plain(name))
    step = max(1, len(places) // 4)
    shown = places[::step]
    axes.set_xticks(shown, [f"{outcome.windows[w].window.start:%Y-%m-%d}" for w in shown])
    drawing.legend(axes, loc="best")
    drawing.name_axes(axes, "window from", outcome.loss_name.replace("_", " "))
    return figure


def render_page(outcome: BacktestOutcome) -> str:
    """Return the page; every name and value in it is escaped, and it holds no script."""
    pictures = (
        (
            "Loss against trainings",
            "Policies on the dashed line are beaten by none with as few trainings. The star is "
            "the recommended one, the diamond what hindsight allows.",
            drawing.to_svg(draw_pareto(outcome), "pareto", "Loss of each policy by trainings"),
        ),
        (
            "Loss window by window",
            "A line that rises away from the green one is a model that has gone stale.",
            drawing.to_svg(draw_windows(outcome), "windows", "Loss of each window by policy"),
        ),
    )
    figures = [(title, text, Markup(svg)) for title, text, svg in pictures]  # noqa: S704 - drawn here
    return filled(
        page_environment(_TEMPLATES, ends=ends, less=less, percent=percent),
        "backtest.html.j2",
        data=outcome,
        results=sorted(outcome.policies, key=lambda r: r.loss),
        never=outcome.of("never").loss,
        every=outcome.of("every_window").loss,
        chosen=outcome.of(outcome.recommendation.policy),
        figures=figures,
    )


def ends(value: MetricValue, of: float) -> str:
    """Return an interval in per cent of a loss, empty where there is none.

    >>> ends(MetricValue(value=1.0, low=0.5, high=1.5), 4.0)
    '12.5 to 37.5 %'
    """
    if value.low is None or value.high is None or not of:
        return ""
    return f"{100 * value.low / of:.1f} to {100 * value.high / of:.1f} %"


def less(value: MetricValue, of: float) -> str:
    """Return a gain in per cent of a loss, a dash where there is none.

    >>> less(MetricValue(value=1.0), 4.0)
    '25.0 %'
    """
    return "–" if value.value is None or not of else f"{100 * value.value / of:.1f} %"


def percent(value: float | None) -> str:
    """Return a fraction in per cent, a dash where there is none.

    >>> percent(0.913), percent(None)
    ('91 %', '–')
    """
    return "–" if value is None else f"{value * 100:.0f} %"
