"""Results of the loop for a terminal of 80 columns: status, why, monitor, promote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from expectations.text.phrases import say_share
from flows.terminal.results import near, number, show_findings
from flows.terminal.safe_console import results_console, safe
from tasks.base.servers.stack_file import running_stack
from tasks.base.text import numbers
from tasks.base.text.commands import command
from tasks.base.text.phrases import (
    KINDS,
    UNRECORDED,
    brief,
    elapsed,
    harm_words,
    listed,
    minute,
    plural,
    span,
    valued,
)  # fmt: skip
from tasks.orchestration.prefect_api import configured_api
from tasks.policy.gain_sentences import gain_method, gain_sentence

if TYPE_CHECKING:
    from tasks.base.command_results import MonitoringOutcome, SeenWindow
    from tasks.base.monitoring_records import (
        ColumnFinding,
        Decision,
        DriftResult,
        Gain,
        GainAnswer,
        Performance,
    )
    from tasks.base.training_records import MetricValue
    from tasks.history.overview import PipelineHealth
    from tasks.lineage.evidence_chain import Chain
    from tasks.lineage.records import Link

_MOST_COLUMNS = 12
_HEALTH = {
    "healthy": "bold green",
    "on probation": "bold cyan",
    "retraining": "bold yellow",
    "drifting": "bold yellow",
    "falling": "bold yellow",
    "stale": "bold yellow",
    "stopped": "bold red",
    "no champion": "bold",
}
_TONES = {"good": "green", "bad": "red", "warn": "yellow", "plain": "cyan", "quiet": "dim"}
_STEPS = {
    "alarm": "yellow",
    "promoted": "green",
    "confirmed": "green",
    "rolled back": "red",
    "refused": "yellow",
    "replaced": "dim",
}


def _line(console: Console, name: str, value: str | Text) -> None:
    console.print(Group(*_named(console, name, value)), soft_wrap=True)


def _named(console: Console, name: str, value: str | Text) -> list[Text]:
    value = value if isinstance(value, Text) else Text(value)
    return _beside(console, Text(f"{name:<11} ", style="dim"), value)


def _beside(console: Console, lead: Text, value: Text) -> list[Text]:
    """Return the lines of a text to the right of its lead; tables take rich four times as long."""
    # Safe before it is wrapped: afterwards a break of a name cannot be told from one of the lines.
    lines = safe(value).wrap(console, max(1, console.width - lead.cell_len), overflow="fold")
    for line in lines:
        line.rstrip()
    return [(lead if n == 0 else Text(" " * lead.cell_len)) + line for n, line in enumerate(lines)]


def show_chain(chain: Chain) -> None:
    """Print why a version scores or does not: a timeline, then what to open."""
    console = results_console()
    state = "the champion" if chain.champion else "not the champion"
    console.print(Text.assemble((f"{chain.pipeline} v{chain.version}", "bold"), f": {state}"))
    table = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    for width in (16, 11, None):
        table.add_column(width=width, no_wrap=width is not None, overflow="fold")
    shown = ""
    for step in chain.steps:
        when = minute(step.at) if step.at else ""
        moment = "" if when == shown else when
        shown = when or shown
        style = _STEPS.get(step.what, "bold")
        table.add_row(Text(moment, style="dim"), Text(step.what, style=style), Text(step.sentence))
    console.print(table)
    for sentence in chain.missing:
        console.print(Text(f"- {sentence}", style="dim"))
    _open(console, _collected(chain.steps))
    if chain.correlation:
        _line(console, "correlation", chain.correlation)


def _collected(steps: Iterable[Link]) -> dict[str, str]:
    """Return links by step and name, each address once."""
    found: dict[str, str] = {}
    for step in steps:
        for name, target in step.links.items():
            if target not in found.values():
                found[name if name == step.what else f"{step.what} {name}"] = target
    return found


def _open(console: Console, targets: Mapping[str, str]) -> None:
    if not targets:
        return
    console.print()
    for name, target in targets.items():
        place = target if "://" in target else near(target)
        console.print(Text.assemble((f"{name:<17}", "dim"), " ", place), soft_wrap=True)


def show_overview(found: Sequence[PipelineHealth]) -> None:
    """Print each pipeline's health, its last runs and its next ones."""
    console = results_console()
    for place, health in enumerate(found):
        if place:
            console.print()
        _health(console, health)
    stores = found[0].stores if found else {}
    if stores:
        console.print()
        sizes = ", ".join(f"{name} {numbers.size(count)}" for name, count in stores.items())
        _line(console, "stores", sizes)


def _health(console: Console, health: PipelineHealth) -> None:
    style = _HEALTH[health.health]
    lines = [
        Text.assemble((health.pipeline, "bold"), "  ", (health.health, style)),
        *_named(console, "", health.reason),
        *(line for named in health_lines(health) for line in _named(console, *named)),
    ]
    if health.waiting:
        lines.append(Text(f"            {health.waiting_command}"))
    for decision in health.latest:
        word, tone = KINDS[decision.kind]
        lead = Text.assemble((f"{minute(decision.at)} ", "dim"), (f"{word:<11} ", _TONES[tone]))
        lines += _beside(console, lead, Text(_first(decision.sentence)))
    lines.append(Text.assemble("Next: ", (health.next_command, "bold")))
    console.print(Group(*lines), soft_wrap=True)


def health_lines(health: PipelineHealth) -> Iterator[tuple[str, str | Text]]:
    """Yield the state of a pipeline, by name; an unnamed line continues the previous one."""
    if health.fault:
        yield "file", f"{health.fault} Its last valid version is in use."
    if (champion := health.champion) is not None:
        age = "" if health.age_days is None else f", for {elapsed(health.age_days * 86_400)}"
        score = f", holdout {champion.metric} {valued(champion.score)}" if champion.score else ""
        candidate = f" {champion.candidate}" if champion.candidate else ""
        yield "champion", f"v{champion.version}{candidate}{age}{score}"
        if champion.unrecorded:
            yield "", UNRECORDED[champion.unrecorded]
    if health.performance is not None:
        yield "performance", _performance(health.performance)
    if health.gain is not None:
        yield "gain", f"{gain_sentence(health.gain, health.weighed)}."
    if (drift := health.drift) is not None:
        score = (
            f"{brief(drift.score)} of a limit of {brief(drift.limit)}"
            if drift.enough and drift.score is not None
            else "not enough data"
        )
        moved = f"; moved: {listed(drift.columns, 3)}" if drift.columns else ""
        # The score is that of the columns; what could hurt may be the predictions alone.
        moved = moved or (f"; {drift.harm}" if drift.harm else "")
        yield "drift", f"{score} in {span(drift.window)}{moved}"
    yield from _runs(health)
    if health.waiting:
        rows, broke = plural(health.waiting, "row"), listed(health.waiting_rules)
        yield "set aside", f"{rows} broke the contract ({broke}) and wait; the oldest file:"


def _runs(health: PipelineHealth) -> Iterator[tuple[str, str | Text]]:
    runs = running_stack(Path(health.state)) is not None or configured_api() is not None
    when = "next" if runs else "under keepfit up, next"
    for flow, word in (("scoring", "scored"), ("monitoring", "monitored"), ("training", "trained")):
        run, upcoming = health.last.get(flow), health.next_runs.get(flow)
        refit = health.next_runs.get("refit") if flow == "training" else None
        if run is None and upcoming is None and refit is None:
            continue
        text = Text("never" if run is None else minute(run.at))
        if run is not None and run.kind in ("stopped", "failed"):
            text.append(f" {run.kind}", style="red")
        if upcoming is not None:
            text.append(f"   {when} {minute(upcoming)}", style="dim")
        if refit is not None:
            text.append(f"   {when} refit {minute(refit)}", style="dim")
        yield word, text
    if (request := health.asked) is not None:
        by = f", outcome due by {minute(request.due)}" if request.due else ""
        yield "", f"requested {minute(request.at)}{by}"


def _first(text: str, most: int = 100) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _performance(found: Performance) -> str:
    value, mature = _stated(found)
    how = "realised" if mature else "estimated"
    reference = f", reference {valued(found.reference)}" if found.reference else ""
    worse = "worse: " if found.worse else ""
    if (value is None or value.value is None) and found.sentence:
        return f"{found.metric} not known in {span(found.window)}: {found.sentence}"
    return f"{worse}{how} {found.metric} {valued(value)}{reference} in {span(found.window)}"


def show_monitoring(outcome: MonitoringOutcome) -> None:
    """Print the findings of a monitoring pass, column by column, and its decision."""
    console = results_console()
    head = f"{outcome.pipeline} v{outcome.version}"
    rows = f": {plural(outcome.rows, 'row')} of {span(outcome.window)}"
    if len(outcome.windows) > 1:
        _windows(console, outcome)
    console.print(Text.assemble((head, "bold"), rows))
    console.print(Text(outcome.sentence, style="bold yellow" if outcome.alarm else "bold green"))
    if outcome.drift is not None:
        _drift(console, outcome.drift)
    for performance in outcome.performance:
        own = performance.window == outcome.window
        # Of an earlier window that was never scored nothing is known before or after.
        if own or value_of(performance):
            _line(console, "performance" if own else "restated", _performance(performance))
    _answer(console, outcome)
    if outcome.moved:
        _line(console, "champion", outcome.moved)
    if outcome.contract_warnings:
        _line(console, "contract", f"held, {plural(outcome.contract_warnings, 'warning')}")
    show_findings(console, outcome.findings)
    for name, target in {"report": outcome.report, "evidently": outcome.evidently}.items():
        if target:
            console.print(Text.assemble((f"{name:<11}", "dim"), " ", near(target)), soft_wrap=True)
    _line(console, "took", numbers.seconds(outcome.seconds))
    if outcome.next_command:
        console.print(Text.assemble("Next: ", (outcome.next_command, "bold")), soft_wrap=True)


def _answer(console: Console, outcome: MonitoringOutcome) -> None:
    if outcome.gain is not None:
        _line(console, "gain", _gain(outcome.gain, outcome.decision.weighed))
    if outcome.decision.sentence:
        _line(console, "policy", outcome.decision.sentence)


def _gain(gain: Gain, answer: GainAnswer) -> str:
    sentence, method = gain_sentence(gain, answer), gain_method(gain)
    return f"{sentence}. {method}." if method else f"{sentence}."


def _windows(console: Console, outcome: MonitoringOutcome) -> None:
    count = plural(len(outcome.windows), "window")
    console.print(Text.assemble((outcome.pipeline, "bold"), f": {count} looked at"))
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    metric = next((one.performance.metric for one in outcome.windows if one.performance), "")
    table.add_column("window", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column(Text(metric), justify="right", no_wrap=True)
    table.add_column("moved")
    for one in outcome.windows:
        table.add_row(
            Text(span(one.window)),
            Text("" if one.stopped else f"{one.rows:,}"),
            Text(*_word(one)),
            Text(value_of(one.performance)),
            Text(one.sentence if one.stopped else listed(one.drifted, 3)),
        )
    console.print(table)
    if any(value_of(one.performance).startswith("≈") for one in outcome.windows):
        console.print(Text("≈ estimated: labels are not in", style="dim"))
    if outcome.waiting:
        _line(console, "waiting", f"{plural(outcome.waiting, 'window')}, for the next pass")
    if outcome.empty:
        _line(console, "no rows", f"in {plural(outcome.empty, 'window')}, passed over")
    console.print()


def _word(one: SeenWindow) -> tuple[str, str]:
    if one.stopped:
        return "stopped", "red"
    if one.alarm:
        return "alarm", "yellow"
    return ("ordinary", "green") if one.enough else ("too few", "dim")


def _stated(found: Performance) -> tuple[MetricValue | None, bool]:
    """Return the metric, and whether it is realised with all labels in; else it is estimated."""
    mature = found.mature and found.realised is not None and found.realised.value is not None
    return found.realised if mature else found.estimated or found.realised, mature


def value_of(found: Performance | None) -> str:
    """Return the metric as realised, or as estimated with a sign before it."""
    if found is None:
        return ""
    value, mature = _stated(found)
    if value is None or value.value is None:
        return ""
    return f"{'' if mature else '≈ '}{brief(value.value)}"


def _columns(columns: Sequence[ColumnFinding]) -> Table:
    """Return the columns that moved, then those nearest their threshold, in 80 columns."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("column", no_wrap=True, overflow="ellipsis", max_width=26)
    for name in ("statistic", "threshold", "p", "missing", "unseen"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for found in sorted(columns, key=_rank)[:_MOST_COLUMNS]:
        missing = "–" if found.missing is None else say_share(found.missing)
        table.add_row(
            Text(" ".join(found.column.split()), style="bold" if found.drifted else ""),
            brief(found.statistic),
            brief(found.threshold),
            brief(found.p_value),
            missing,
            f"{found.unseen:,}" if found.unseen else "",
            Text(
                "moved" if found.drifted else "new" if found.role == "new" else "", style="yellow"
            ),
        )
    if len(columns) > _MOST_COLUMNS:
        table.add_row(Text(f"… {len(columns) - _MOST_COLUMNS} more", style="dim"))
    return table


def _drift(console: Console, drift: DriftResult) -> None:
    if drift.columns:
        console.print(_columns(drift.columns))
    if drift.harm:
        console.print(_harm(drift))


def _harm(drift: DriftResult) -> Table:
    """Return whether the window is unusual and whether it could hurt, measure by measure."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("unusual" if drift.alarm else "not unusual", no_wrap=True)
    for name in ("value", "limit"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("could hurt" if drift.harmful else "harmless", style="yellow", no_wrap=True)
    for found in drift.harm:
        text, value, limit = harm_words(found)
        beyond = (
            listed(tuple(" ".join(c.split()) for c in found.columns), 3) or "beyond"
            if found.found
            else ""
        )
        table.add_row(Text(text), value, limit, Text(beyond))
    if drift.restless:
        table.caption = "Every block of the training rows drifts: retrain on a schedule."
    return table


def _rank(found: ColumnFinding) -> tuple[bool, bool, float, float]:
    near_it = (found.statistic or 0.0) / (found.threshold or 1.0)
    new = found.role == "new"
    return (
        not found.drifted,
        not new,
        -(found.importance or 0.0) if found.drifted else 0.0,
        -near_it,
    )


def show_move(decision: Decision, file: Path | None = None) -> None:
    """Print that the champion was changed by hand or by its probation, and on what numbers."""
    console = results_console()
    word, tone = KINDS[decision.kind]
    console.print(Text(f"{decision.pipeline}: {word}", style=f"bold {_TONES[tone]}"))
    console.print(Text(decision.sentence))
    difference = decision.evidence.get("difference")
    if isinstance(difference, int | float) and not isinstance(difference, bool):
        _line(console, "difference", number(float(difference)))
    if decision.version:
        _line(console, "champion", f"v{decision.version}")
    _line(console, "recorded", f"{minute(decision.at)} UTC")
    console.print(
        Text.assemble("Next: ", (command("why", decision.version or "", file=file), "bold"))
    )
