"""The baseline in every leaderboard: prediction from the target's distribution alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.base.arrays import Array, Floats
from tasks.base.runtime.libraries import pd, sklearn
from tasks.base.training_records import CandidateResult
from tasks.models.features.preprocessing import FeatureEncoder
from tasks.models.persistence.artifacts import keep, keep_predictions
from tasks.models.persistence.prediction import outputs
from tasks.models.run_context import BASELINE, FitRun
from tasks.models.validation.cross_validation import score_part, validation_of
from tasks.models.validation.encoded_matrices import read_folds, read_rows
from tasks.models.validation.popularity_fit import fit_popularity


def fit_baseline(run: FitRun, report_progress: Callable[[str], None]) -> None:
    """Fit the trivial baseline: the classes' shares, the mean, or the median for ``mae``.

    Of a ranking it is the popularity of the items; where the file names no `item`, every row has
    the same prediction, which scores as a ranking by chance does.
    """
    if run.schema.item is not None:
        fit_popularity(run, report_progress)
        return
    report_progress("fit")
    rows, folds = read_rows(run), read_folds(run)
    notes: list[str] = []
    found: list[float | None] = []
    strategy = "median" if run.metric in {"mae", "median_ae", "mape"} else "mean"

    def fitted(y: Array) -> Any:
        model = (
            sklearn.dummy.DummyClassifier()
            if run.classification
            else sklearn.dummy.DummyRegressor(strategy=strategy)
        )
        return model.fit(np.empty((len(y), 0)), y)

    for fold in folds:
        model, y = fitted(rows.y[fold.train]), rows.y[fold.valid]
        queries = None if rows.queries is None else rows.queries.only(fold.valid)
        part = score_part(run, model, *_constant(model, len(y)), y, notes, queries)
        found.append(part[0] if part else None)
    started = time.perf_counter()
    model = fitted(rows.y)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    keep_predictions(run, BASELINE, model, *_constant(model, run.split.n_holdout))
    encoder = FeatureEncoder(list(run.schema.features), sklearn.compose.ColumnTransformer([]))
    encoder.fit(pd.DataFrame({name: [0.0, 1.0] for name in run.schema.features}))
    result = CandidateResult(
        candidate=BASELINE,
        status="ok",
        **validation_of(found),
        fit_seconds=seconds,
        predict_seconds=time.perf_counter() - started,
        rows_fitted=len(rows),
        params={"strategy": "prior" if run.classification else strategy},
        notes=tuple(notes),
    )
    keep(run, result, encoder, model)


def _constant(model: Any, rows: int) -> tuple[Array, Floats | None]:
    return outputs(model, np.empty((rows, 0), dtype=np.float32))
