"""Records of a version, and the links of its chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from pydantic import Field, JsonValue

from tasks.base.command_results import TrainingOutcome
from tasks.base.monitoring_records import Decision
from tasks.base.pipeline_file import Pipeline
from tasks.base.training_records import ModelVersion, Record

What = Literal[
    "window", "alarm", "schedule", "by hand", "run", "data", "contract", "training", "gate",
    "promoted", "refused", "confirmed", "rolled back", "replaced", "in use", "shadow", "collected",
    "alert", "other",
]  # fmt: skip


class Link(Record):
    """One step of a chain."""

    at: datetime | None  # when; None where only the order is known
    what: What
    sentence: str
    numbers: dict[str, JsonValue] = Field({})  # what the sentence rests on, as JSON values
    links: dict[str, str] = Field({})  # what to open, by name


@dataclass(frozen=True)
class Known:
    """All that is recorded of one version."""

    pipeline: Pipeline
    version: str
    decisions: tuple[Decision, ...]  # about the version or of its correlation, oldest first
    outcome: TrainingOutcome | None = None
    registered: ModelVersion | None = None

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags of the registered version; empty where it is not registered."""
        return self.registered.tags if self.registered is not None else {}

    @cached_property
    def trained(self) -> Decision | None:
        """The decision that ended its training."""
        of = [d for d in self.decisions if d.kind == "trained" and d.version == self.version]
        return of[-1] if of else None

    @cached_property
    def correlation(self) -> str:
        """The correlation of its training; empty where it is not recorded."""
        trained = self.trained
        return trained.correlation if trained is not None else ""

    @cached_property
    def reported(self) -> frozenset[str]:
        """Ids of the decisions about it or before it that messages report."""
        kinds = ("alarmed", "trained", "promoted", "refused", "confirmed", "rolled_back")
        return frozenset(d.id for d in self.of(*kinds))

    def of(self, *kinds: str) -> tuple[Decision, ...]:
        """Return the decisions of some kinds, oldest first."""
        return tuple(d for d in self.decisions if d.kind in kinds)
