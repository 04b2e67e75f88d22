"""Fit of each candidate: training score, holdout score, and distance to the best other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.base.arrays import Floats, subsample_evenly
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.training_records import CandidateResult, MetricValue
from tasks.data.column_kinds import target_values
from tasks.data.snapshots import read_frame
from tasks.evaluation.diagnosis.context import Case
from tasks.evaluation.diagnosis.overfitting import fit_verdict
from tasks.evaluation.findings import FitVerdict
from tasks.metrics.bootstrap import interval, resampling, whole
from tasks.metrics.scorer import sampled
from tasks.models.persistence.prediction import in_order, predict
from tasks.models.persistence.skops_io import load_model
from tasks.models.run_context import BASELINE

_OWN_ROWS = 3_000
_REPLICATES = 100
_COMPARED_ROWS = 20_000


def fit_verdicts(case: Case) -> list[FitVerdict]:
    """Return the verdict on each candidate, in the leaderboard's order."""
    scores = compared(case)
    own = {r.candidate: own_score(case, r) for r in case.fitted if r.candidate != BASELINE}
    order = [row.candidate for row in case.assessment.leaderboard]
    rivals = [r for r in case.fitted if r.candidate != BASELINE]
    return [
        fit_verdict(
            result.candidate,
            case.metric,
            train=own[result.candidate],
            holdout=case.assessment.of(result.candidate).metrics[case.metric],
            baseline=case.baseline,
            behind=scores.gain(scores.rival(result.candidate), result.candidate),
            gained=scores.gain(result.candidate, BASELINE),
            rival_train=own.get(scores.rival(result.candidate)),
            ordered=case.basis.split.rule == "time",
        )
        for result in sorted(rivals, key=lambda r: order.index(r.candidate))
    ]


@dataclass(frozen=True)
class Compared:
    """Scores of candidates on the same rows, greater is better, in all and in each replicate."""

    scored: dict[str, tuple[float, Floats]]
    units: int

    def gain(self, ours: str, theirs: str) -> MetricValue | None:
        """Return by how much the first is better, with its interval; None where undefined."""
        if ours not in self.scored or theirs not in self.scored:
            return None
        (value, drawn), (other, others) = self.scored[ours], self.scored[theirs]
        ends = interval(drawn - others, 0.95, self.units)
        low, high = (None, None) if ends is None else ends
        return MetricValue(value=value - other, low=low, high=high)

    def rival(self, name: str) -> str:
        """Return the best other candidate; empty where there is none."""
        others = [other for other in self.scored if other not in (name, BASELINE)]
        return max(others, key=lambda other: self.scored[other][0], default="")


def compared(case: Case) -> Compared:
    """Return the scores of all candidates on the holdout, under the same replicates."""
    chosen = subsample_evenly(len(case.y), _COMPARED_ROWS)
    blocks = None if case.blocks is None else case.blocks[chosen]
    k = len(case.schema.classes)
    plan = resampling(len(chosen), blocks, _REPLICATES, case.seed, curves=k if k > 2 else 1)
    sign = 1.0 if greater_is_better(case.metric) else -1.0
    scored = {}
    for name, model in case.predictions.items():
        p = None if model.probability is None else model.probability[chosen]
        guess = np.asarray(model.predicted)[chosen]
        value, drawn = sampled(case.metric, case.y[chosen], guess, p, case.schema, plan)
        if np.isfinite(value):
            scored[name] = (sign * value, sign * drawn)
    return Compared(scored, plan.n_units)


def own_score(case: Case, result: CandidateResult) -> float | None:
    """Return the metric on at most 3,000 of the rows that the final model was fitted on."""
    rows = np.load(case.basis.split.train_path).astype(np.int64, copy=False)
    if result.rows_fitted:
        # As the fit thinned them, where it did; at worst a few were not fitted on.
        rows = rows[subsample_evenly(len(rows), result.rows_fitted)]
    rows = rows[subsample_evenly(len(rows), _OWN_ROWS)]
    names = [*case.schema.features, case.schema.target]
    frame = read_frame(case.basis.snapshot.path, columns=names, rows=rows)
    y, keep = target_values(frame[[case.schema.target]], case.schema)
    X = frame.loc[keep, list(case.schema.features)].reset_index(drop=True)
    if not len(y):
        return None
    pipeline = load_model(Path(result.model_path), case.schema.own)
    predicted, probability = predict(pipeline, X)
    if probability is not None:
        probability = in_order(probability, pipeline[-1].classes_, case.schema.classes)
    value, _ = sampled(case.metric, y, predicted, probability, case.schema, whole(len(y)))
    return value if np.isfinite(value) else None
