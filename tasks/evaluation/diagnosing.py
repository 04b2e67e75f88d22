"""One training diagnosed: everything that is nearly free, and the learning curve where asked for.

The work runs in a child of the worker process, beside the gate and the refit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.config import ReportConfig, TrainingConfig, greater_is_better
from tasks.base.pipeline_file import Pipeline
from tasks.base.records import Assessment, Basis, CandidateResult, MetricValue, Picture
from tasks.evaluation.assessing import (
    BASELINE,
    holdout_groups,
    holdout_target,
    holdout_times,
    read_predictions,
)
from tasks.evaluation.findings import (
    ByColumn,
    Diagnosis,
    FitVerdict,
    GroupDifference,
    LearningCurve,
    Suspicion,
    WeakSlice,
)

if TYPE_CHECKING:
    from tasks.evaluation.bootstrap import Ints
    from tasks.evaluation.comparison import Predictions
    from tasks.evaluation.figures import Drawing

NOT_OF_RANKINGS = (
    "Not diagnosed: verdicts on the fit, weak slices and suspects look at single rows, and a "
    "ranking is judged by its groups; the figures show the first places and the sizes of groups."
)
TASKS = frozenset({"binary", "multiclass", "regression"})
_OWN_ROWS = 3_000
_REPLICATES = 100
_COMPARED_ROWS = 20_000


def diagnose_training(
    pipeline: Pipeline, basis: Basis, results: Sequence[CandidateResult], assessment: Assessment
) -> Diagnosis:
    """Return what the training teaches; of a ranking only that this is not looked at."""
    if basis.roles.task not in TASKS:
        return Diagnosis(lines=(NOT_OF_RANKINGS,))
    from tasks.models.calls import call

    config = pipeline.config
    found = call(
        "tasks.evaluation.diagnosing:diagnose_plain",
        basis=basis.model_dump(mode="json"),
        results=[result.model_dump(mode="json") for result in results],
        assessment=assessment.model_dump(mode="json"),
        training=config.training.model_dump(mode="json"),
        report=config.report.model_dump(mode="json"),
        folder=str(pipeline.work / "figures" / basis.prepared.key[:16]),
    )
    return Diagnosis.model_validate(found)


def diagnose_plain(
    basis: dict[str, Any],
    results: list[dict[str, Any]],
    assessment: dict[str, Any],
    training: dict[str, Any],
    report: dict[str, Any],
    folder: str,
) -> dict[str, Any]:
    """Diagnose from plain values; runs where models can be loaded."""
    found = _Case(
        Basis.model_validate(basis),
        [CandidateResult.model_validate(result) for result in results],
        Assessment.model_validate(assessment),
        TrainingConfig.model_validate(training),
        ReportConfig.model_validate(report),
    ).diagnosis(Path(folder))
    return found.model_dump(mode="json")


class _Case:
    """One training, with what several parts of its diagnosis need."""

    def __init__(
        self,
        basis: Basis,
        results: Sequence[CandidateResult],
        assessment: Assessment,
        training: TrainingConfig,
        report: ReportConfig,
    ) -> None:
        from tasks.evaluation.bootstrap import independent
        from tasks.evaluation.losses import row_losses

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
        self.baseline = self._baseline()

    def _baseline(self) -> float | None:
        if BASELINE not in self.predictions:
            return None
        return self.assessment.of(BASELINE).metrics[self.metric].value

    def diagnosis(self, folder: Path) -> Diagnosis:
        from tasks.evaluation.diagnosis import lines_of
        from tasks.evaluation.errors import confusions, label_suspects, mistakes
        from tasks.evaluation.figures import save_figures

        fits = self.fits()
        learning = self.learning()
        suspicions = self.suspicions()
        slices, slices_sentence = self.slices()
        by, groups = self.breakdowns()
        given = (self.y, self.model.predicted)
        _, labels = label_suspects(*given, self.model.probability, self.schema)
        # A threshold that was chosen leans where the objective wants it to.
        chosen = "threshold" in self.challenger.params
        errors = tuple(s for s in (mistakes(*given, self.schema, lean=not chosen), labels) if s)
        drawings = self._drawings(fits, learning, slices, slices_sentence, groups)
        files = save_figures(drawings, folder)
        found = Diagnosis(
            made=self.challenger.notes,
            fits=tuple(fits),
            learning=learning,
            suspicions=suspicions,
            errors=errors,
            confusions=confusions(*given, self.schema),
            worst=self.worst(),
            slices=slices,
            slices_sentence=slices_sentence,
            by=by,
            groups=groups,
            pictures=tuple(
                Picture(
                    name=d.name, title=d.title, caption=d.caption, svg=d.svg(), file=files[d.name]
                )
                for d in drawings
            ),
        )
        return found.model_copy(update={"lines": lines_of(found, self.challenger.candidate)})

    def fits(self) -> list[FitVerdict]:
        """Return the verdict on each candidate, in the leaderboard's order."""
        from tasks.evaluation.diagnosis import fit_verdict

        behind, rivals_of = self._behind()
        own = {r.candidate: self._own_score(r) for r in self.fitted if r.candidate != BASELINE}
        order = [row.candidate for row in self.assessment.leaderboard]
        rivals = [r for r in self.fitted if r.candidate != BASELINE]
        return [
            fit_verdict(
                result.candidate,
                self.metric,
                train=own[result.candidate],
                holdout=self.assessment.of(result.candidate).metrics[self.metric],
                baseline=self.baseline,
                behind=behind.get(result.candidate),
                rival_train=own.get(rivals_of.get(result.candidate, "")),
                ordered=self.basis.split.rule == "time",
            )
            for result in sorted(rivals, key=lambda r: order.index(r.candidate))
        ]

    def _behind(self) -> tuple[dict[str, MetricValue], dict[str, str]]:
        """Return how far each candidate lies behind the best other one, and which that is."""
        from tasks.evaluation.bootstrap import interval, resampling
        from tasks.evaluation.metrics import sampled
        from tasks.models.folds import thin

        chosen = thin(len(self.y), _COMPARED_ROWS)
        blocks = None if self.blocks is None else self.blocks[chosen]
        k = len(self.schema.classes)
        plan = resampling(len(chosen), blocks, _REPLICATES, self.seed, curves=k if k > 2 else 1)
        sign = 1.0 if greater_is_better(self.metric) else -1.0
        scored = {}
        for name, model in self.predictions.items():
            if name == BASELINE:
                continue
            p = None if model.probability is None else model.probability[chosen]
            guess = np.asarray(model.predicted)[chosen]
            value, drawn = sampled(self.metric, self.y[chosen], guess, p, self.schema, plan)
            if np.isfinite(value):
                scored[name] = (sign * value, sign * drawn)
        found, rivals = {}, {}
        for name, (value, drawn) in scored.items():
            others = [other for other in scored if other != name]
            if not others:
                continue
            rivals[name] = max(others, key=lambda other: scored[other][0])
            best = scored[rivals[name]]
            ends = interval(best[1] - drawn, 0.95, plan.n_units)
            low, high = (None, None) if ends is None else ends
            found[name] = MetricValue(value=best[0] - value, low=low, high=high)
        return found, rivals

    def _own_score(self, result: CandidateResult) -> float | None:
        """Return the metric on at most 3,000 of the rows that the final model was fitted on."""
        from tasks.data.kinds import target_values
        from tasks.data.snapshots import read_frame
        from tasks.evaluation.bootstrap import whole
        from tasks.evaluation.metrics import sampled
        from tasks.models.folds import thin
        from tasks.models.loading import load_model
        from tasks.models.prediction import in_order, predict

        rows = np.load(self.basis.split.train_path).astype(np.int64, copy=False)
        if result.rows_fitted:
            # As the fit thinned them, where it did; at worst a few were not fitted on.
            rows = rows[thin(len(rows), result.rows_fitted)]
        rows = rows[thin(len(rows), _OWN_ROWS)]
        names = [*self.schema.features, self.schema.target]
        frame = read_frame(self.basis.snapshot.path, columns=names, rows=rows)
        y, keep = target_values(frame[[self.schema.target]], self.schema)
        y = y[keep] if len(y) == len(keep) else y
        X = frame.loc[keep, list(self.schema.features)].reset_index(drop=True)
        if not len(y):
            return None
        pipeline = load_model(Path(result.model_path), self.schema.own)
        predicted, probability = predict(pipeline, X)
        if probability is not None:
            probability = in_order(probability, pipeline[-1].classes_, self.schema.classes)
        value, _ = sampled(self.metric, y, predicted, probability, self.schema, whole(len(y)))
        return value if np.isfinite(value) else None

    def learning(self) -> LearningCurve | None:
        """Return the learning curve, which costs fits, where it is asked for."""
        if self.training.diagnosis != "full":
            return None
        from tasks.evaluation.refitting import learning_curve
        from tasks.models.candidates import CANDIDATES

        known = {c.name for c in CANDIDATES}
        order = [row.candidate for row in self.assessment.leaderboard]
        able = [r for r in self.fitted if r.candidate in known]
        able.sort(key=lambda r: (r is not self.challenger, order.index(r.candidate)))
        if not able:
            return None
        seconds = self.training.budget.total_seconds() / 2
        return learning_curve(self.basis, able[0], self.training, self.baseline, seconds)

    def suspicions(self) -> tuple[Suspicion, ...]:
        """Return what makes the score doubtful, warnings first."""
        from tasks.evaluation.suspicion import duplicate_suspicion, duplicates, too_good

        train = np.load(self.basis.split.train_path)
        holdout = np.load(self.basis.split.holdout_path)
        features = list(self.schema.features)
        found = duplicates(self.basis.snapshot.path, features, train, holdout)
        leaks = [
            Suspicion(about="leak", level="warning", sentence=line)
            for line in self.schema.assumptions
            if "looks like a leak" in line
        ]
        told = [
            *leaks,
            *too_good(
                self.assessment.of(self.challenger.candidate),
                self.challenger,
                self.metric,
                self.baseline,
            ),
            duplicate_suspicion(found, self.y, self.model, self.schema, self.metric),
        ]
        return tuple(sorted(told, key=lambda s: s.level != "warning"))

    def slices(self) -> tuple[tuple[WeakSlice, ...], str]:
        """Return the slices on which the challenger is weaker, and a sentence."""
        from tasks.data.snapshots import read_frame
        from tasks.evaluation.losses import expected_losses
        from tasks.evaluation.weak_slices import MOST_ROWS, weak_slices
        from tasks.models.folds import thin

        rows = np.load(self.basis.split.holdout_path)
        chosen = thin(len(rows), MOST_ROWS)
        names = list(self.schema.features)
        X = read_frame(self.basis.snapshot.path, columns=names, rows=rows[chosen])
        expected = expected_losses(self.model.probability)
        found = weak_slices(
            X,
            self.losses[chosen],
            self.schema.features,
            expected=None if expected is None else expected[chosen],
            blocks=None if self.blocks is None else self.blocks[chosen],
            seed=self.seed,
        )
        told = tuple(
            WeakSlice(
                where=s.where,
                rows=int(s.inside.sum() * len(rows) / len(chosen)),
                share=float(s.inside.mean()),
                loss=s.loss,
                rest=s.rest,
                score=self._score(chosen[s.inside]),
                p_value=s.p_value,
                surprise=s.surprise,
            )
            for s in found
        )
        return told, self._slices_sentence(told, len(chosen))

    def _score(self, rows: NDArray[np.int64]) -> float | None:
        from tasks.evaluation.bootstrap import whole
        from tasks.evaluation.metrics import sampled

        p = self.model.probability
        value, _ = sampled(
            self.metric,
            self.y[rows],
            np.asarray(self.model.predicted)[rows],
            None if p is None else p[rows],
            self.schema,
            whole(len(rows)),
        )
        return value if np.isfinite(value) else None

    def _slices_sentence(self, slices: Sequence[WeakSlice], rows: int) -> str:
        from tasks.evaluation.weak_slices import LEAST_ROWS
        from tasks.evaluation.words import number

        if rows < LEAST_ROWS:
            return f"{rows} holdout rows are too few to look for weak slices."
        if not slices:
            return "No part of the rows is shown to be predicted worse than the others."
        first = slices[0]
        knows = (
            " It does not know so: its stated probabilities are too sure there."
            if first.surprise
            else " Its stated probabilities know so."
            if self.model.probability is not None
            else ""
        )
        score = "" if first.score is None else f" ({self.metric} {number(first.score)} there)"
        return (
            f"It is weakest where {first.where}: {first.rows:,} rows ({first.share:.0%}), loss "
            f"{first.loss / max(first.rest, 1e-12):.1f} times as high as elsewhere{score}.{knows}"
        )

    def breakdowns(self) -> tuple[tuple[ByColumn, ...], tuple[GroupDifference, ...]]:
        """Return metrics by the columns that the file names, and the sensitive groups compared."""
        from tasks.evaluation.groups import by_column, group_differences

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

    def _levels(self, column: str) -> NDArray[Any] | None:
        from tasks.data.snapshots import read_frame
        from tasks.evaluation.losses import level_texts

        if column not in self.basis.snapshot.kinds:
            return None
        rows = np.load(self.basis.split.holdout_path)
        frame = read_frame(self.basis.snapshot.path, columns=[column], rows=rows)
        return level_texts(frame[column])

    def worst(self) -> tuple[Any, ...]:
        """Return the rows on which the challenger is most wrong, named only where allowed."""
        from tasks.evaluation.errors import worst_rows

        names = self._names() if self.report.ids else None
        return worst_rows(self.y, self.model.predicted, self.model.probability, self.losses, names)

    def _names(self) -> list[str]:
        from tasks.data.snapshots import read_frame

        rows = np.load(self.basis.split.holdout_path)
        ids = [c for c in self.schema.id_columns if c in self.basis.snapshot.kinds]
        if not ids:
            return [f"row {row}" for row in rows.tolist()]
        frame = read_frame(self.basis.snapshot.path, columns=ids, rows=rows).astype(str)
        return [" · ".join(cells) for cells in frame.itertuples(index=False, name=None)]

    def _drawings(
        self,
        fits: Sequence[FitVerdict],
        learning: LearningCurve | None,
        slices: Sequence[WeakSlice],
        slices_sentence: str,
        groups: Sequence[GroupDifference],
    ) -> list[Drawing]:
        from tasks.evaluation import lessons

        name = self.challenger.candidate
        drawn = [
            lessons.draw_fits(fits, self.metric, name, self.baseline),
            lessons.draw_curve(learning),
            lessons.draw_pareto(self.assessment.leaderboard, self.metric, name),
            lessons.draw_slices(slices, slices_sentence),
            *(lessons.draw_groups(one) for one in groups),
        ]
        return [d for d in drawn if d is not None]
