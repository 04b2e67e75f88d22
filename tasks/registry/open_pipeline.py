"""A pipeline with its ledger and its registry: the one value that flows hand down."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

from tasks.base.pipeline_file import Pipeline
from tasks.ledger.ledger import Ledger, ledger_of
from tasks.registry.mlflow.shared_stores import store_of

if TYPE_CHECKING:
    from tasks.registry.mlflow.store import Store


@dataclass(frozen=True)
class OpenPipeline(Pipeline):
    """A checked pipeline file with its ledger and registry, each opened where it is first used."""

    # A task that needs one is retried, and a command that does not need it creates nothing.

    patience: float = 60.0  # seconds for which a locked ledger is awaited

    @cached_property
    def ledger(self) -> Ledger:
        """Predictions, labels and decisions; see `ledger_of` for what it raises."""
        return ledger_of(self, patience=self.patience)

    @cached_property
    def store(self) -> Store:
        """Runs and versions."""
        return store_of(self)


def open_pipeline(pipeline: Pipeline, patience: float = 60.0) -> OpenPipeline:
    """Return a pipeline with its ledger and registry, neither opened yet."""
    values = {field.name: getattr(pipeline, field.name) for field in fields(Pipeline)}
    return OpenPipeline(**values, patience=patience)
