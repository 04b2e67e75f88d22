"""Whether a stored model gives the predictions of the holdout that it was judged by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import spread
from tasks.base.errors import ModelRefusedError
from tasks.base.training_records import Basis, CandidateResult
from tasks.evaluation.leaderboard import read_predictions
from tasks.models.execution.child_calls import predict_rows
from tasks.models.persistence.artifacts import MODEL
from tasks.registry.mlflow.versions import ROUNDING, same_predictions

if TYPE_CHECKING:
    from tasks.metrics.paired_bootstrap import Predictions

_ROWS = 500


def require_reproduced(basis: Basis, fitted: CandidateResult, model: Path, named: str) -> None:
    """Compare what `model`, loaded back, predicts of the holdout with what `fitted` did."""
    held = np.load(basis.split.holdout_path)
    mask = np.zeros(len(held), dtype=bool)
    mask[spread(len(held), _ROWS)] = True
    judged = read_predictions(fitted.predictions_path).only(mask)
    features = list(basis.roles.features)
    predicted, probability = predict_rows(
        model,
        basis.snapshot.path,
        features,
        held[mask],
        basis.roles.own,
        fitted.digests.get(MODEL, ""),
    )
    if not _same(judged, np.asarray(predicted), probability):
        raise ModelRefusedError(
            f"{named}, loaded back, does not predict what it was judged by: its files were "
            "changed after the fit.",
            "It cannot become champion; run the training again with --fresh.",
        )


def _same(
    judged: Predictions, predicted: NDArray[np.generic], probability: NDArray[np.float64] | None
) -> bool:
    expected = np.asarray(judged.predicted)
    if expected.shape != predicted.shape:
        return False
    if probability is None or judged.probability is None:
        return same_predictions(expected, predicted)
    chances = judged.probability[:, judged.probability.any(axis=0)]
    known = probability[:, probability.any(axis=0)]
    if chances.shape != known.shape or not np.allclose(chances, known, rtol=0, atol=10 * ROUNDING):
        return False
    # Where two classes are equally likely, rounding decides between them.
    return bool((expected.astype(str) != predicted.astype(str)).mean() <= 0.01)
