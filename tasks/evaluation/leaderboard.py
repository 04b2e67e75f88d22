"""All candidates on the same holdout rows: metrics, leaderboard, challenger."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import Array, Ints
from tasks.base.errors import FitError
from tasks.base.runtime.progress import Step, report
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.training_records import (
    Assessment,
    Basis,
    CandidateResult,
    Evaluation,
    LeaderboardRow,
)
from tasks.data.column_kinds import target_values
from tasks.data.ranking_groups import queries_of
from tasks.data.row_groups import group_codes
from tasks.data.snapshots import read_frame
from tasks.metrics.bootstrap import independent
from tasks.metrics.paired_bootstrap import Predictions
from tasks.metrics.ranking import RankingGroups
from tasks.metrics.scorer import evaluate
from tasks.models.run_context import BASELINE


def assess(results: Sequence[CandidateResult], basis: Basis, seed: int) -> Assessment:
    """Evaluate every fitted candidate on the holdout and choose the challenger by validation."""
    # The challenger is the candidate with the best ``cv_mean``, or the refitted one; the holdout
    # decides nothing here. Where no candidate was fitted, the FitError has the reason of each.
    metric, schema = basis.prepared.metric, basis.roles
    recipe = basis.prepared.mode.recipe
    challenger = choose(results, metric) if recipe is None else recipe.family
    y_true = holdout_target(basis)
    blocks = independent(holdout_times(basis), holdout_groups(basis))
    queries = holdout_queries(basis)
    fitted = [result for result in results if result.status == "ok"]
    evaluations = []
    for done, result in enumerate(fitted):
        report(Step("evaluate", result.candidate, done, len(fitted)))
        predictions = read_predictions(result.predictions_path)
        evaluation = evaluate(
            result.candidate,
            y_true,
            predictions.predicted,
            predictions.probability,
            schema,
            blocks=blocks,
            queries=queries,
            seed=seed,
        )
        speed = len(y_true) / result.predict_seconds if result.predict_seconds else None
        evaluations.append(evaluation.model_copy(update={"rows_per_second": speed}))
    return Assessment(
        evaluations=tuple(evaluations),
        leaderboard=_leaderboard(results, evaluations, metric, challenger),
        challenger=challenger,
        skipped=tuple(result.candidate for result in results if result.out_of_time),
    )


def choose(results: Sequence[CandidateResult], metric: str) -> str:
    """Return the name of the candidate that validation prefers."""
    able = [
        r for r in results if r.status == "ok" and r.candidate != BASELINE and r.cv_mean is not None
    ]
    if not able:
        reasons = "; ".join(f"{r.candidate}: {r.reason}" for r in results if r.reason)
        # More time helps only where nothing but time was lacking.
        late = all(r.out_of_time for r in results if r.candidate != BASELINE)
        raise FitError(
            f"No candidate could be fitted and validated. {reasons}",
            "Name other `training.candidates`" + (", or raise `training.budget`." if late else "."),
        )
    sign = 1.0 if greater_is_better(metric) else -1.0
    return max(able, key=lambda r: sign * float(r.cv_mean or 0.0)).candidate


def holdout_target(basis: Basis) -> Array:
    """Return the true target of the holdout rows, in the split's order."""
    rows = np.load(basis.split.holdout_path)
    frame = read_frame(basis.snapshot.path, columns=[basis.roles.target], rows=rows)
    y_true, _ = target_values(frame, basis.roles)
    return np.asarray(y_true)


def holdout_times(basis: Basis) -> NDArray[np.datetime64] | None:
    """Return the time of each holdout row (UTC); None where the split is not by time."""
    column = basis.roles.time_column
    if column is None or basis.split.rule != "time":
        return None
    rows = np.load(basis.split.holdout_path)
    frame = read_frame(basis.snapshot.path, columns=[column], rows=rows)
    return np.asarray(frame[column].to_numpy(dtype="datetime64[us]"))


def holdout_groups(basis: Basis) -> Ints | None:
    """Return the group of each holdout row; None where the pipeline names none."""
    if basis.split.group is None:
        return None
    rows = np.load(basis.split.holdout_path)
    return group_codes(basis.snapshot.path, basis.split.group, rows)


def holdout_queries(basis: Basis) -> RankingGroups | None:
    """Return which holdout rows are ranked together; None where the task is no ranking."""
    return queries_of(basis.snapshot.path, basis.roles, np.load(basis.split.holdout_path))


def read_predictions(path: str) -> Predictions:
    """Return the predictions that a candidate left for the holdout."""
    with np.load(path, allow_pickle=False) as kept:
        chances = (
            kept[key] if key in kept.files else None for key in ("probability", "uncalibrated")
        )
        return Predictions(kept["predicted"], *chances)


def _leaderboard(
    results: Sequence[CandidateResult],
    evaluations: Sequence[Evaluation],
    metric: str,
    challenger: str,
) -> tuple[LeaderboardRow, ...]:
    by_name = {evaluation.candidate: evaluation.metrics[metric] for evaluation in evaluations}
    rows = []
    for result in results:
        value = by_name.get(result.candidate)
        rows.append(
            LeaderboardRow(
                candidate=result.candidate,
                status=result.status,
                cv_mean=result.cv_mean,
                cv_std=result.cv_std,
                holdout=value.value if value else None,
                holdout_low=value.low if value else None,
                holdout_high=value.high if value else None,
                fit_seconds=result.fit_seconds,
                predict_seconds=result.predict_seconds,
                model_bytes=result.model_bytes,
                reason=result.reason,
            )
        )
    sign = -1.0 if greater_is_better(metric) else 1.0

    def rank(row: LeaderboardRow) -> tuple[bool, bool, float]:
        # A refit is not validated.
        first = row.cv_mean is None and row.candidate == challenger
        unknown = row.cv_mean is None
        return not first, unknown, 0.0 if row.cv_mean is None else sign * row.cv_mean

    return tuple(sorted(rows, key=rank))
