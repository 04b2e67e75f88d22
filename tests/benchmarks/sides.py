"""One tool on one table, in its own process: fit on the training rows, answer for the holdout.

    python sides.py TOOL FOLDER

It stands alone, so that a tool may live in an environment of its own. The folder holds
``job.json``, ``train.parquet`` with the features and the target, and ``holdout.parquet`` with the
features; the answer is left in ``answer.npz`` and ``note.txt``. keepfit reads its pipeline file
there instead and makes the same split itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

_OF_FLAML = {"roc_auc": "roc_auc", "log_loss": "log_loss", "rmse": "rmse"}
_OF_AUTOGLUON = {"roc_auc": "roc_auc", "log_loss": "log_loss", "rmse": "root_mean_squared_error"}


def _frames(folder: Path) -> tuple[Any, Any]:
    """Return both tables with text as categories, which all of the tools know."""
    import pandas as pd

    train = pd.read_parquet(folder / "train.parquet")
    holdout = pd.read_parquet(folder / "holdout.parquet")
    for name in holdout.columns:
        column = train[name]
        if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
            continue
        levels = sorted({str(value) for value in column.dropna().unique()})
        for frame in (train, holdout):
            text = frame[name].astype(object)
            text = text.where(text.isna(), text.astype(str))
            frame[name] = pd.Categorical(text, categories=levels)
    return train, holdout


def _keep(folder: Path, job: dict[str, Any], predicted: Any, shares: Any, labels: Any) -> None:
    """Leave predictions; shares in the order of the job's classes."""
    if not job["classes"]:
        np.savez(folder / "answer.npz", predicted=np.asarray(predicted, dtype=np.float64).ravel())
        return
    places = [[str(label) for label in labels].index(name) for name in job["classes"]]
    probability = np.asarray(shares, dtype=np.float64)[:, places]
    answer = np.asarray(predicted).astype(str)
    np.savez(folder / "answer.npz", predicted=answer, probability=probability)


def _without_moments(frame: Any) -> Any:
    """Return a frame whose moments are hour, weekday and month: LightGBM knows numbers only."""
    moments = frame.select_dtypes(include=["datetime", "datetimetz"]).columns
    for name in moments:
        at = frame[name].dt
        frame = frame.assign(
            **{f"{name}_hour": at.hour, f"{name}_weekday": at.weekday, f"{name}_month": at.month}
        )
    return frame.drop(columns=moments)


def lightgbm(folder: Path, job: dict[str, Any]) -> str:
    """LightGBM with its defaults."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    train, holdout = _frames(folder)
    y = train.pop(job["target"])
    kind = LGBMClassifier if job["classes"] else LGBMRegressor
    model = kind(n_jobs=job["threads"], random_state=job["seed"], verbosity=-1)
    model.fit(_without_moments(train), y)
    holdout = _without_moments(holdout)
    shares = model.predict_proba(holdout) if job["classes"] else None
    _keep(folder, job, model.predict(holdout), shares, getattr(model, "classes_", ()))
    return "defaults"


def flaml(folder: Path, job: dict[str, Any], **more: Any) -> str:
    """FLAML's AutoML with its defaults for the task."""
    from flaml import AutoML

    train, holdout = _frames(folder)
    y = train.pop(job["target"])
    model = AutoML()
    model.fit(
        X_train=train, y_train=y, task="classification" if job["classes"] else "regression",
        metric=_OF_FLAML[job["metric"]], time_budget=job["budget"], n_jobs=job["threads"],
        seed=job["seed"], verbose=0, log_file_name="", **more,
    )  # fmt: skip
    shares = model.predict_proba(holdout) if job["classes"] else None
    labels = model.classes_ if job["classes"] else ()
    _keep(folder, job, model.predict(holdout), shares, labels)
    return f"{model.best_estimator}, {len(model.config_history)} bests, {model.best_config}"


def flaml_time(folder: Path, job: dict[str, Any]) -> str:
    """FLAML told that the rows lie in time, which it does not find out by itself."""
    return flaml(folder, job, split_type="time")


def autogluon(folder: Path, job: dict[str, Any]) -> str:
    """AutoGluon's tabular predictor with its default preset."""
    from autogluon.tabular import TabularPredictor

    train, holdout = _frames(folder)
    kind = "regression" if not job["classes"] else "multiclass"
    kind = "binary" if len(job["classes"]) == 2 else kind
    model = TabularPredictor(
        job["target"], problem_type=kind, eval_metric=_OF_AUTOGLUON[job["metric"]],
        path=str(folder / "autogluon"), verbosity=0,
    ).fit(train, time_limit=job["budget"], num_cpus=job["threads"], num_gpus=0)  # fmt: skip
    shares = model.predict_proba(holdout) if job["classes"] else None
    labels = list(shares.columns) if shares is not None else ()
    _keep(folder, job, model.predict(holdout), shares, labels)
    return str(model.model_best)


def keepfit(folder: Path, job: dict[str, Any]) -> str:
    """keepfit's fits, tuned, blended and calibrated; what validation prefers answers."""
    from tasks.base.pipeline_file import load_pipeline
    from tasks.evaluation.leaderboard import choose
    from tasks.models.execution import worker_pool
    from tasks.models.fitting import fit_candidates
    from tasks.training.row_windows import training_snapshot
    from tasks.training.training_plan import prepare

    pipeline = load_pipeline(folder)
    snapshot = training_snapshot(pipeline)
    prepared = prepare(pipeline, snapshot)
    results = fit_candidates(
        snapshot.path, prepared.split, prepared.roles, pipeline.config.training, prepared.metric,
        folder / "fits",
    )  # fmt: skip
    worker_pool.close_all()
    name = choose(results, prepared.metric)
    chosen = next(result for result in results if result.candidate == name)
    with np.load(chosen.predictions_path) as kept:
        shares = kept["probability"] if job["classes"] else None
        _keep(folder, job, kept["predicted"], shares, prepared.roles.classes)
    told = [
        f"{r.candidate} {r.status} cv {r.cv_mean or float('nan'):.5g} "
        f"{len(r.trials)} trials {r.reason or '; '.join(r.notes)}"
        for r in results
    ]
    return "\n".join([f"{name} {chosen.params}", *told])


def keepfit_lightgbm(folder: Path, job: dict[str, Any]) -> str:
    """keepfit with LightGBM alone, as its pipeline file says."""
    return keepfit(folder, job)


SIDES = {
    one.__name__: one for one in (keepfit, keepfit_lightgbm, lightgbm, flaml, flaml_time, autogluon)
}


def main() -> None:
    """Run one tool."""
    tool, folder = sys.argv[1], Path(sys.argv[2])
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    note = SIDES[tool](folder, job)
    (folder / "note.txt").write_text(note, encoding="utf-8")


if __name__ == "__main__":
    main()
