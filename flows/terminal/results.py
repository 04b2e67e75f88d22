"""Output for a terminal of 80 columns: progress on stderr, results on stdout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from expectations.text.phrases import say_share
from flows.terminal.documentation import where_explained
from flows.terminal.safe_console import escape, results_console
from tasks.base.source_notes import ReadingNote, note_text
from tasks.base.text import numbers
from tasks.base.text.numbers import mode_words
from tasks.base.text.phrases import plural

if TYPE_CHECKING:
    from tasks.base.command_results import (
        ContractDiff,
        Draft,
        PipelineStatus,
        ScoringOutcome,
        TrainingOutcome,
        WrittenContract,
    )
    from tasks.base.training_records import ContractResult, LeaderboardRow, SetAside
    from tasks.evaluation.explanation.shap_values import RowExplanation

_SHOWN_COLUMNS = 40
_SHOWN_PUSHES = 12
_MOST_RULES = 12


def number(value: float | None) -> str:
    """Return `value` with enough digits to compare, large numbers grouped.

    >>> number(0.69371), number(1.0), number(83.217), number(54213.2), number(None)
    ('0.6937', '1.0000', '83.22', '54,213', '–')
    """
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.4g}"
    return f"{value:.4f}"


def show_training(outcome: TrainingOutcome) -> None:
    """Print leaderboard, verdict, version, report and one next command."""
    console = results_console()
    console.print()
    title = f"{outcome.pipeline}: {outcome.task}, {outcome.metric}"
    rows = f"{outcome.rows_train:,} rows to train on, {outcome.rows_holdout:,} held out"
    console.print(Text.assemble((title, "bold"), f"  {rows}"))
    if outcome.mode.kind == "refit" or outcome.mode.obstacle:
        console.print(mode_words(outcome.mode), markup=False)
    console.print(leaderboard(outcome.leaderboard, outcome.metric, outcome.challenger))
    for row in outcome.leaderboard:
        if row.reason:
            console.print(f"  {row.candidate}: {row.reason}", markup=False)
    console.print()
    style = "bold green" if outcome.verdict.promoted else "bold yellow"
    console.print(Text(outcome.verdict.sentence, style=style))
    # Labels that may be one are among the doubts.
    show_findings(console, [note for note in outcome.findings if note.kind != "label_twins"])
    _diagnosis(console, outcome.diagnosis)
    if outcome.unchanged:
        console.print("Nothing changed since that training, so nothing was computed again.")
        console.print("`--fresh` recomputes.", markup=False)
    elif outcome.reused:
        console.print(f"Used again, unchanged: {', '.join(outcome.reused)}.", markup=False)
    _facts(console, outcome)


def show_findings(console: Console, findings: Sequence[ReadingNote]) -> None:
    """Print notes on reading the source."""
    if findings:
        _named_texts(console, [("reading", note_text(note)) for note in findings])


def _diagnosis(console: Console, lines: tuple[tuple[str, str], ...]) -> None:
    if not lines:
        return
    console.print()
    _named_texts(console, lines)
    console.print()


def _named_texts(console: Console, lines: Sequence[tuple[str, str]]) -> None:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=10, style="dim")
    table.add_column(overflow="fold")
    for name, text in lines:
        table.add_row(name, escape(text))
    console.print(table)


def _mlflow(outcome: TrainingOutcome) -> dict[str, str]:
    if (pages := outcome.mlflow_pages) is None:
        return {"mlflow run": outcome.mlflow_run_id}
    shown = {"compare": pages.compare, "all runs": pages.table, "mlflow run": pages.run}
    return {**({"mlflow": f"{pages.server}  # then"} if pages.server else {}), **shown}


def _facts(console: Console, outcome: TrainingOutcome) -> None:
    warned = plural(outcome.contract_warnings, "warning")
    facts = {
        "contract": f"held, {warned}: {near(outcome.contract_page)}",
        "report": near(outcome.report),
        **_mlflow(outcome),
        "took": numbers.seconds(outcome.seconds),
        "explained": where_explained("report"),
    }
    if outcome.model:
        alias = "champion" if outcome.champion_version == outcome.model.version else "not champion"
        facts = {"version": f"{outcome.model.name} v{outcome.model.version} ({alias})", **facts}
    for name, value in facts.items():
        console.print(Text.assemble((f"{name:<11}", "dim"), value), soft_wrap=True)
    console.print(Text.assemble("Next: ", (outcome.next_command, "bold")), soft_wrap=True)


def near(path: str) -> str:
    """Return `path` relative to the working folder where that is shorter."""
    try:
        relative = os.path.relpath(path)
    except ValueError:
        return path
    return relative if len(relative) < len(path) else path


def leaderboard(rows: tuple[LeaderboardRow, ...], metric: str, challenger: str) -> Table:
    """Return the leaderboard as a table that fits 80 columns."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("candidate", no_wrap=True)
    for name in (f"cv {metric}", "holdout", "95 % interval", "fit", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        chosen = row.candidate == challenger
        label = Text(f"{'▸' if chosen else ' '} {row.candidate}", style="bold" if chosen else "")
        if row.status != "ok":
            table.add_row(label, Text(row.status, style="yellow"))
            continue
        spread = "" if row.cv_std is None else f" ±{number(row.cv_std)}"
        known = row.holdout_low is not None
        table.add_row(
            label,
            f"{number(row.cv_mean)}{spread}",
            number(row.holdout),
            f"{number(row.holdout_low)}–{number(row.holdout_high)}" if known else "–",
            f"{row.fit_seconds:.1f} s" if row.fit_seconds is not None else "–",
            numbers.size(row.model_bytes),
        )
    return table


def show_row(explanation: RowExplanation) -> None:
    """Print each column's contribution to the prediction of one row, the greatest first."""
    console = results_console()
    console.print(row_sentence(explanation), markup=False)
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for name in ("column", "value"):
        table.add_column(name, overflow="ellipsis", no_wrap=True, max_width=28)
    table.add_column("contribution", justify="right")
    most = max((abs(p.push) for p in explanation.pushes), default=0.0) or 1.0
    for push in explanation.pushes[:_SHOWN_PUSHES]:
        bar = ("+" if push.push > 0 else "-") * round(12 * abs(push.push) / most)
        table.add_row(escape(push.column), escape(push.value), f"{push.push:+.3g}", bar)
    console.print(table)
    console.print(scale_sentence(explanation), markup=False)


def row_sentence(row: RowExplanation) -> str:
    """Return the prediction of a row as a sentence."""
    of = "" if row.label == row.prediction else f"{row.label} "
    stated = "" if row.probability is None else f" ({of}{row.probability:.1%})"
    return f"{row.pipeline} v{row.version} predicts {row.prediction}{stated} of row {row.row}."


def scale_sentence(row: RowExplanation) -> str:
    """Return the scale of the contributions, and where it starts."""
    start = f"An average row has {row.base:.3g}, the {row.scale}."
    if row.method == "contributions":
        return f"{start} All contributions together lead from it to this row's."
    return f"{start} A contribution is the output minus its mean with other rows' values there."


def _show_set_aside(console: Console, aside: SetAside) -> None:
    console.print(
        Text(f"  {aside.rows:,} of {aside.of:,} rows broke the contract and are set aside:"),
        style="yellow",
    )
    for rule in aside.rules[:_MOST_RULES]:
        text = f"    {rule.name}: {rule.observed}; expected {rule.expected}"
        console.print(Text(text), soft_wrap=True)
    console.print(Text(f"  They are kept in {aside.file}"), soft_wrap=True)
    if aside.accept_command:
        console.print("  Fix them at their source, or accept the change:")
        console.print(Text(f"    {aside.accept_command}\n  Then:"), soft_wrap=True)
    else:
        console.print("  Fix them at their source, then:")
    console.print(Text(f"    {aside.score_command}"), soft_wrap=True)


def show_scoring(outcome: ScoringOutcome) -> None:
    """Print the number of scored rows, the version, and where the predictions are."""
    console = results_console()
    new = "new " if outcome.scope == "new" else ""
    console.print(
        f"{plural(outcome.scored, f'{new}row')} scored by {outcome.pipeline} v{outcome.version} "
        f"in {numbers.seconds(outcome.seconds)}."
    )
    if outcome.scope == "new" and not outcome.scored:
        console.print("`--all` scores every row of the source, `--input` those of a file.")
    if outcome.written is not None and outcome.written < outcome.scored:
        console.print(f"  {outcome.written:,} of them written.")
    for column, count in sorted(outcome.unseen.items(), key=lambda item: -item[1])[:10]:
        share = say_share(count / max(outcome.rows, 1))
        console.print(
            f"  {column}: {count:,} of {plural(outcome.rows, 'row')} ({share}) of a category "
            "not in the contract",
            markup=False,
        )
    if outcome.quarantined is not None:
        _show_set_aside(console, outcome.quarantined)
    if outcome.contract_warnings:
        warned = plural(outcome.contract_warnings, "contract warning")
        console.print(Text(f"  {warned}: {outcome.contract_page}"), soft_wrap=True)
    show_findings(console, outcome.findings)
    if outcome.output:
        console.print(f"Predictions: {outcome.output}", markup=False, soft_wrap=True)


def show_draft(draft: Draft) -> None:
    """Print the columns, assumptions and files of `init`."""
    console = results_console()
    console.print(f"{plural(draft.rows, 'row')}, {len(draft.columns)} columns; task: {draft.task}")
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("column", max_width=44, overflow="ellipsis", no_wrap=True)
    table.add_column("kind")
    table.add_column("role", overflow="fold")
    for column in draft.columns[:_SHOWN_COLUMNS]:
        table.add_row(escape(column.name), column.kind, escape(column.role))
    console.print(table)
    if len(draft.columns) > _SHOWN_COLUMNS:
        console.print(f"… and {len(draft.columns) - _SHOWN_COLUMNS} more")
    _assumptions(console, draft.assumptions)
    console.print(f"Wrote {draft.file}", markup=False, soft_wrap=True)
    console.print(f"      {draft.contract}", markup=False, soft_wrap=True)
    about = " · ".join(map(where_explained, ("pipeline-file", "contract")))
    console.print(f"About both: {about}", markup=False, soft_wrap=True)
    console.print(Text.assemble("Next: ", (draft.next_command, "bold")))


def _assumptions(console: Console, assumptions: tuple[str, ...]) -> None:
    if assumptions:
        console.print("Assumed:")
    for sentence in assumptions:
        console.print(f"  - {sentence}", markup=False)


def show_contract(written: WrittenContract) -> None:
    """Print where the contract was written."""
    console = results_console()
    console.print(
        f"Wrote {written.file}: {written.columns} columns, from {plural(written.rows, 'row')}.",
        markup=False,
        soft_wrap=True,
    )
    _assumptions(console, written.assumptions)


def show_contract_diff(found: ContractDiff) -> None:
    """Print the differences from the contract, and which were accepted."""
    console = results_console()
    rules = f"{len(found.differences)} of {plural(found.rules, 'rule')}"
    differ = "differs" if found.rows == 1 else "differ"
    console.print(f"{plural(found.rows, 'row')} {differ} from the contract in {rules}.")
    for one in found.differences:
        taken = one.rule in found.accepted
        style = "green" if taken else "red" if one.severity == "error" else "yellow"
        head = Text.assemble((one.rule, f"bold {style}"), (f"  {one.severity}", "dim"))
        console.print(head, soft_wrap=True)
        for word, text in (
            ("limit", one.limit),
            ("found", one.observed),
            ("accepted" if taken else "proposed", one.proposed or "nothing: change it by hand"),
        ):
            console.print(Text.assemble((f"  {word:<9}", "dim"), text))
    if found.accepted:
        console.print(Text(f"Changed in the contract: {', '.join(found.accepted)}"), soft_wrap=True)
    console.print(Text(f"Contract: {found.file}"), soft_wrap=True)
    if found.next_command:
        console.print(Text.assemble("Next: ", (found.next_command, "bold")), soft_wrap=True)


def show_contract_result(result: ContractResult) -> None:
    """Print that the contract held, and what it warned of."""
    from tasks.contracts.snapshot_check import describe  # defers numpy

    console = results_console()
    held = sum(rule.passed for rule in result.rules)
    console.print(
        f"The contract held: {held} of {len(result.rules)} rules, {plural(result.rows, 'row')}."
    )
    for rule in result.warnings:
        console.print(f"  warning {describe(rule).strip()}", markup=False)
    console.print(f"Page: {result.page}", markup=False, soft_wrap=True)


def show_trainings(found: PipelineStatus) -> None:
    """Print the last trainings of a pipeline, and the size of its state folder."""
    console = results_console()
    if found.trainings:
        table = Table(box=None, padding=(0, 1), pad_edge=False)
        holdout = f"holdout {found.metric or ''}"
        for name in ("finished (UTC)", "version", "challenger", holdout, "verdict"):
            table.add_column(name, no_wrap=name == "challenger")
        for outcome in found.trainings:
            value = outcome.metrics.get(outcome.metric)
            table.add_row(
                outcome.finished.strftime("%Y-%m-%d %H:%M"),
                f"v{outcome.model.version}" if outcome.model else "–",
                outcome.challenger,
                number(value.value if value else None),
                "promoted" if outcome.verdict.promoted else f"kept: {outcome.verdict.rule}",
            )
        console.print()
        console.print(table)
    console.print(
        f"State: {found.state} ({numbers.size(found.state_bytes)})", markup=False, soft_wrap=True
    )
