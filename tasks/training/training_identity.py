"""The identity of a training: the same data, contract, settings and versions give the same one."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata

from tasks.base.pipeline_file import Pipeline
from tasks.base.training_records import Snapshot, TrainingMode
from tasks.plugins.versions import code_identity

_DECIDE_FITS = {
    "target", "task", "positive", "time_column", "id_columns", "exclude", "kinds", "split",
    "training", "metric", "objective", "hooks", "group", "item", "relevant",
}  # fmt: skip
# Raise it when the same rows, settings and versions would give other numbers than before.
_FORMAT = 2
_LIBRARIES = ("keepfit", "scikit-learn", "lightgbm", "numpy", "optuna", "pandas")


def fit_key(
    pipeline: Pipeline,
    snapshot: Snapshot,
    holdout: float | None = None,
    mode: TrainingMode | None = None,
) -> str:
    """Return the digest of all that decides the fitted candidates, 64 hex digits."""
    # `holdout` is a share (None: as the file states); `mode` has the recipe where nothing is
    # searched.
    settings = pipeline.config.model_dump(mode="json", include=_DECIDE_FITS)
    if holdout is not None:
        settings["split"]["holdout"] = holdout
    # It looks at the fits and changes none.
    settings["training"].pop("diagnosis", None)
    return _digest(snapshot.digest, settings, _versions(), *_code(pipeline), *_recipe(mode))


def training_key(
    pipeline: Pipeline, snapshot: Snapshot, contract_digest: str, mode: TrainingMode | None = None
) -> str:
    """Return the digest of all that decides a training, 64 hex digits."""
    given = (snapshot.digest, contract_digest, pipeline.digest, _versions())
    return _digest(*given, *_code(pipeline), *_recipe(mode))


def _recipe(mode: TrainingMode | None) -> tuple[str, ...]:
    """Return an identity of the recipe that is fitted; empty for a search."""
    if mode is None or mode.recipe is None:
        return ()
    return (mode.recipe.model_dump_json(),)


def _code(pipeline: Pipeline) -> tuple[str, ...]:
    """Return values that change with the code of custom estimators and metrics."""
    identity = code_identity(pipeline.config.hooks, pipeline.base)
    return (identity,) if identity else ()


def _versions() -> dict[str, str]:
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    return {**versions, "format": str(_FORMAT)}


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
