"""The report of a training: one page of HTML that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from tasks.base.settings.evaluation import greater_is_better
from tasks.base.text import numbers as words
from tasks.reporting.report import report_rows as view
from tasks.reporting.report.gain_scale import gains
from tasks.reporting.report.page_environment import page_environment
from tasks.reporting.report.report_data import Change, FigureText, ReportData
from tasks.reporting.report.trial_table import trial_table

if TYPE_CHECKING:
    from tasks.reporting.figures.training_figures import Drawing

_TEMPLATES = Path(__file__).parent / "templates"


def figure_text(drawing: Drawing) -> FigureText:
    """Return the figure as text for the report."""
    return FigureText(drawing.name, drawing.title, drawing.caption, drawing.svg())


def changed(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[Change, ...]:
    """Return what differs between two sets of settings, by name.

    Examples
    --------
    >>> changed({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4})
    (Change(name='b', before='2', after='3'), Change(name='c', before=None, after='4'))
    """
    names = sorted({*before, *after})
    pairs = ((name, _text(before, name), _text(after, name)) for name in names)
    return tuple(Change(name, old, new) for name, old, new in pairs if old != new)


def _text(values: Mapping[str, object], name: str) -> str | None:
    return str(values[name]) if name in values else None


def render_report(data: ReportData) -> str:
    """Return the report as one self-contained page of HTML.

    Every name and value is escaped; the page holds no script and asks for nothing from
    outside, which its content security policy enforces as well.
    """
    environment = page_environment(_TEMPLATES)
    environment.filters |= {
        "address": view.address,
        "score": view.score_text,
        "code": view.code,
        "moment": words.moment,
        "number": words.number,
        "seconds": words.seconds,
    }
    figures = [(f, Markup(f.svg)) for f in data.figures]  # noqa: S704 - drawn by `figures`
    lessons = {p.name: (p, Markup(p.svg)) for p in data.diagnosis.pictures}  # noqa: S704 - as above
    style = Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704
    page = environment.get_template("report.html.j2").render(
        data=data,
        style=style,
        figures=figures,
        lessons=lessons,
        d=data.diagnosis,
        mode=words.mode_words(data.mode),
        trials={
            name: trial_table(told, greater=greater_is_better(data.metric))
            for name, told in data.diagnosis.trials.items()
        },
        scores=view.headline(data),
        board=view.board(data),
        metrics=view.metric_rows(data),
        by_class=view.class_rows(data.challenger),
        gains=gains(data.verdict),
        contract=view.contract(data.contract),
        columns=view.columns(data.snapshot, data.schema),
    )
    # Half of a surrogate pair, as a name from a damaged file may hold, cannot be written.
    return page.encode("utf-8", "replace").decode("utf-8")
