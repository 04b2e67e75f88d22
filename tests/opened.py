"""Pipelines with a ledger and a registry of the test's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tasks.base.pipeline_file import Pipeline
from tasks.registry.open_pipeline import open_pipeline


def opened(pipeline: Any, **given: Any) -> Any:
    """Return an open pipeline with the ledger or the store given in place of its own."""
    if not isinstance(pipeline, Pipeline):
        return SimpleNamespace(**vars(pipeline), **given)
    found = open_pipeline(pipeline)
    vars(found).update(given)
    return found
