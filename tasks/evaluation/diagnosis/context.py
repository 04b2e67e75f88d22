"""One training, with what several parts of its diagnosis need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.base.arrays import Ints
from tasks.base.settings.evaluation import ReportConfig
from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import Assessment, Basis, CandidateResult
from tasks.evaluation.leaderboard import (
    holdout_groups,
    holdout_target,
    holdout_times,
    read_predictions,
)
from tasks.metrics.bootstrap import independent, whole
from tasks.metrics.losses import row_losses
from tasks.metrics.scorer import sampled
from tasks.models.run_context import BASELINE

if TYPE_CHECKING:
    from tasks.metrics.paired_bootstrap import Predictions


class Case:
    """One training: its challenger, what all candidates predict of the holdout, the losses."""

    def __init__(
        self,
        basis: Basis,
        results: Sequence[CandidateResult],
        assessment: Assessment,
        training: TrainingConfig,
        report: ReportConfig,
    ) -> None:
        self.basis, self.assessment = basis, assessment
        self.training, self.report = training, report
        self.fitted = [result for result in results if result.status == "ok"]
        self.metric, self.schema = basis.prepared.metric, basis.roles
        self.seed = training.seed
        self.challenger = next(r for r in self.fitted if r.candidate == assessment.challenger)
        self.y = holdout_target(basis)
        self.blocks: Ints | None = independent(holdout_times(basis), holdout_groups(basis))
        self.predictions = {r.candidate: read_predictions(r.predictions_path) for r in self.fitted}
        self.model: Predictions = self.predictions[assessment.challenger]
        self.losses = row_losses(
            self.y, self.model.predicted, self.model.probability, self.schema, self.metric
        )
        known = assessment.of(BASELINE) if BASELINE in self.predictions else None
        self.baseline = None if known is None else known.metrics[self.metric].value

    def score_of(self, rows: Ints) -> float | None:
        """Return the challenger's metric on some of the holdout rows; None where undefined."""
        part, plan = self.model.only(rows), whole(len(rows))
        given = (self.y[rows], part.predicted, part.probability, self.schema, plan)
        value, _ = sampled(self.metric, *given)
        return value if np.isfinite(value) else None
