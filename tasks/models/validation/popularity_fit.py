"""The baseline of rankings, fitted: popularity of the items on every fold and on all rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.base.arrays import Floats, Ints
from tasks.base.runtime.libraries import pd, sklearn
from tasks.base.training_records import CandidateResult
from tasks.data.snapshots import read_frame
from tasks.models.estimators.popularity import PRIOR_ROWS, Popularity
from tasks.models.features.columns import CategoryCodes
from tasks.models.features.preprocessing import FeatureEncoder
from tasks.models.persistence.artifacts import keep, keep_predictions
from tasks.models.persistence.prediction import outputs
from tasks.models.run_context import BASELINE, FitRun
from tasks.models.validation.cross_validation import score_part, validation_of
from tasks.models.validation.encoded_matrices import read_folds, read_rows

_MOST_ITEMS = 10_000_000


def fit_popularity(run: FitRun, report_progress: Callable[[str], None]) -> None:
    """Fit the popularity of the items as the baseline of a ranking."""
    report_progress("fit")
    rows, folds = read_rows(run), read_folds(run)
    notes: list[str] = []
    found: list[float | None] = []
    for fold in folds:
        encoder, model = _fitted(run, rows.positions[fold.train], rows.y[fold.train])
        predicted, _ = outputs(model, encoder.transform(_items(run, rows.positions[fold.valid])))
        queries = None if rows.queries is None else rows.queries.only(fold.valid)
        part = score_part(run, model, predicted, None, rows.y[fold.valid], notes, queries)
        found.append(part[0] if part else None)
    started = time.perf_counter()
    encoder, model = _fitted(run, rows.positions, rows.y)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    holdout = encoder.transform(_items(run, np.load(run.split.holdout_path)))
    keep_predictions(run, BASELINE, model, *outputs(model, holdout))
    result = CandidateResult(
        candidate=BASELINE,
        status="ok",
        **validation_of(found),
        fit_seconds=seconds,
        predict_seconds=time.perf_counter() - started,
        rows_fitted=len(rows),
        params={"strategy": "popularity", "prior_rows": PRIOR_ROWS},
        notes=(f"popularity: the mean {run.schema.target} of each {run.schema.item}", *notes),
    )
    keep(run, result, encoder, model)


def _fitted(run: FitRun, positions: Ints, y: Floats) -> tuple[FeatureEncoder, Popularity]:
    codes = sklearn.compose.ColumnTransformer(
        [("items", CategoryCodes(_MOST_ITEMS), [run.schema.item])]
    )
    encoder = FeatureEncoder([str(run.schema.item)], codes)
    return encoder, Popularity().fit(encoder.fit_transform(_items(run, positions), y), y)


def _items(run: FitRun, positions: Ints) -> pd.DataFrame:
    chosen: Any = np.ascontiguousarray(positions, dtype=np.int64)
    return read_frame(run.snapshot_path, columns=[str(run.schema.item)], rows=chosen)
