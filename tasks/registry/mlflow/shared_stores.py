"""One store a process and place, so that its doors share the connection."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from tasks.base.pipeline_file import Pipeline
from tasks.base.records import ModelVersion
from tasks.registry.mlflow.store import Store


def store_of(state: Path) -> Store:
    """Return the store of `state`, or of ``MLFLOW_TRACKING_URI`` where it is set."""
    return _store(state, os.environ.get("MLFLOW_TRACKING_URI", ""))


def champion_if_any(pipeline: Pipeline) -> ModelVersion | None:
    """Return the champion; None where there is none, or no registry yet, which is not created."""
    elsewhere = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not elsewhere and not (pipeline.state / "mlflow" / "mlflow.db").exists():
        return None
    return store_of(pipeline.state).champion(pipeline.config.name)


@lru_cache(maxsize=8)
def _store(state: Path, uri: str) -> Store:  # noqa: ARG001 - the address is part of the key
    return Store.open(state)
