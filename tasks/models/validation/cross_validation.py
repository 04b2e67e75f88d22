"""Cross-validation of one candidate: each fold fitted, predicted and scored."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.arrays import Array, Floats, Ints, Matrix, subsample_evenly
from tasks.base.errors import ConfigError, KeepfitError
from tasks.base.runtime.files import changed_file, write_whole
from tasks.base.runtime.mapped_files import pages_let_go
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.settings.search_spaces import NO_WEIGHT, Value, untuned_values
from tasks.base.training_records import Rounds, Trial
from tasks.metrics.ranking import RankingGroups
from tasks.metrics.scorer import score
from tasks.models.estimators.candidates import Candidate
from tasks.models.estimators.fit_context import Course, FitContext, FitResult, Watched
from tasks.models.fold_noise import shared_rows
from tasks.models.out_of_fold import FILE, Collector, OutOfFold
from tasks.models.persistence.artifacts import trial_folder
from tasks.models.persistence.prediction import in_order, outputs_of_matrix
from tasks.models.run_context import FitRun
from tasks.models.splitters import Fold
from tasks.models.tuning.sampler import spaces_for
from tasks.models.validation.encoded_matrices import Rows, matrix, read_folds
from tasks.models.validation.round_choice import choose_rounds, even, usual_better

Curves = dict[str, tuple[float, ...]]
"""Name to its value at each iteration."""
_CURVES_FILE = "curves.json"
_PARTS = 5
"""Parts of the rows that validate where there is one fold."""


@dataclass(frozen=True)
class Validated:
    """Results of a candidate's folds."""

    scores: tuple[float | None, ...]  # None where the metric is not defined
    stops: tuple[int, ...]  # iterations on each fold
    notes: tuple[str, ...]
    held: OutOfFold | None  # predictions of the rows that validated
    curves: Curves = field(default_factory=dict)  # means over the folds
    rounds: Rounds | None = None  # how long an iterative learner is to go on
    seen: int | None = None  # rows of a network's epoch in the largest fold

    @property
    def known(self) -> tuple[float, ...]:
        """The scores that are defined."""
        return tuple(score for score in self.scores if score is not None)

    def save(self, folder: Path) -> tuple[str, ...]:
        """Write what a fit of the same settings needs beside its scores; return the files."""
        if self.held is None:
            return ()
        self.held.save(folder)
        rounds = None if self.rounds is None else self.rounds.model_dump(mode="json")
        values = {"curves": self.curves, "rounds": rounds, "seen": self.seen}
        write_whole(folder / _CURVES_FILE, json.dumps(values))
        return FILE, _CURVES_FILE


@dataclass(frozen=True)
class _Fitted:
    """One fold of an iterative learner, whose rounds are chosen once all folds are known."""

    number: int
    fold: Fold
    learned: FitResult
    course: Course


@dataclass(frozen=True)
class _Scored:
    """Predictions of one fold's model on its validation rows, and their score."""

    predicted: Array
    probability: Floats | None
    value: float | None


@dataclass
class Validation:
    """The folds of one candidate, as they come."""

    run: FitRun
    candidate: Candidate
    rows: Rows
    encoder: Any
    threads: int
    fitted: int = 0

    def __post_init__(self) -> None:
        self._notes: list[str] = []
        self._plain: list[tuple[Fold, _Scored]] = []
        self._followed: list[_Fitted] = []
        self._known: dict[tuple[int, int], _Scored] = {}
        self._folds = len(read_folds(self.run))

    def fold(self, number: int, fold: Fold) -> None:
        """Fit on a fold's training rows and predict its validation rows."""
        learned = self._fit(number, fold)
        if learned.course is not None:
            self._followed.append(_Fitted(number, fold, learned, learned.course))
        else:
            self._plain.append((fold, self._scored(learned.estimator, number, fold)))

    def _fit(self, number: int, fold: Fold, taken: Ints | None = None) -> FitResult:
        X, train = matrix(self.run, self.candidate.encoding, f"train{number}"), fold.train
        if taken is not None:
            X, train = np.asarray(X[taken]), train[taken]
        given = (self.run, self.candidate, X, self.rows.y[train], self.encoder, self.threads)
        groups, watched = self.rows.of_groups(train), self._watched(number, fold)
        queries = self._queries(train)
        learned, setting, _ = fit_rows(*given, groups=groups, queries=queries, watched=watched)
        self.fitted = max(self.fitted, setting.rows)
        return learned

    def _watched(self, number: int, fold: Fold) -> Watched | None:
        # Of one fold, rows that do not lie in time are parted, so that noise is known.
        if not self.candidate.iterative:
            return None
        y = self.rows.y[fold.valid]
        # A class that the model does not know has no loss.
        seen = np.isin(y, self.rows.y[fold.train]) if self.run.classification else y == y
        places = np.flatnonzero(seen)
        if not len(places):
            return None
        queries = self._queries(fold.valid)
        parted = self._folds == 1 and not self.run.ordered and queries is None
        parts = [part for part in np.array_split(places, _PARTS if parted else 1) if len(part)]
        X = matrix(self.run, self.candidate.encoding, f"valid{number}")
        return Watched(X, y, tuple(parts), queries)

    def note(self, text: str) -> None:
        """Record notes about the folds."""
        self._notes.append(text)

    def part(self, number: int, fold: Fold, share: float) -> float | None:
        """Return the score of a fit on a share of a fold's training rows, evenly spread."""
        rows, queries = len(fold.train), self._queries(fold.train)
        most = max(2, int(share * rows))
        taken = subsample_evenly(rows, most) if queries is None else queries.sample(most)
        learned = self._fit(number, fold, taken)
        model, course = learned.estimator, learned.course
        if course is not None:
            model = course.at(self._chosen([course]).chosen)
        return self._scored(model, number, fold).value

    def done(self) -> Validated:
        """Return the result of the folds so far."""
        rounds, curves, seen = None, Curves(), None
        found = list(self._plain)
        if self._followed:
            rounds = self._rounds()
            found += [(f.fold, self._after(f, rounds.chosen)) for f in self._followed]
            curves = _mean_curves([f.learned.curves for f in self._followed])
            counts = [f.course.seen for f in self._followed if f.course.seen is not None]
            seen = max(counts, default=None)
        collector = Collector(self.run.ordered)
        for fold, scored in found:
            groups, y = self.rows.of_groups(fold.valid), self.rows.y[fold.valid]
            collector.add(fold.valid, y, scored.predicted, scored.probability, groups)
        return Validated(
            tuple(scored.value for _, scored in found),
            (1,) * len(found) if rounds is None else rounds.stops,
            tuple(dict.fromkeys(self._notes)),
            collector.all(),
            curves,
            rounds,
            seen,
        )

    def _rounds(self) -> Rounds:
        """Choose the rounds on the losses of all folds, and hold the usual ones against them."""
        rounds = self._chosen([f.course for f in self._followed])
        if rounds.chosen == rounds.usual:
            return rounds
        chosen, usual = (
            [self._after(f, count).value for f in self._followed]
            for count in (rounds.chosen, rounds.usual)
        )
        fewer, greater = rounds.chosen < rounds.usual, greater_is_better(self.run.metric)
        if usual_better(chosen, usual, self._shared, fewer=fewer, greater=greater):
            return rounds.model_copy(update={"chosen": rounds.usual, "rule": "metric"})
        return rounds

    def _chosen(self, courses: Sequence[Course]) -> Rounds:
        losses = [part for course in courses for part in course.losses]
        usual, most = courses[0].usual, courses[0].most
        whole = len(self.rows) <= self.run.training.cv_rows
        shorten = whole and (len(courses) > 1 or not self.run.ordered)
        return choose_rounds(losses, usual, most=most, shared=self._shared, shorten=shorten)

    @property
    def _shared(self) -> float:
        return shared_rows(self._folds, ordered=self.run.ordered)

    def _after(self, fitted: _Fitted, rounds: int) -> _Scored:
        """Return the score of a fold's model after so many rounds."""
        place = fitted.number, rounds
        if place not in self._known:
            model = fitted.course.at(rounds)
            self._known[place] = self._scored(model, fitted.number, fitted.fold)
        return self._known[place]

    def _queries(self, rows: Ints) -> RankingGroups | None:
        return None if self.rows.queries is None else self.rows.queries.only(rows)

    def _scored(self, model: Any, number: int, fold: Fold) -> _Scored:
        X, y = matrix(self.run, self.candidate.encoding, f"valid{number}"), self.rows.y[fold.valid]
        predicted, probability = outputs_of_matrix(model, X)
        given = (self.run, model, predicted, probability, y, self._notes)
        found = score_part(*given, self._queries(fold.valid))
        if probability is not None:
            probability = in_order(probability, model.classes_, self.run.schema.classes)
        return _Scored(predicted, probability, found[0] if found else None)


def _mean_curves(curves: Sequence[Mapping[str, tuple[float, ...]]]) -> Curves:
    """Return the mean of curves over folds, each going on with its last value."""
    return {
        name: tuple(even([of_fold[name] for of_fold in curves]).mean(axis=0).tolist())
        for name in curves[0]
        if all(name in of_fold for of_fold in curves)
    }


def validate(
    run: FitRun,
    candidate: Candidate,
    rows: Rows,
    encoder: Any,
    threads: int,
    report_progress: Callable[[str], None],
) -> Validated:
    """Fit and score every fold, or those until the time is up."""
    validation = Validation(run, candidate, rows, encoder, threads)
    folds = read_folds(run)
    for number, fold in enumerate(folds):
        if number and run.hurried:
            validation.note(
                f"validated on {number} of {len(folds)} folds: the time budget was used up"
            )
            break
        report_progress(f"fold {number + 1} of {len(folds)}")
        validation.fold(number, fold)
    return validation.done()


def validated(run: FitRun, name: str, trial: Trial | None) -> Validated | None:
    """Return the fold results of a finished trial; None where its files are gone or changed."""
    if trial is None:
        return None
    folder = trial_folder(run, name, trial.number)
    if not trial.digests or changed_file(folder, trial.digests) is not None:
        return None
    held = OutOfFold.read(folder)
    if held is None:
        return None
    try:
        stored = json.loads((folder / _CURVES_FILE).read_text(encoding="utf-8"))
        curves = {str(part): tuple(values) for part, values in stored["curves"].items()}
        rounds = None if stored["rounds"] is None else Rounds.model_validate(stored["rounds"])
    except (OSError, ValueError, KeyError):
        return None
    given = (trial.scores, trial.iterations, trial.notes, held, curves)
    return Validated(*given, rounds, stored["seen"])


def fit_rows(
    run: FitRun,
    candidate: Candidate,
    X: Matrix,
    y: Array,
    encoder: Any,
    threads: int,
    iterations: int | None = None,
    groups: Ints | None = None,
    queries: RankingGroups | None = None,
    watched: Watched | None = None,
) -> tuple[FitResult, FitContext, float]:
    """Fit a candidate on rows of an encoded matrix; return its settings and its seconds too."""
    # Of an iterative learner, `iterations` may be known already, and its loss is followed on rows
    # `watched`. Rows of one of `groups` count as one; `queries` are ranked together.
    if groups is not None:
        groups = groups[
            subsample_evenly(len(X), min(len(X), candidate.rows_for(len(X), X.shape[1])))
        ]
    X, y, setting = _setting(run, candidate, X, y, encoder, threads, queries)
    setting = replace(setting, iterations=iterations, groups=groups, watched=watched)
    if run.classification and setting.classes < 2:
        raise KeepfitError(
            f"a classifier needs two classes; the {len(y):,} rows it is fitted on have one.",
            "Train on a longer window, or on fewer folds.",
        )
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught, pages_let_go(X):
        warnings.simplefilter("always")
        learned = candidate.fit(candidate.build(setting, candidate.params), X, y, setting)
    seconds = time.perf_counter() - started
    if any("onverge" in str(w.message) for w in caught):
        learned = replace(
            learned, notes=(*learned.notes, "stopped at its most iterations, not converged")
        )
    return learned, setting, seconds


def fit_all_rows(
    run: FitRun,
    candidate: Candidate,
    X: Matrix,
    y: Array,
    encoder: Any,
    threads: int,
    iterations: int | None = None,
    groups: Ints | None = None,
    queries: RankingGroups | None = None,
    least: int = 1,
) -> tuple[FitResult, FitContext, float]:
    """Fit as `fit_rows` does, on every row, for `least` iterations or more."""
    # Rows set aside can lengthen what the folds found, never shorten it. An iterative learner that
    # has to find its iterations first sets rows aside for that, the newest where rows have a time:
    # it is fitted again with the iterations found, on all of them.
    given = (run, candidate, X, y, encoder, threads)
    learned, setting, seconds = fit_rows(*given, iterations, groups, queries)
    if not candidate.iterative or iterations is not None:
        return learned, setting, seconds
    again, setting, more = fit_rows(*given, max(least, learned.iterations or 1), groups, queries)
    return replace(again, curves=learned.curves), setting, seconds + more


def untuned(
    run: FitRun, candidate: Candidate, X: Matrix, y: Array, encoder: Any
) -> dict[str, Value]:
    """Return the hyperparameters that a candidate chooses itself for rows of a matrix."""
    _, _, setting = _setting(run, candidate, X, y, encoder, 1)
    spaces = spaces_for(run, candidate.name)
    return untuned_values(spaces, candidate.build(setting, candidate.params), setting.columns)


def _setting(
    run: FitRun,
    candidate: Candidate,
    X: Matrix,
    y: Array,
    encoder: Any,
    threads: int,
    queries: RankingGroups | None = None,
) -> tuple[Matrix, Array, FitContext]:
    """Return the rows given that a candidate uses, and its fit context."""
    limit = candidate.rows_for(len(X), X.shape[1])
    if limit < len(X):
        chosen = subsample_evenly(len(X), limit)
        X, y = np.asarray(X[chosen]), y[chosen]
        queries = None if queries is None else queries.only(chosen)
    counts = np.unique(y, return_counts=True)[1] if run.classification else np.array([len(y)])
    setting = FitContext(
        task=run.schema.task,
        metric=run.metric,
        rows=len(X),
        columns=X.shape[1],
        classes=len(counts) if run.classification else 0,
        fewest=int(counts.min()),
        categorical=int(encoder.categorical_),
        ordered=run.ordered,
        seed=run.training.seed,
        threads=threads if candidate.threaded else 1,
        class_weight=_weight(run, candidate),
        patience=candidate.params.get("stopping_rounds"),
        queries=queries,
        table_rows=_scale(run, candidate, X.shape[1]),
    )
    return X, y, setting


def _scale(run: FitRun, candidate: Candidate, columns: int) -> int:
    """Return the rows by which steps are sized: a recipe's iterations suit its own steps only."""
    known = run.recipe.rows if run.recipe is not None else None
    return known or candidate.rows_for(run.split.n_train, columns)


def _weight(run: FitRun, candidate: Candidate) -> str | None:
    tuned = candidate.params.get("class_weight")
    if tuned is None or not run.classification:
        return run.training.class_weight
    return None if tuned == NO_WEIGHT else str(tuned)


def validation_of(scores: Sequence[float | None]) -> dict[str, Any]:
    """Return the fields of a `CandidateResult` on its folds; a score is None where not defined."""
    known = [score for score in scores if score is not None]
    return {
        "cv_mean": float(np.mean(known)) if known else None,
        "cv_std": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "cv_folds": len(known),
        "cv_scores": tuple(scores),
    }


def score_part(
    run: FitRun,
    model: Any,
    predicted: Array,
    probability: Floats | None,
    y: Array,
    notes: list[str],
    queries: RankingGroups | None = None,
) -> list[float]:
    """Return the metric of one validation part, or nothing and a note where it has none."""
    schema = run.schema
    if probability is not None:
        probability = in_order(probability, model.classes_, schema.classes)
    try:
        given = (y, predicted, probability, schema.classes, schema.positive)
        value = score(run.metric, *given, queries, schema.own)
    except ConfigError:
        raise
    except (KeepfitError, ValueError) as error:
        notes.append(f"a validation part of {len(y):,} rows has no {run.metric}: {error}"[:200])
        return []
    if not np.isfinite(value):
        notes.append(f"a validation part of {len(y):,} rows has no {run.metric}")
        return []
    return [value]
