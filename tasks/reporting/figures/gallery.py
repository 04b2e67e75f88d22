"""The figures of one training, drawn and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.base.arrays import Array, spread
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.libraries import pd
from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import Assessment, Basis, CandidateResult, Figures
from tasks.data.snapshots import read_frame
from tasks.evaluation.explanation.partial_dependence import dependence
from tasks.evaluation.explanation.permutation_importance import permutation_importance
from tasks.evaluation.explanation.shap_values import outputs_of, summary
from tasks.evaluation.leaderboard import holdout_queries, holdout_target, read_predictions
from tasks.models.execution import worker_pool
from tasks.models.execution.child_calls import call
from tasks.models.persistence.prediction import predict
from tasks.models.persistence.skops_io import load_model
from tasks.reporting.figures import style
from tasks.reporting.figures.diagnostic_figures import draw_contributions, draw_dependence
from tasks.reporting.figures.ranking_figures import draw_ranking
from tasks.reporting.figures.training_figures import (
    diagnose,
    draw_importance,
    draw_leaderboard,
    draw_learning,
    pictures,
    save_figures,
)
from tasks.reporting.figures.tuning_figures import draw_search

if TYPE_CHECKING:
    from tasks.evaluation.explanation.permutation_importance import Importance
    from tasks.metrics.ranking import RankingGroups
    from tasks.reporting.figures.training_figures import Drawing

_IMPORTANCE_ROWS = 2_000
_SHAP_ROWS = 500
_MOVED = 5


def warm_up() -> None:
    """Let the worker process import what drawing needs; see `draw_all`."""
    worker_pool.import_ahead(__name__, *style.LIBRARIES)


def draw_all(
    pipeline: Pipeline, basis: Basis, results: Sequence[CandidateResult], assessment: Assessment
) -> Figures:
    """Draw the leaderboard and the challenger's figures, and keep them as SVG files."""
    return call(
        draw,
        imports=style.LIBRARIES,
        basis=basis,
        results=results,
        assessment=assessment,
        training=pipeline.config.training,
        folder=pipeline.work / "figures" / basis.prepared.key[:16],
    )


def draw(
    basis: Basis,
    results: Sequence[CandidateResult],
    assessment: Assessment,
    training: TrainingConfig,
    folder: Path,
) -> Figures:
    """Draw into `folder`; runs where the model can be loaded."""
    challenger = next(r for r in results if r.candidate == assessment.challenger)
    metric = basis.prepared.metric
    y_true, queries = holdout_target(basis), holdout_queries(basis)
    board = draw_leaderboard(assessment.leaderboard, metric, assessment.challenger)
    fitted = [result for result in results if result.status == "ok"]
    drawn = {
        result.candidate: _of_candidate(result, y_true, basis, assessment)
        if queries is None
        else _of_ranking(result, y_true, fitted, queries)
        for result in fitted
    }
    searched = {
        name: drawing
        for name in dict.fromkeys((challenger.candidate, *drawn))
        if (drawing := _searched(name, results, metric, training)) is not None
    }
    importance, explained = _explained(basis, challenger, y_true, queries, training.seed)
    about = (*drawn[challenger.candidate], *searched.values(), *explained)
    shown = [d for d in (board, *about) if d is not None]
    files = save_figures(shown, folder)
    return Figures(
        pictures=pictures(shown, files),
        importance={} if importance is None else {c.column: c.loss for c in importance.columns},
        # The challenger's are written already, and those of its search.
        of_candidates={
            name: {d.name: files[d.name] for d in _told_of(name, drawings, searched)}
            if name == challenger.candidate
            else save_figures(_told_of(name, drawings, searched), folder / name)
            for name, drawings in drawn.items()
        },
    )


def _told_of(
    name: str, drawings: Sequence[Drawing], searched: Mapping[str, Drawing]
) -> list[Drawing]:
    return [*drawings, *([searched[name]] if name in searched else [])]


def _of_candidate(
    result: CandidateResult, y_true: Array, basis: Basis, assessment: Assessment
) -> tuple[Drawing, ...]:
    predictions = read_predictions(result.predictions_path)
    evaluation = assessment.of(result.candidate)
    diagnosed = diagnose(y_true, predictions, basis.roles, evaluation)
    return (*diagnosed, *draw_learning(result.candidate, result.curves, result.curves_of))


def _searched(
    name: str, results: Sequence[CandidateResult], metric: str, training: TrainingConfig
) -> Drawing | None:
    result = next(r for r in results if r.candidate == name)
    if not result.trials:
        return None
    return draw_search(result, metric, training)


def _of_ranking(
    result: CandidateResult,
    y_true: Array,
    fitted: Sequence[CandidateResult],
    queries: RankingGroups,
) -> tuple[Drawing, ...]:
    predicted = {r.candidate: read_predictions(r.predictions_path).predicted for r in fitted}
    ranked = draw_ranking(result.candidate, y_true, predicted, queries)
    return (*ranked, *draw_learning(result.candidate, result.curves, result.curves_of))


def _explained(
    basis: Basis,
    challenger: CandidateResult,
    y_true: Array,
    queries: RankingGroups | None,
    seed: int,
) -> tuple[Importance | None, list[Drawing | None]]:
    rows = np.load(basis.split.holdout_path)
    chosen = spread(len(rows), _IMPORTANCE_ROWS)
    if queries is not None:
        chosen = queries.sample(_IMPORTANCE_ROWS)
    X = read_frame(basis.snapshot.path, columns=list(basis.roles.features), rows=rows[chosen])
    pipeline = load_model(Path(challenger.model_path), basis.roles.own)
    importance = permutation_importance(
        lambda frame: predict(pipeline, frame),
        X,
        y_true[chosen],
        basis.roles,
        basis.prepared.metric,
        queries=None if queries is None else queries.only(chosen),
        first=sorted(challenger.importance, key=lambda c: -challenger.importance[c]),
        seed=seed,
    )
    refit = basis.prepared.mode.kind == "refit"
    moved = [] if refit else _moved(basis, pipeline, X, importance, challenger)
    return importance, [None if importance is None else draw_importance(importance), *moved]


def _moved(
    basis: Basis,
    pipeline: Any,
    X: pd.DataFrame,
    importance: Importance | None,
    challenger: CandidateResult,
) -> list[Drawing | None]:
    schema = basis.roles
    top = list(challenger.importance)
    if importance is not None:
        top = [c.column for c in importance.columns if c.loss > 0]
    label = _explained_class(basis, X, pipeline)
    found = dependence(outputs_of(pipeline, schema, label), X, top[:_MOVED])
    of = f"predicted {schema.target}" if label is None else f"stated probability of {label}"
    if schema.group is not None:
        of = f"score by which {schema.target} is ranked"
    sized = summary(pipeline, X.sample(min(len(X), _SHAP_ROWS), random_state=0))
    if sized is None:
        return [draw_dependence(found, of)]
    sizes, scale = sized
    unit = "score" if schema.group is not None else schema.target if label is None else scale
    return [draw_dependence(found, of), draw_contributions(sizes, unit)]


def _explained_class(basis: Basis, X: pd.DataFrame, pipeline: Any) -> str | None:
    """Return the class whose probability is shown: the positive one, or the most predicted."""
    schema = basis.roles
    if not schema.classes:
        return None
    if len(schema.classes) == 2:
        return schema.positive or schema.classes[-1]
    predicted, _ = predict(pipeline, X.iloc[:500])
    labels, counts = np.unique(np.asarray(predicted).astype(str), return_counts=True)
    return str(labels[counts.argmax()])
