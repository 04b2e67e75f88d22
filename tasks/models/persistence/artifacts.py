"""The files of a candidate: its model, its predictions of the holdout and, last, its result."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.arrays import Array, Floats
from tasks.base.runtime.files import changed_file, digests_of, write_whole
from tasks.base.runtime.libraries import sklearn
from tasks.base.runtime.progress import Step, report
from tasks.base.training_records import CandidateResult
from tasks.models.persistence.prediction import in_order
from tasks.models.persistence.skops_io import save_model
from tasks.models.run_context import FitRun

MODEL, PREDICTIONS, _RESULT = "model.skops", "holdout.npz", "result.json"


def kept(folder: Path, name: str) -> CandidateResult | None:
    """Return a candidate that an earlier run completed, if its files are those it recorded."""
    path = folder.resolve() / name / _RESULT
    try:
        result = CandidateResult.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    if result.candidate != name or not {MODEL, PREDICTIONS} <= result.digests.keys():
        return None  # Another one's, or kept by a version that recorded no digests.
    changed = changed_file(path.parent, result.digests)
    if changed is not None:
        text = f"{name}: {changed} is not the file that was kept with this fit; it is fitted again"
        report(Step("fit", text))
        # Nothing of it may be taken for a file of the new fit.
        shutil.rmtree(path.parent, ignore_errors=True)
        return None
    # The folder may have been moved or copied since.
    given = {"model_path": str(path.with_name(MODEL)), "cached": True}
    return result.model_copy(update={**given, "predictions_path": str(path.with_name(PREDICTIONS))})


def trials_file(run: FitRun, name: str) -> Path:
    """Return the journal of a candidate's trials."""
    return Path(run.folder) / f"{name}.trials.jsonl"


def trial_folder(run: FitRun, name: str, number: int) -> Path:
    """Return where the out-of-fold predictions of a trial are kept."""
    return Path(run.folder) / f"{name}.trials" / str(number)


def keep_result(folder: Path, result: CandidateResult) -> None:
    """Write `result`, with the digests of its files: a folder that has one is complete."""
    path = folder.resolve() / result.candidate / _RESULT
    if not result.digests:
        names = sorted(p.name for p in path.parent.iterdir() if p.name[0] != "." and p != path)
        result = result.model_copy(update={"digests": digests_of(path.parent, names)})
    write_whole(path, result.model_dump_json())


def keep_predictions(
    run: FitRun,
    name: str,
    model: Any,
    predicted: Array,
    probability: Floats | None,
    uncalibrated: Floats | None = None,
) -> None:
    """Write the predictions of `model` for the holdout."""
    # Probabilities have the shape (n_rows, n_classes), in the order of ``model.classes_``;
    # `uncalibrated` ones are a calibrated model's without its calibration.
    path = run.candidate(name) / PREDICTIONS
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{PREDICTIONS}")
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
    folder = run.candidate(result.candidate)
    path = folder / MODEL
    save_model(
        sklearn.pipeline.Pipeline([("encode", encoder), ("model", model)]), path, own=run.schema.own
    )
    result = result.model_copy(
        update={
            "model_path": str(path),
            "model_bytes": path.stat().st_size,
            "predictions_path": str(folder / PREDICTIONS),
        }
    )
    keep_result(Path(run.folder), result)
