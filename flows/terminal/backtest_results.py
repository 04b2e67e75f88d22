"""A backtest in a terminal of 80 columns."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from flows.terminal.safe_console import escape, results_console
from tasks.backtest.results import BacktestOutcome, PolicyResult
from tasks.base.text import numbers


def show_backtest(outcome: BacktestOutcome) -> None:
    """Show every policy with its loss, and the recommendation."""
    console = results_console()
    name = outcome.loss_name.replace("_", " ")
    rows = sum(window.rows for window in outcome.windows)
    console.print(
        f"[bold]{escape(outcome.pipeline)}[/bold]: {len(outcome.windows)} windows of "
        f"{outcome.every}, {rows:,} rows; first training {outcome.first}; {outcome.candidate}"
    )
    table = Table(
        box=None, pad_edge=False, header_style="dim", padding=(0, 1), collapse_padding=True
    )
    table.add_column("policy", no_wrap=True)
    for heading in ("loss", "captured", "trained", "refit", "alarms", "paid", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in sorted(outcome.policies, key=lambda r: r.loss):
        table.add_row(*_cells(result, outcome.recommendation.policy))
    console.print(table)
    console.print(
        f"[dim]loss: mean {name}; captured: share of the gain of training every window; trained: "
        "a search each time in production; refit: the champion's settings on newer rows; paid: "
        "alarms of windows in which a fresh model would have been better beyond noise[/dim]"
    )
    for note in outcome.notes:
        console.print(f"[dim]{escape(note)}[/dim]")
    console.print(escape(outcome.recommendation.sentence))
    _show_settings(console, outcome)
    console.print(
        f"[dim]{outcome.fits} distinct fits in {numbers.seconds(outcome.fit_seconds)}, all in "
        f"{numbers.seconds(outcome.seconds)}[/dim]"
    )


def _show_settings(console: Console, outcome: BacktestOutcome) -> None:
    settings = outcome.recommendation.settings
    if not settings:
        console.print("[dim]The file states it already.[/dim]")
    for key, value in settings.items():
        console.print(f"  {key}: {'(none)' if value is None else escape(str(value))}")
    if settings and outcome.applied:
        console.print("Written into the pipeline file.")
    elif settings:
        console.print(f"Write it into the file: {escape(outcome.next_command)}")
    console.print(f"[dim]Page: {escape(outcome.report)}[/dim]")


def _cells(result: PolicyResult, recommended: str) -> tuple[str, ...]:
    mark = "▸ " if result.policy == recommended else "  "
    captured = "" if result.captured is None else f"{result.captured:.0%}"
    return (
        f"{mark}{result.policy}",
        f"{result.loss:.4g}",
        captured,
        str(result.trainings),
        str(result.refits),
        str(result.alarms) if result.alarms else "",
        str(result.alarms_paid) if result.alarms else "",
        f"{int(result.seconds) // 60}:{int(result.seconds) % 60:02d}",
    )
