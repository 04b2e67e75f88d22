"""The card of a registered version: what it is for, what it stands on, how good it is, its limits.

Source: Mitchell and others (2019), Model cards for model reporting, FAT*.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.base.text.numbers import metric_words, mode_words, moment, number
from tasks.base.text.phrases import listed, plural, valued
from tasks.base.training_records import (
    Assessment,
    Basis,
    CandidateResult,
    ModelVersion,
    TrainingMode,
    Verdict,
)
from tasks.evaluation.findings import Diagnosis
from tasks.reporting.report.page_environment import filled, page_environment
from tasks.reporting.report.report_rows import score

_TEMPLATES = Path(__file__).parent / "templates"
_SHORT = 1_200
_MARKS = re.compile(r"([\\`*_{}\[\]<>#+|!~])")


@dataclass(frozen=True)
class Part:
    """A heading with what stands below it: paragraphs, a list, a table."""

    title: str
    paragraphs: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Card:
    """A model card; `summary` is what the registry shows beside the version."""

    title: str
    summary: str
    parts: tuple[Part, ...] = field(default=())


def make_card(
    purpose: str,
    source: str,
    retrain: Sequence[str],
    basis: Basis,
    results: Sequence[CandidateResult],
    assessment: Assessment,
    verdict: Verdict,
    version: ModelVersion,
    diagnosis: Diagnosis,
) -> Card:
    """Return the card of a version; `retrain` has what would make it be trained again."""
    roles, split, metric = basis.roles, basis.split, basis.prepared.metric
    evaluation = assessment.of(assessment.challenger)
    title = f"{version.name} version {version.version}"
    stated = purpose or (
        f"Predicts {roles.target} ({roles.task}). Nobody has written down what for: "
        "`description` in the pipeline file is shown here."
    )
    deciding = valued(evaluation.metrics[metric])
    summary = (
        f"{purpose + chr(10) * 2 if purpose else ''}{assessment.challenger}: "
        f"{metric_words(metric)} {deciding} on {split.n_holdout:,} held-out rows.\n\n"
        f"{mode_words(basis.prepared.mode)}\n\n{verdict.sentence}"
    )
    if version.tags.get("keepfit.refitted") == "true":
        summary += "\n\nFitted once more on the whole window after the verdict."
    parts = (
        Part("Purpose", (stated,)),
        _data(source, basis),
        Part("Contract", _contract(basis)),
        Part(
            "Metrics",
            (f"On {split.n_holdout:,} rows that it was not trained on, with 95 % intervals.",),
            header=("metric", "value", "interval"),
            rows=tuple(
                (metric_words(n), *score(v))
                for n, v in evaluation.metrics.items()
                if v.value is not None
            ),
        ),
        _slices(diagnosis),
        Part("Limits", items=limits(basis, assessment.challenger, diagnosis)),
        _selection(results, assessment, verdict, metric, basis.prepared.mode),
        Part("What would make it be trained again", items=tuple(retrain)),
    )
    return Card(title, summary[:_SHORT], parts)


def _data(source: str, basis: Basis) -> Part:
    snapshot, split, roles = basis.snapshot, basis.split, basis.roles
    rows = [
        ("source", source),
        ("rows", f"{snapshot.rows:,}: {split.n_train:,} to train on, {split.n_holdout:,} held out"),
        ("digest", snapshot.digest),
        ("target", f"{roles.target} ({roles.task})"),
        ("features", f"{len(roles.features)}: {listed(list(roles.features), 12)}"),
    ]
    if snapshot.start is not None:
        rows.insert(1, ("window", f"{moment(snapshot.start)} to {moment(snapshot.end)}"))
    held = "the newest rows" if split.rule == "time" else "rows by a stable hash"
    if split.rule == "hash" and split.group is not None:
        held = f"every row of some {split.group}s, by a stable hash"
    rows.append(("held out", held))
    return Part("Data", header=("what", "value"), rows=tuple(rows))


def _contract(basis: Basis) -> tuple[str, ...]:
    contract = basis.contract
    held = sum(rule.passed for rule in contract.rules)
    return (
        f"{held} of {len(contract.rules)} rules held, {len(contract.warnings)} with a warning. "
        f"Digest {contract.contract_digest}.",
    )


def _slices(diagnosis: Diagnosis) -> Part:
    sentences = [
        s for s in (diagnosis.slices_sentence, *(g.sentence for g in diagnosis.groups)) if s
    ]
    rows = tuple(
        (f"{by.column} is {level.value}", f"{level.rows:,}", valued(level.score))
        for by in diagnosis.by
        for level in by.levels
    )
    header = ("rows where", "rows", diagnosis.by[0].metric) if rows else ()
    return Part("Slices", tuple(sentences), header=header, rows=rows)


def limits(basis: Basis, challenger: str, diagnosis: Diagnosis) -> tuple[str, ...]:
    """Return the caveats for users of the model, a sentence each."""
    fit = diagnosis.of(challenger)
    found = [fit.sentence] if fit is not None and fit.fit not in ("good", "unknown") else []
    found += [s.sentence for s in diagnosis.suspicions if s.level == "warning"]
    found += list(diagnosis.errors)
    if diagnosis.learning is not None and diagnosis.learning.sentence:
        found.append(diagnosis.learning.sentence)
    if basis.snapshot.end is not None:
        found.append(
            f"It has seen nothing newer than {moment(basis.snapshot.end)}; what has changed since, "
            "it does not know."
        )
    else:
        found.append("Rows carry no time, so that a change over time is not among what was tested.")
    found.append("It shows what goes together in these rows, not what causes what.")
    return tuple(found)


def _selection(
    results: Sequence[CandidateResult],
    assessment: Assessment,
    verdict: Verdict,
    metric: str,
    mode: TrainingMode,
) -> Part:
    folds = max((r.cv_folds for r in results), default=0)
    fitted = sum(r.status == "ok" and r.candidate != "baseline" for r in results)
    chosen = (
        f"{assessment.challenger} had the best {metric_words(metric)} of "
        f"{plural(fitted, 'candidate')} in validation ({folds} parts); the holdout chose nothing."
    )
    how = f"{mode_words(mode) if mode.kind == 'refit' else chosen} The gate: {verdict.sentence}"
    rows = tuple(
        (row.candidate, number(row.cv_mean, row.cv_std), number(row.holdout))
        for row in assessment.leaderboard
        if row.status == "ok"
    )
    return Part(
        "How it was selected", (how,), header=("candidate", "validation", "holdout"), rows=rows
    )


def card_markdown(card: Card) -> str:
    """Return the card as Markdown; what could be taken for markup is escaped."""
    lines = [f"# {_escaped(card.title)}", ""]
    for part in card.parts:
        lines += [f"## {_escaped(part.title)}", ""]
        for paragraph in part.paragraphs:
            lines += [_escaped(paragraph), ""]
        lines += [f"- {_escaped(item)}" for item in part.items]
        if part.items:
            lines.append("")
        if part.rows:
            lines.append(f"| {' | '.join(map(_escaped, part.header))} |")
            lines.append(f"|{'---|' * len(part.header)}")
            lines += [f"| {' | '.join(map(_escaped, row))} |" for row in part.rows]
            lines.append("")
    return "\n".join(lines).encode("utf-8", "replace").decode("utf-8")


def _escaped(text: str) -> str:
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def card_html(card: Card) -> str:
    """Return the card as one page of HTML that loads nothing; every value is escaped."""
    return filled(page_environment(_TEMPLATES), "card.html.j2", card=card)
