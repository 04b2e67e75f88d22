"""The report of a training: one page of HTML that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from tasks.base.settings.evaluation import greater_is_better
from tasks.base.text import numbers as words
from tasks.reporting.report import report_rows as view
from tasks.reporting.report.page_environment import filled, page_environment
from tasks.reporting.report.report_data import Change, ReportData
from tasks.reporting.report.report_rows import trial_table

_TEMPLATES = Path(__file__).parent / "templates"


def changed(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[Change, ...]:
    """Return the differences between two sets of settings, by name.

    >>> changed({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4})
    (Change(name='b', before='2', after='3'), Change(name='c', before=None, after='4'))
    """
    names = sorted({*before, *after})
    pairs = ((name, _text(before, name), _text(after, name)) for name in names)
    return tuple(Change(name, old, new) for name, old, new in pairs if old != new)


def _text(values: Mapping[str, object], name: str) -> str | None:
    return str(values[name]) if name in values else None


def render_report(data: ReportData) -> str:
    """Return the report as one self-contained page of HTML."""
    # Every name and value is escaped; the page holds no script and loads nothing from outside,
    # which its content security policy enforces as well.
    environment = page_environment(
        _TEMPLATES,
        address=view.address,
        beside=view.beside,
        code=view.code,
        held=view.holdout_score,
        metric=words.metric_words,
        moment=words.moment,
        number=words.number,
        part=view.column_part,
        score=view.score,
        score_text=view.score_text,
        seconds=words.seconds,
        size=words.size,
    )
    return filled(
        environment,
        "report.html.j2",
        data=data,
        figures=[(f, Markup(f.svg)) for f in data.figures],  # noqa: S704 - drawn by `figures`
        lessons={p.name: (p, Markup(p.svg)) for p in data.diagnosis.pictures},  # noqa: S704 - as above
        d=data.diagnosis,
        mode=words.mode_words(data.mode),
        trials={
            name: trial_table(trials, greater=greater_is_better(data.metric))
            for name, trials in data.diagnosis.trials.items()
        },
        scores=view.headline(data),
        metrics=view.metric_names(data),
        by_class=view.class_labels(data.challenger),
        gains=view.gains(data.verdict),
        greater=greater_is_better,
    )
