"""Findings of a diagnosis as values: they pass between tasks, the report draws them as text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.base.training_records import MetricValue, Picture, Record, Trial

Fit = Literal["good", "overfits", "memorises", "trails", "underfits", "no_signal", "unknown"]
Level = Literal["note", "warning"]


class FitVerdict(Record):
    """Fit of one candidate, from the rows it learned from and the rows it never saw."""

    candidate: str
    fit: Fit
    train: float | None  # metric on a sample of the rows fitted on
    holdout: float | None  # metric of the same model
    gap: float | None = None  # share of its gain over the baseline that unseen rows lose
    behind: MetricValue | None = None  # the best candidate on the holdout
    sentence: str  # the verdict
    advice: str = ""  # what to try


class CurvePoint(Record):
    """Mean scores of models fitted on so many rows; deviations over repeats, 0 of one fit."""

    rows: int
    train: float
    valid: float
    train_std: float = 0.0
    valid_std: float = 0.0
    repeats: int = 1


class LearningCurve(Record):
    """Score against rows, and what twice the rows would bring."""

    # `gain`, with a 90 % interval, is what twice the most rows would improve the metric by, greater
    # is better; None where too few points were fitted. `verdict` is whether that is worth having.

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
    """The gain over the baseline, on the folds, of the candidate that shows it best."""

    candidate: str
    score: float  # mean over the folds
    baseline: float
    gain: float  # mean difference, greater is better
    noise: float  # what the gain has to exceed to be more than chance
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
    """A holdout row on which the model is most wrong; `row` is empty unless ids are allowed."""

    # Where ids are not shown, rows of one truth and prediction, stated with the same whole per
    # cent, are one entry.

    row: str
    true: str
    predicted: str
    stated: float | None
    loss: float  # of a class its loss, of a number by how much it is missed; the greatest
    rows: int = 1  # how many are alike


class WeakSlice(Record):
    """Holdout rows on which the loss is higher, confirmed on rows that did not choose them."""

    where: str  # such as ``age > 40 and city is Bern``
    rows: int
    share: float  # of the whole holdout
    loss: float  # mean in the slice, on the confirming half
    rest: float  # mean elsewhere, likewise
    score: float | None
    p_value: float  # one-sided, corrected for the slices tried
    surprise: bool = False  # errs more than its own probabilities imply


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
    """Findings about one training."""

    made: tuple[str, ...] = ()  # what tuning, calibration, threshold and mixing found
    asked: dict[str, tuple[str, ...]] = Field({})  # those of `made` on options that the file sets
    trials: dict[str, tuple[Trial, ...]] = Field({})  # by candidate, the challenger first
    fits: tuple[FitVerdict, ...] = ()
    learning: LearningCurve | None = None
    folds: FoldEvidence | None = None  # None where they are too few
    suspicions: tuple[Suspicion, ...] = ()
    errors: tuple[str, ...] = ()  # on counts, confusions, labels
    confusions: tuple[Confusion, ...] = ()
    worst: tuple[WorstRow, ...] = ()
    slices: tuple[WeakSlice, ...] = ()
    slices_sentence: str = ""
    by: tuple[ByColumn, ...] = ()
    groups: tuple[GroupDifference, ...] = ()
    steps: tuple[str, ...] = ()  # what to try next, most important first; or to stop
    pictures: tuple[Picture, ...] = ()
    lines: tuple[tuple[str, str], ...] = ()  # for a terminal: a word, and a sentence or two
    left_out: str = ""  # what a refit's diagnosis does without

    def of(self, candidate: str) -> FitVerdict | None:
        """Return the verdict on `candidate`, or None."""
        return next((f for f in self.fits if f.candidate == candidate), None)
