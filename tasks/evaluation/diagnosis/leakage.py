"""Signs of leakage: duplicate rows across the split, a score too good to be true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from tasks.base.arrays import Ints, Mask
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.source_notes import note_text
from tasks.base.text.numbers import metric_words, number
from tasks.base.text.phrases import listed
from tasks.base.training_records import CandidateResult, Evaluation, MetricValue, Schema
from tasks.data.row_hashes import among, repeats, row_hashes
from tasks.data.snapshots import Columns
from tasks.evaluation.findings import Level, Suspicion
from tasks.metrics.bootstrap import whole
from tasks.metrics.paired_bootstrap import Predictions
from tasks.metrics.scorer import sampled

MOST_CELLS = 60_000_000
TOO_GOOD = 0.995
_MANY = 0.01
_FEW_GROUPS = 10
_NAMED = 5
_SMALL_SHARE = 0.05


@dataclass(frozen=True)
class Duplicates:
    """Holdout rows whose features stand in the training rows too."""

    known: Mask  # which holdout rows, (n_holdout,)
    within: float  # share of training rows that repeat an earlier one


def duplicates(path: str, features: list[str], train: Ints, holdout: Ints) -> Duplicates | None:
    """Return which holdout rows equal a training row in every feature; None of large tables."""
    table = Columns(path)
    if not features or table.num_rows * len(features) > MOST_CELLS:
        return None
    hashes = row_hashes(table, features)
    learned = hashes[train]
    within = 1 - (len(learned) - repeats(learned)) / max(1, len(train))
    return Duplicates(among(hashes[holdout], learned), within)


def few_groups(column: str | None, groups: Ints | None) -> tuple[Suspicion, ...]:
    """Return that the holdout has rows of a few groups only, where it has.

    >>> few_groups("speaker", np.array([0, 0, 1]))[0].sentence
    "The holdout has rows of 2 'speaker' groups only: of others the score may be quite different."
    """
    count = None if groups is None else len(np.unique(groups))
    if column is None or count is None or count >= _FEW_GROUPS:
        return ()
    text = (
        f"The holdout has rows of {count} {column!r} group{'' if count == 1 else 's'} only: of "
        "others the score may be quite different."
    )
    return (Suspicion(about="groups", level="warning", sentence=text),)


def label_suspicions(schema: Schema) -> tuple[Suspicion, ...]:
    """Return that labels which may be one count as several classes."""
    return tuple(
        Suspicion(about="labels", level="warning", sentence=f"{text[:1].upper()}{text[1:]}.")
        for text in map(note_text, schema.twins)
    )


def leak_suspicions(leaks: Mapping[str, str]) -> tuple[Suspicion, ...]:
    """Return one suspicion of all columns that look like leaks; `leaks`: column to a sentence.

    >>> leak_suspicions({"paid": "…", "closed": "…"})[0].sentence
    "'paid', 'closed' look like leaks, for the reasons under Data in the report: unless they are \
known before the prediction is made, put them under `exclude`."
    """
    if not leaks:
        return ()
    sentence = f"{next(iter(leaks.values()))}."
    if len(leaks) > 1:
        sentence = (
            f"{listed([repr(name) for name in leaks], 8)} look like leaks, for the reasons under "
            "Data in the report: unless they are known before the prediction is made, put them "
            "under `exclude`."
        )
    return (Suspicion(about="leak", level="warning", sentence=sentence),)


def duplicate_suspicion(
    found: Duplicates | None, y_true: ArrayLike, model: Predictions, schema: Schema, metric: str
) -> Suspicion:
    """Return the effect of the duplicates: the metric without them shows whether they matter."""
    note = partial(Suspicion, about="duplicates", level="note")
    if found is None:
        return note(sentence="The table is too large to look for duplicates across the split.")
    count, share = int(found.known.sum()), float(found.known.mean())
    if not count:
        return note(sentence="No holdout row equals a training row in every feature.")
    text = f"{count:,} holdout rows ({share:.1%}) equal a training row in every feature"
    if share < _MANY:
        return note(sentence=f"{text}: too few to matter.")
    values = [_score(rows, y_true, model, schema, metric) for rows in (None, ~found.known)]
    if (~found.known).sum() >= 30 and all(v is not None for v in values):
        text += (
            f"; without them {metric_words(metric)} is {number(values[1])} instead of "
            f"{number(values[0])}"
        )
    repeat = found.within > 0.5 * share
    cause = (
        "Training rows repeat each other as often, so the features have few combinations, or rows "
        "were copied: name the id columns, or drop copies, to find out."
        if repeat
        else "Copies on both sides make the score too good: drop them, or split by what they share."
    )
    level: Level = "note" if repeat and share < 0.2 else "warning"
    return Suspicion(about="duplicates", level=level, sentence=f"{text}. {cause}")


def _score(
    rows: Mask | None, y_true: ArrayLike, model: Predictions, schema: Schema, metric: str
) -> float | None:
    y, part = (y_true, model) if rows is None else (np.asarray(y_true)[rows], model.only(rows))
    count = len(np.asarray(y))
    if not count:
        return None
    value, _ = sampled(metric, y, part.predicted, part.probability, schema, whole(count))
    return value if np.isfinite(value) else None


def too_good(
    evaluation: Evaluation, result: CandidateResult, metric: str, baseline: float | None
) -> tuple[Suspicion, ...]:
    """Return suspicions about the challenger's score itself."""
    found = []
    # One class against nine others is easy: of several classes accuracy is more informative.
    names = ("r2", "accuracy") if len(evaluation.per_class) > 2 else ("roc_auc", "r2", "accuracy")
    for name in names:
        value = evaluation.metrics.get(name, MetricValue(value=None)).value
        if value is not None and value >= TOO_GOOD and not _easy(name, value, evaluation, baseline):
            text = (
                f"{metric_words(name)} {value:.4f} is rarely true: check that every column is "
                f"known before the prediction is made{_resting_on(result)}."
            )
            found.append(Suspicion(about="score", level="warning", sentence=text))
            break
    holdout = evaluation.metrics.get(metric)
    if holdout is not None and (unlike := _unlike_validation(holdout, result, metric)):
        found.append(unlike)
    return tuple(found)


def _resting_on(result: CandidateResult) -> str:
    """Return the columns that the model depends on most, to end a sentence; empty where unknown."""
    first = sorted(result.importance.items(), key=lambda item: -item[1])[:_NAMED]
    names = [f"{column} ({share:.0%})" for column, share in first if share >= _SMALL_SHARE]
    return f", above all those that it rests on: {', '.join(names)}" if names else ""


def _easy(name: str, value: float, evaluation: Evaluation, baseline: float | None) -> bool:
    """Whether a high accuracy only means that one class is almost everywhere."""
    if name != "accuracy" or not evaluation.confusion:
        return False
    rows = np.asarray(evaluation.confusion, dtype=np.float64).sum(axis=1)
    return bool(rows.max() / max(rows.sum(), 1.0) > 0.9) or baseline == value


def _unlike_validation(
    holdout: MetricValue, result: CandidateResult, metric: str
) -> Suspicion | None:
    """Return a suspicion where the holdout lies far from validation."""
    if None in (holdout.value, holdout.low, holdout.high, result.cv_mean, result.cv_std):
        return None
    sign = 1.0 if greater_is_better(metric) else -1.0
    half = (holdout.high - holdout.low) / 2  # type: ignore[operator]
    noise = 2 * float(np.hypot(half / 2, result.cv_std or 0.0))
    ahead = sign * (holdout.value - (result.cv_mean or 0.0))  # type: ignore[operator]
    if abs(ahead) <= noise:
        return None
    scores = f"{number(holdout.value, half)} on the holdout, {number(result.cv_mean, half)} in "
    if ahead > 0:
        return Suspicion(
            about="validation",
            level="warning" if ahead > 2 * noise else "note",
            sentence=f"{metric_words(metric)} is better than validation promised: {scores}"
            "cross-validation. Models of the folds learn from fewer rows; else the holdout is "
            "easier, and the score may not last.",
        )
    return Suspicion(
        about="validation",
        level="warning",
        sentence=f"{metric_words(metric)} is worse than validation promised: {scores}"
        "cross-validation. The holdout differs from the training rows, as after a change in time.",
    )
