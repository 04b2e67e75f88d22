"""The files of a candidate: its model, its predictions of the holdout and, last, its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.records import CandidateResult
from tasks.base.runtime.files import write_whole
from tasks.models.execution.run_context import FitRun
from tasks.models.persistence.prediction import in_order
from tasks.models.persistence.skops_io import save_model


def kept(folder: Path, name: str) -> CandidateResult | None:
    """Return a candidate that an earlier run completed."""
    path = folder.resolve() / name / "result.json"
    try:
        result = CandidateResult.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    # The folder may have been moved or copied since.
    model, predictions = path.with_name("model.skops"), path.with_name("holdout.npz")
    if not predictions.is_file() or not model.is_file():
        return None
    if model.stat().st_size != result.model_bytes:
        return None
    return result.model_copy(
        update={"model_path": str(model), "predictions_path": str(predictions), "cached": True}
    )


def trials_file(run: FitRun, name: str) -> Path:
    """Return the journal of a candidate's trials."""
    return Path(run.folder) / f"{name}.trials.jsonl"


def trial_folder(run: FitRun, name: str, number: int) -> Path:
    """Return where the out-of-fold predictions of a trial are kept."""
    return Path(run.folder) / f"{name}.trials" / str(number)


def keep_result(folder: Path, result: CandidateResult) -> None:
    """Write `result`: a folder that has one is complete."""
    path = folder.resolve() / result.candidate / "result.json"
    write_whole(path, result.model_dump_json())


def keep_predictions(
    run: FitRun,
    name: str,
    model: Any,
    predicted: NDArray[Any],
    probability: NDArray[np.float64] | None,
    uncalibrated: NDArray[np.float64] | None = None,
) -> None:
    """Write what `model` predicts of the holdout.

    Parameters
    ----------
    probability, uncalibrated
        Shape (n_rows, n_classes), in the order of ``model.classes_``; the second is what a
        calibrated model says without its calibration.
    """
    path = run.candidate(name) / "holdout.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(".holdout.npz")
    with beside.open("wb") as file:
        given = {"probability": probability, "uncalibrated": uncalibrated}
        spread = {
            key: in_order(chances, model.classes_, run.schema.classes)
            for key, chances in given.items()
            if chances is not None
        }
        np.savez(file, predicted=predicted, **spread)  # type: ignore[arg-type]
    beside.replace(path)


def keep(run: FitRun, result: CandidateResult, encoder: Any, model: Any) -> None:
    """Write the pipeline, and last of all the result: a folder that has one is complete."""
    from sklearn.pipeline import Pipeline

    folder = run.candidate(result.candidate)
    path = folder / "model.skops"
    save_model(Pipeline([("encode", encoder), ("model", model)]), path, own=run.schema.own)
    result = result.model_copy(
        update={
            "model_path": str(path),
            "model_bytes": path.stat().st_size,
            "predictions_path": str(folder / "holdout.npz"),
        }
    )
    keep_result(Path(run.folder), result)
