"""The folds of one candidate: fitted, asked for their validation rows, scored."""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.errors import ConfigError, KeepfitError
from tasks.base.files import write_whole
from tasks.base.records import Trial
from tasks.evaluation.ranking import Queries
from tasks.models.candidates import Candidate
from tasks.models.folds import Fold, thin
from tasks.models.keeping import trial_folder
from tasks.models.matrices import Rows, matrix, read_folds
from tasks.models.outoffold import Collector, OutOfFold
from tasks.models.prediction import in_order, outputs_of_matrix
from tasks.models.proposing import spaces_for
from tasks.models.settings import Learned, Setting
from tasks.models.spaces import NO_WEIGHT, Value, untuned_values
from tasks.models.work import Run

Curves = dict[str, tuple[float, ...]]
"""Name to its value at each iteration."""
_CURVES_FILE = "curves.json"


@dataclass(frozen=True)
class Validated:
    """What the folds of a candidate told.

    Attributes
    ----------
    scores
        The metric on each fold; None where it is not defined.
    stops
        Iterations of an iterative learner on each fold.
    held
        Its predictions of the rows that validated.
    curves
        Of an iterative learner, as of the fold that stopped at the median of the iterations.
    """

    scores: tuple[float | None, ...]
    stops: tuple[int, ...]
    notes: tuple[str, ...]
    held: OutOfFold | None
    curves: Curves = field(default_factory=dict)

    @property
    def known(self) -> tuple[float, ...]:
        """The scores that are defined."""
        return tuple(score for score in self.scores if score is not None)

    def save(self, folder: Path) -> None:
        """Write what a fit of the same settings will need beside its scores."""
        if self.held is not None:
            self.held.save(folder)
            write_whole(folder / _CURVES_FILE, json.dumps(self.curves))


@dataclass
class Validation:
    """The folds of one candidate, as they come."""

    run: Run
    candidate: Candidate
    rows: Rows
    encoder: Any
    threads: int
    scores: list[float | None] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    curves: list[Curves] = field(default_factory=list)
    fitted: int = 0

    def __post_init__(self) -> None:
        self._collector = Collector(self.run.ordered)

    def fold(self, number: int, fold: Fold) -> None:
        """Fit on a fold's training rows and score on its validation rows."""
        X = matrix(self.run, self.candidate.encoding, f"train{number}")
        y, queries = self.rows.y[fold.train], self._queries(fold.train)
        given = (self.run, self.candidate, X, y, self.encoder, self.threads)
        groups = self.rows.of_groups(fold.train)
        learned, setting, _ = self._fit(*given, groups=groups, queries=queries)
        self.fitted = max(self.fitted, setting.rows)
        self.stops.append(learned.iterations or 1)
        self.curves.append(dict(learned.curves))
        self.scores.append(self._score(learned.estimator, number, fold, collect=True))

    @property
    def _fit(self) -> Callable[..., tuple[Learned, Setting, float]]:
        """How a fold is fitted: without the newest rows a model of rows in time is another one."""
        return fit_all_rows if self.run.ordered else fit_rows

    def part(self, number: int, fold: Fold, share: float) -> float | None:
        """Return the score of a fit on a share of a fold's training rows, evenly spread."""
        X = matrix(self.run, self.candidate.encoding, f"train{number}")
        most, queries = max(2, int(share * len(X))), self._queries(fold.train)
        taken = thin(len(X), most) if queries is None else queries.sample(most)
        y = self.rows.y[fold.train][taken]
        X = np.asarray(X[taken])
        given = (self.run, self.candidate, X, y, self.encoder, self.threads)
        groups = self.rows.of_groups(fold.train[taken])
        queries = None if queries is None else queries.only(taken)
        learned, setting, _ = self._fit(*given, groups=groups, queries=queries)
        self.fitted = max(self.fitted, setting.rows)
        return self._score(learned.estimator, number, fold, collect=False)

    def done(self) -> Validated:
        """Return what the folds told."""
        by_stop = sorted(range(len(self.stops)), key=lambda number: (self.stops[number], number))
        curves = self.curves[by_stop[(len(by_stop) - 1) // 2]] if by_stop else {}
        return Validated(
            tuple(self.scores), tuple(self.stops), tuple(self.notes), self._collector.all(), curves
        )

    def _queries(self, rows: NDArray[np.int64]) -> Queries | None:
        return None if self.rows.queries is None else self.rows.queries.only(rows)

    def _score(self, model: Any, number: int, fold: Fold, *, collect: bool) -> float | None:
        X, y = matrix(self.run, self.candidate.encoding, f"valid{number}"), self.rows.y[fold.valid]
        predicted, probability = outputs_of_matrix(model, X)
        if collect:
            spread = probability
            if spread is not None:
                spread = in_order(spread, model.classes_, self.run.schema.classes)
            groups = self.rows.of_groups(fold.valid)
            self._collector.add(fold.valid, y, predicted, spread, groups)
        given = (self.run, model, predicted, probability, y, self.notes)
        found = score_part(*given, self._queries(fold.valid))
        return found[0] if found else None


def validate(
    run: Run,
    candidate: Candidate,
    rows: Rows,
    encoder: Any,
    threads: int,
    tell: Callable[[str], None],
) -> Validated:
    """Fit and score every fold."""
    validation = Validation(run, candidate, rows, encoder, threads)
    folds = read_folds(run)
    for number, fold in enumerate(folds):
        tell(f"fold {number + 1} of {len(folds)}")
        validation.fold(number, fold)
    return validation.done()


def validated(run: Run, name: str, trial: Trial | None) -> Validated | None:
    """Return what the folds of a finished trial told; None where its files are gone."""
    if trial is None:
        return None
    folder = trial_folder(run, name, trial.number)
    held = OutOfFold.read(folder)
    if held is None:
        return None
    curves: Curves = {}
    with contextlib.suppress(OSError, ValueError):
        told = json.loads((folder / _CURVES_FILE).read_text(encoding="utf-8"))
        curves = {str(part): tuple(values) for part, values in told.items()}
    return Validated(trial.scores, trial.iterations, trial.notes, held, curves)


def fit_rows(
    run: Run,
    candidate: Candidate,
    X: NDArray[np.float32],
    y: NDArray[Any],
    encoder: Any,
    threads: int,
    iterations: int | None = None,
    groups: NDArray[np.int64] | None = None,
    queries: Queries | None = None,
) -> tuple[Learned, Setting, float]:
    """Fit a candidate on rows of an encoded matrix; return its settings and its seconds too.

    Parameters
    ----------
    iterations
        Of an iterative learner, where they are known already.
    groups
        Of each row, which are then not told from each other.
    queries
        Which of the rows are ranked together; None where the task is no ranking.
    """
    if groups is not None:
        groups = groups[thin(len(X), min(len(X), candidate.rows_for(len(X), X.shape[1])))]
    X, y, setting = _setting(run, candidate, X, y, encoder, threads, queries)
    setting = replace(setting, iterations=iterations, groups=groups)
    if run.classification and setting.classes < 2:
        raise KeepfitError(
            f"a classifier needs two classes; the {len(y):,} rows it is fitted on have one.",
            "Train on a longer window, or on fewer folds.",
        )
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        learned = candidate.fit(candidate.build(setting, candidate.params), X, y, setting)
    seconds = time.perf_counter() - started
    if any("onverge" in str(w.message) for w in said):
        learned = replace(
            learned, notes=(*learned.notes, "stopped at its most iterations, not converged")
        )
    return learned, setting, seconds


def fit_all_rows(
    run: Run,
    candidate: Candidate,
    X: NDArray[np.float32],
    y: NDArray[Any],
    encoder: Any,
    threads: int,
    iterations: int | None = None,
    groups: NDArray[np.int64] | None = None,
    queries: Queries | None = None,
) -> tuple[Learned, Setting, float]:
    """Fit as `fit_rows` does, on every row.

    An iterative learner that has to find its iterations first sets rows aside for that, the newest
    where rows have a time, which tell most about what comes next: it is fitted again with the
    iterations found, on all of them.
    """
    given = (run, candidate, X, y, encoder, threads)
    learned, setting, seconds = fit_rows(*given, iterations, groups, queries)
    if not candidate.iterative or iterations is not None:
        return learned, setting, seconds
    again, setting, more = fit_rows(*given, learned.iterations, groups, queries)
    return replace(again, curves=learned.curves), setting, seconds + more


def untuned(
    run: Run, candidate: Candidate, X: NDArray[np.float32], y: NDArray[Any], encoder: Any
) -> dict[str, Value]:
    """Return the hyperparameters that a candidate chooses itself for rows of a matrix."""
    _, _, setting = _setting(run, candidate, X, y, encoder, 1)
    spaces = spaces_for(run, candidate.name)
    return untuned_values(spaces, candidate.build(setting, candidate.params), setting.columns)


def _setting(
    run: Run,
    candidate: Candidate,
    X: NDArray[np.float32],
    y: NDArray[Any],
    encoder: Any,
    threads: int,
    queries: Queries | None = None,
) -> tuple[NDArray[np.float32], NDArray[Any], Setting]:
    """Return the rows that a candidate takes of those given, and what it is built for."""
    limit = candidate.rows_for(len(X), X.shape[1])
    if limit < len(X):
        chosen = thin(len(X), limit)
        X, y = np.asarray(X[chosen]), y[chosen]
        queries = None if queries is None else queries.only(chosen)
    counts = np.unique(y, return_counts=True)[1] if run.classification else np.array([len(y)])
    setting = Setting(
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
    )
    return X, y, setting


def _weight(run: Run, candidate: Candidate) -> str | None:
    tuned = candidate.params.get("class_weight")
    if tuned is None or not run.classification:
        return run.training.class_weight
    return None if tuned == NO_WEIGHT else str(tuned)


def score_part(
    run: Run,
    model: Any,
    predicted: NDArray[Any],
    probability: NDArray[np.float64] | None,
    y: NDArray[Any],
    notes: list[str],
    queries: Queries | None = None,
) -> list[float]:
    """Return the metric of one validation part, or nothing and a note where it has none."""
    from tasks.evaluation.metrics import score

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
