"""Diagnosis of one training: what is nearly free, and the learning curve where configured."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.base.arrays import Array, Ints
from tasks.data.snapshots import read_frame
from tasks.evaluation.diagnosis.context import Case
from tasks.evaluation.diagnosis.error_analysis import (
    confusions,
    label_suspects,
    mistakes,
    worst_rows,
)
from tasks.evaluation.diagnosis.fairness import by_column, group_differences
from tasks.evaluation.diagnosis.fit_verdicts import fit_verdicts
from tasks.evaluation.diagnosis.leakage import (
    duplicate_suspicion,
    duplicates,
    few_groups,
    label_suspicions,
    leak_suspicions,
    too_good,
)
from tasks.evaluation.diagnosis.learning_curve import learning_curve
from tasks.evaluation.diagnosis.overfitting import lines_of
from tasks.evaluation.diagnosis.recommendations import next_steps
from tasks.evaluation.diagnosis.single_columns import alone, alone_suspicion
from tasks.evaluation.diagnosis.slices.weak_slices import told_slices
from tasks.evaluation.findings import (
    ByColumn,
    Diagnosis,
    FoldEvidence,
    GroupDifference,
    LearningCurve,
    Suspicion,
)
from tasks.evaluation.fold_evidence import fold_evidence, fold_suspicions
from tasks.evaluation.leaderboard import holdout_groups
from tasks.metrics.losses import level_texts
from tasks.models.run_context import BASELINE, ENSEMBLE

_LEFT_OUT = (
    "A refit is not searched for weak rows, leaks and duplicates, and what moves its predictions "
    "is not drawn; a full training does so."
)


class TrainingDiagnosis(Case):
    """A training, and what it teaches part by part."""

    def diagnosis(self) -> Diagnosis:
        """Return all that was found; its pictures are drawn by reporting."""
        fits = fit_verdicts(self)
        learning = self.learning()
        folds = self.folds()
        refit = self.basis.prepared.mode.kind == "refit"
        suspicions = () if refit else self.suspicions(folds)
        slices, slices_sentence = ((), "") if refit else told_slices(self)
        by, groups = self.breakdowns()
        given = (self.y, self.model.predicted)
        _, labels = label_suspects(*given, self.model.probability, self.schema)
        # A threshold that was chosen leans where the objective wants it to.
        chosen = "threshold" in self.challenger.params
        errors = tuple(s for s in (mistakes(*given, self.schema, lean=not chosen), labels) if s)
        found = Diagnosis(
            made=self.challenger.notes,
            asked=self.challenger.asked,
            trials={r.candidate: r.trials for r in (self.challenger, *self.fitted) if r.trials},
            fits=tuple(fits),
            learning=learning,
            folds=folds,
            suspicions=suspicions,
            errors=errors,
            confusions=confusions(*given, self.schema),
            worst=self.worst(),
            slices=slices,
            slices_sentence=slices_sentence,
            by=by,
            groups=groups,
        )
        given_to = (found, self.challenger, self.training, self._calibration_error())
        left_out = _LEFT_OUT if refit else ""
        steps = () if refit else next_steps(*given_to)
        found = found.model_copy(update={"steps": steps, "left_out": left_out})
        return found.model_copy(update={"lines": lines_of(found, self.challenger.candidate)})

    def _calibration_error(self) -> float | None:
        metrics = self.assessment.of(self.challenger.candidate).metrics
        known = metrics.get("calibration_error")
        return None if known is None else known.value

    def learning(self) -> LearningCurve | None:
        """Return the learning curve, which costs fits, where it is configured."""
        if self.training.diagnosis != "full":
            return None
        order = [row.candidate for row in self.assessment.leaderboard]
        able = [r for r in self.fitted if r.candidate not in (BASELINE, ENSEMBLE)]
        able.sort(key=lambda r: (r is not self.challenger, order.index(r.candidate)))
        if not able:
            return None
        seconds = self.training.budget.total_seconds() / 2
        return learning_curve(self.basis, able[0], self.training, self.baseline, seconds)

    def folds(self) -> FoldEvidence | None:
        """Return whether a candidate beats the baseline on the folds beyond noise."""
        baseline = next(r for r in self.fitted if r.candidate == BASELINE)
        others = [r for r in self.fitted if r is not baseline]
        ordered = self.basis.split.rule == "time"
        return fold_evidence(baseline, others, self.metric, ordered=ordered)

    def suspicions(self, folds: FoldEvidence | None = None) -> tuple[Suspicion, ...]:
        """Return doubts about the score, warnings first."""
        train = np.load(self.basis.split.train_path)
        holdout = np.load(self.basis.split.holdout_path)
        features = list(self.schema.features)
        found = duplicates(self.basis.snapshot.path, features, train, holdout)
        suspicions = [
            *leak_suspicions(self.schema.leaks),
            *label_suspicions(self.schema),
            *self._alone(train, holdout),
            *fold_suspicions(folds, self.challenger, self.metric),
            *few_groups(self.basis.split.group, holdout_groups(self.basis)),
            *too_good(
                self.assessment.of(self.challenger.candidate),
                self.challenger,
                self.metric,
                self.baseline,
            ),
            duplicate_suspicion(found, self.y, self.model, self.schema, self.metric),
        ]
        return tuple(sorted(suspicions, key=lambda s: s.level != "warning"))

    def _alone(self, train: Ints, holdout: Ints) -> tuple[Suspicion, ...]:
        """Return that a column alone nearly decides, unless it is reported as a leak already."""
        importance = self.challenger.importance
        given = (self.schema, train, holdout, self.model, importance, self.seed)
        found = alone(self.basis.snapshot.path, *given)
        if found is not None and found.column in self.schema.leaks:
            return ()
        return alone_suspicion(found)

    def breakdowns(self) -> tuple[tuple[ByColumn, ...], tuple[GroupDifference, ...]]:
        """Return metrics by the columns that the file names, and the sensitive groups compared."""
        given: dict[str, Any] = {"blocks": self.blocks, "seed": self.seed}
        about = (self.y, self.model, self.schema, self.metric)
        by, groups = [], []
        for column in dict.fromkeys((*self.report.by, *self.report.sensitive)):
            levels = self._levels(column)
            if levels is None:
                sentence = f"{column} is not among the columns that were read."
                by.append(ByColumn(column=column, metric=self.metric, levels=(), sentence=sentence))
                continue
            by.append(by_column(column, levels, *about, **given))
            if column in self.report.sensitive:
                groups.append(group_differences(column, levels, *about, **given))
        return tuple(by), tuple(groups)

    def _levels(self, column: str) -> Array | None:
        if column not in self.basis.snapshot.kinds:
            return None
        rows = np.load(self.basis.split.holdout_path)
        frame = read_frame(self.basis.snapshot.path, columns=[column], rows=rows)
        return level_texts(frame[column])

    def worst(self) -> tuple[Any, ...]:
        """Return the rows on which the challenger is most wrong, named only where allowed."""
        names = self._names() if self.report.ids else None
        return worst_rows(self.y, self.model.predicted, self.model.probability, self.losses, names)

    def _names(self) -> list[str]:
        rows = np.load(self.basis.split.holdout_path)
        ids = [c for c in self.schema.id_columns if c in self.basis.snapshot.kinds]
        if not ids:
            return [f"row {row}" for row in rows.tolist()]
        frame = read_frame(self.basis.snapshot.path, columns=ids, rows=rows).astype(str)
        return [" · ".join(cells) for cells in frame.itertuples(index=False, name=None)]
