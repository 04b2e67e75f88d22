"""The baseline in every leaderboard: prediction from the target's distribution alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.base.arrays import Array, Ints, Matrix
from tasks.base.runtime.libraries import pd, sklearn
from tasks.base.training_records import CandidateResult
from tasks.data.snapshots import read_frame
from tasks.metrics.losses import ABSOLUTE
from tasks.models.estimators.popularity import PRIOR_ROWS, Popularity
from tasks.models.features.columns import CategoryCodes
from tasks.models.features.preprocessing import FeatureEncoder
from tasks.models.persistence.artifacts import keep, keep_predictions
from tasks.models.persistence.prediction import outputs
from tasks.models.run_context import BASELINE, FitRun
from tasks.models.validation.cross_validation import score_part, validation_of
from tasks.models.validation.encoded_matrices import read_folds, read_rows

_MOST_ITEMS = 10_000_000


def validate_baseline(run: FitRun, report_progress: Callable[[str], None]) -> None:
    """Validate and fit the trivial baseline: class shares, the mean or the median."""
    # Of a ranking it is the popularity of the items; where the file names no `item`, every row has
    # the same prediction, which scores as a ranking by chance does.
    report_progress("fit")
    rows, item = read_rows(run), run.schema.item
    notes: list[str] = []
    found: list[float | None] = []
    for fold in read_folds(run):
        encoder, model = _fitted(run, rows.positions[fold.train], rows.y[fold.train])
        predicted = outputs(model, _encoded(run, encoder, rows.positions[fold.valid]))
        queries = None if rows.queries is None else rows.queries.only(fold.valid)
        part = score_part(run, model, *predicted, rows.y[fold.valid], notes, queries)
        found.append(part[0] if part else None)
    started = time.perf_counter()
    encoder, model = _fitted(run, rows.positions, rows.y)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    holdout = _encoded(run, encoder, np.load(run.split.holdout_path))
    keep_predictions(run, BASELINE, model, *outputs(model, holdout))
    params: dict[str, Any] = {"strategy": "prior" if run.classification else _strategy(run)}
    if item is not None:
        params = {"strategy": "popularity", "prior_rows": PRIOR_ROWS}
        notes.insert(0, f"popularity: the mean {run.schema.target} of each {item}")
    result = CandidateResult(
        candidate=BASELINE,
        status="ok",
        **validation_of(found),
        fit_seconds=seconds,
        predict_seconds=time.perf_counter() - started,
        rows_fitted=len(rows),
        params=params,
        notes=tuple(notes),
    )
    keep(run, result, encoder, model)


def _strategy(run: FitRun) -> str:
    return "median" if run.metric in ABSOLUTE else "mean"


def _fitted(run: FitRun, positions: Ints, y: Array) -> tuple[FeatureEncoder, Any]:
    """Return the popularity of items, or a model of the target alone, and its encoder."""
    if run.schema.item is not None:
        codes = [("items", CategoryCodes(_MOST_ITEMS), [run.schema.item])]
        encoder = FeatureEncoder([run.schema.item], sklearn.compose.ColumnTransformer(codes))
        return encoder, Popularity().fit(encoder.fit_transform(_items(run, positions), y), y)
    encoder = FeatureEncoder(list(run.schema.features), sklearn.compose.ColumnTransformer([]))
    encoder.fit(pd.DataFrame({name: [0.0, 1.0] for name in run.schema.features}))
    dummy = sklearn.dummy
    model = (
        dummy.DummyClassifier()
        if run.classification
        else dummy.DummyRegressor(strategy=_strategy(run))
    )
    return encoder, model.fit(np.empty((len(y), 0)), y)


def _encoded(run: FitRun, encoder: FeatureEncoder, positions: Ints) -> Matrix:
    if run.schema.item is not None:
        return encoder.transform(_items(run, positions))
    return np.empty((len(positions), 0), dtype=np.float32)


def _items(run: FitRun, positions: Ints) -> pd.DataFrame:
    chosen = np.ascontiguousarray(positions, dtype=np.int64)
    return read_frame(run.snapshot_path, columns=[str(run.schema.item)], rows=chosen)
