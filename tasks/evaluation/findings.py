"""Findings of a diagnosis as values: they pass between tasks, the report draws them as text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.base.training_records import MetricValue, Picture, Record, Trial

Fit = Literal["good", "overfits", "memorises", "trails", "underfits", "no_signal", "unknown"]
Level = Literal["note", "warning"]


class FitVerdict(Record):
    """Fit of one candidate, from the rows it learned from and the rows it never saw.

    Attributes
    ----------
    train
        The metric on a sample of the rows that the final model was fitted on.
    holdout
        The metric of the same model on the holdout.
    gap
        Share of what it gains over the baseline on its own rows that is lost on unseen ones;
        None where it gains nothing.
    behind
        By how much the best candidate is better on the holdout, greater is further behind, with
        its interval.
    sentence
        The verdict in words; `advice` is what to try.
    """

    candidate: str
    fit: Fit
    train: float | None
    holdout: float | None
    gap: float | None = None
    behind: MetricValue | None = None
    sentence: str
    advice: str = ""


class CurvePoint(Record):
    """Mean scores of models fitted on so many rows; deviations over repeats, 0 of one fit."""

    rows: int
    train: float
    valid: float
    train_std: float = 0.0
    valid_std: float = 0.0
    repeats: int = 1


class LearningCurve(Record):
    """Score against rows, and what twice the rows would bring.

    Attributes
    ----------
    gain, low, high
        What twice the most rows would improve the metric by, oriented so that greater is better,
        with a 90 % interval; None where too few points were fitted.
    verdict
        Whether that is worth having.
    """

    candidate: str
    metric: str
    points: tuple[CurvePoint, ...]
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: Literal["helps", "little", "unclear", "unknown"] = "unknown"
    sentence: str = ""


class Suspicion(Record):
    """Something that makes the score doubtful, or shows that it was looked for."""

    about: str
    level: Level
    sentence: str


class FoldEvidence(Record):
    """The gain over the baseline, on the folds, of the candidate that shows it best.

    Attributes
    ----------
    score, baseline
        Mean of the metric over the folds.
    gain
        Mean difference over the folds, greater is better.
    noise
        What the gain has to exceed to be more than chance.
    """

    candidate: str
    score: float
    baseline: float
    gain: float
    noise: float
    folds: int

    @property
    def shown(self) -> bool:
        """Whether the candidate beats the baseline on the folds beyond noise."""
        return self.gain > self.noise


class Confusion(Record):
    """A true class taken for another one, so many times."""

    true: str
    predicted: str
    rows: int
    share: float


class WorstRow(Record):
    """A holdout row on which the model is most wrong; `row` is empty unless ids are allowed.

    Attributes
    ----------
    loss
        Of a class its loss, of a number by how much it is missed; of several rows the greatest.
    rows
        How many rows are alike: where ids are not shown, those of one truth and prediction,
        stated with the same whole per cent, are one entry.
    """

    row: str
    true: str
    predicted: str
    stated: float | None
    loss: float
    rows: int = 1


class WeakSlice(Record):
    """Holdout rows on which the loss is higher, confirmed on rows that did not choose them.

    Attributes
    ----------
    where
        In words, such as ``age > 40 and city is Bern``.
    rows, share
        Of the whole holdout.
    loss, rest
        Mean loss in the slice and elsewhere, on the confirming half.
    p_value
        One-sided, corrected for the slices tried.
    surprise
        Whether the model also errs more than its own probabilities imply.
    """

    where: str
    rows: int
    share: float
    loss: float
    rest: float
    score: float | None
    p_value: float
    surprise: bool = False


class SliceScore(Record):
    """One value (or range) of a column, with the metric on its rows."""

    value: str
    rows: int
    score: MetricValue


class ByColumn(Record):
    """The metric by the values of one column."""

    column: str
    metric: str
    levels: tuple[SliceScore, ...]
    sentence: str


class GroupRow(Record):
    """One group of a sensitive column; differences are to the largest group."""

    value: str
    rows: int
    rates: dict[str, MetricValue]
    differences: dict[str, MetricValue] = Field({})


class GroupDifference(Record):
    """The groups of one sensitive column, the largest first."""

    column: str
    groups: tuple[GroupRow, ...]
    sentence: str


class Diagnosis(Record):
    """Findings about one training.

    Attributes
    ----------
    made
        How the challenger came about: what tuning, calibration, threshold and mixing found.
    asked
        Those of `made` about options that the pipeline file sets, by their subject.
    trials
        Candidate to what tuning tried of it, the challenger first.
    folds
        Whether a candidate beats the baseline on the folds; None where they are too few.
    errors
        Sentences about mistakes: their counts, confusions, labels.
    steps
        What to try next, what matters most first; or to stop.
    lines
        What a terminal prints: a word, and a sentence or two, each.
    left_out
        What a refit's diagnosis does without, in a sentence; empty of a search.
    """

    made: tuple[str, ...] = ()
    asked: dict[str, tuple[str, ...]] = Field({})
    trials: dict[str, tuple[Trial, ...]] = Field({})
    fits: tuple[FitVerdict, ...] = ()
    learning: LearningCurve | None = None
    folds: FoldEvidence | None = None
    suspicions: tuple[Suspicion, ...] = ()
    errors: tuple[str, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    worst: tuple[WorstRow, ...] = ()
    slices: tuple[WeakSlice, ...] = ()
    slices_sentence: str = ""
    by: tuple[ByColumn, ...] = ()
    groups: tuple[GroupDifference, ...] = ()
    steps: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    lines: tuple[tuple[str, str], ...] = ()
    left_out: str = ""

    def of(self, candidate: str) -> FitVerdict | None:
        """Return the verdict on `candidate`, or None."""
        return next((f for f in self.fits if f.candidate == candidate), None)
