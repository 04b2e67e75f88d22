"""The figures of one training, drawn and kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.pipeline_file import Pipeline
from tasks.base.records import Assessment, Basis, CandidateResult, Figures, Picture
from tasks.evaluation.assessing import holdout_target, read_predictions

if TYPE_CHECKING:
    from tasks.evaluation.figures import Drawing
    from tasks.evaluation.importance import Importance

_IMPORTANCE_ROWS = 2_000


def draw_all(
    pipeline: Pipeline, basis: Basis, results: Sequence[CandidateResult], assessment: Assessment
) -> Figures:
    """Draw the leaderboard and the challenger's figures, and keep them as PNG files."""
    from tasks.models.calls import call

    drawn = call(
        "tasks.evaluation.picturing:draw_plain",
        basis=basis.model_dump(mode="json"),
        results=[result.model_dump(mode="json") for result in results],
        assessment=assessment.model_dump(mode="json"),
        seed=pipeline.config.training.seed,
        folder=str(pipeline.work / "figures" / basis.prepared.key[:16]),
    )
    return Figures.model_validate(drawn)


def draw_plain(
    basis: dict[str, Any],
    results: list[dict[str, Any]],
    assessment: dict[str, Any],
    seed: int,
    folder: str,
) -> dict[str, Any]:
    """Draw from plain values into `folder`; runs where the model can be loaded."""
    figures = _draw(
        Basis.model_validate(basis),
        [CandidateResult.model_validate(result) for result in results],
        Assessment.model_validate(assessment),
        seed,
        Path(folder),
    )
    return figures.model_dump(mode="json")


def _draw(
    basis: Basis,
    results: Sequence[CandidateResult],
    assessment: Assessment,
    seed: int,
    folder: Path,
) -> Figures:
    from tasks.evaluation.figures import draw_importance, draw_leaderboard, save_figures

    challenger = next(r for r in results if r.candidate == assessment.challenger)
    metric = basis.prepared.metric
    y_true = holdout_target(basis)
    board = draw_leaderboard(assessment.leaderboard, metric, assessment.challenger)
    drawn = {
        result.candidate: _of_candidate(result, y_true, basis, assessment)
        for result in results
        if result.status == "ok"
    }
    importance = _importance(basis, challenger, y_true, seed)
    relied = None if importance is None else draw_importance(importance)
    own = drawn[challenger.candidate]
    shown = [d for d in (board, *own, relied) if d is not None]
    files = save_figures(shown, folder)
    return Figures(
        pictures=tuple(
            Picture(name=d.name, title=d.title, caption=d.caption, svg=d.svg(), file=files[d.name])
            for d in shown
        ),
        importance={} if importance is None else {c.column: c.loss for c in importance.columns},
        of_candidates={
            name: save_figures(drawings, folder / name) for name, drawings in drawn.items()
        },
    )


def _of_candidate(
    result: CandidateResult, y_true: NDArray[Any], basis: Basis, assessment: Assessment
) -> tuple[Drawing, ...]:
    """Return the figures of one candidate's predictions and of how it learned."""
    from tasks.evaluation.figures import diagnose, draw_learning

    predictions = read_predictions(result.predictions_path)
    evaluation = assessment.of(result.candidate)
    diagnosed = diagnose(
        y_true, predictions.predicted, predictions.probability, basis.roles, evaluation
    )
    return (*diagnosed, *draw_learning(result.candidate, result.curves))


def _importance(
    basis: Basis, challenger: CandidateResult, y_true: NDArray[Any], seed: int
) -> Importance | None:
    """Return what the challenger relies on, from a sample of the holdout."""
    from tasks.data.snapshots import read_frame
    from tasks.evaluation.importance import permutation_importance
    from tasks.models.loading import load_model
    from tasks.models.prediction import predict

    rows = np.load(basis.split.holdout_path)
    chosen = np.unique(
        np.linspace(0, len(rows) - 1, num=min(len(rows), _IMPORTANCE_ROWS)).astype(int)
    )
    X = read_frame(basis.snapshot.path, columns=list(basis.roles.features), rows=rows[chosen])
    pipeline = load_model(Path(challenger.model_path))
    return permutation_importance(
        lambda frame: predict(pipeline, frame),
        X,
        y_true[chosen],
        basis.roles,
        basis.prepared.metric,
        first=sorted(challenger.importance, key=lambda c: -challenger.importance[c]),
        seed=seed,
    )
