"""Next runs of the scheduled flows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.base.pipeline_file import Pipeline
from tasks.history import schedule

_ROWS = (("training", "training"), ("refit", "training"), ("scoring", "scoring"),
         ("monitoring", "monitoring"))  # fmt: skip
"""Key of `schedules`, and the flow that it runs."""


@dataclass(frozen=True)
class NextRun:
    """A scheduled flow of a pipeline and when it runs next, in the schedule's time zone."""

    deployment: str
    cron: str
    at: datetime | None  # None for a flow that is not scheduled
    refit: bool = False  # whether it is a training that refits the champion


def next_runs(pipelines: Sequence[Pipeline], now: datetime | None = None) -> tuple[NextRun, ...]:
    """Return the next run of every flow of `pipelines`, daylight saving observed."""
    moment = datetime.now(UTC) if now is None else now
    return tuple(run for pipeline in pipelines for run in _runs(pipeline, moment))


def _runs(pipeline: Pipeline, now: datetime) -> list[NextRun]:
    schedules, name = pipeline.config.schedules, pipeline.config.name
    zone, found = ZoneInfo(schedules.timezone), schedule.next_runs(schedules, now)
    return [
        NextRun(
            f"{flow}/{name}",
            getattr(schedules, key) or "",
            found[key].astimezone(zone) if key in found else None,
            refit=key == "refit",
        )
        for key, flow in _ROWS
        if key == flow or key in found
    ]


def soonest(runs: Sequence[NextRun]) -> dict[str, datetime | None]:
    """Return deployment to its next run, whichever of its schedules that is of."""
    found: dict[str, datetime | None] = {}
    for run in runs:
        times = [at for at in (found.get(run.deployment), run.at) if at is not None]
        found[run.deployment] = min(times, default=None)
    return found


def table_of_runs(runs: Sequence[NextRun], now: datetime | None = None) -> str:
    """Return `runs` as a table of at most 80 columns, ending without a line break."""
    moment = datetime.now(UTC) if now is None else now
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("deployment", overflow="ellipsis", no_wrap=True, max_width=34)
    table.add_column("cron", no_wrap=True)
    table.add_column("next run", no_wrap=True)
    table.add_column("in", justify="right", no_wrap=True)
    for run in runs:
        when, until = "on demand", ""
        if run.at is not None:
            when, until = run.at.strftime("%a %d %b %H:%M %Z"), _until(run.at, moment)
        named = f"{run.deployment} (refit)" if run.refit else run.deployment
        table.add_row(Text(named), Text(run.cron), when, until)
    sink = io.StringIO()
    Console(file=sink, width=80, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in sink.getvalue().rstrip("\n").splitlines())


def _until(moment: datetime, now: datetime) -> str:
    """Return the time until `moment` as text.

    >>> _until(datetime(2026, 1, 2, 3, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    '1 d 3 h'
    >>> _until(datetime(2026, 1, 1, 0, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 32, tzinfo=UTC))
    '28 s'
    """
    seconds = max(0.0, (moment - now).total_seconds())
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {rest} min" if hours else f"{rest} min"
