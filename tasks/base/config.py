"""The pipeline file as frozen, strict values; its sections are in `tasks/base/settings/`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import get_args

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails

from tasks.base.plugin_settings import HooksConfig
from tasks.base.settings.evaluation import GateConfig, Metric, Objective, ReportConfig, metrics_of
from tasks.base.settings.monitoring import MonitoringConfig, PolicyConfig, SchedulesConfig
from tasks.base.settings.ranking_rules import contradiction
from tasks.base.settings.scoring import ContractSetting, LedgerConfig, ScoringConfig
from tasks.base.settings.section import (
    Column,
    Label,
    Name,
    Section,
    Spellings,
    contradiction_at,
    finding_at,
)
from tasks.base.settings.sources import Source
from tasks.base.settings.training import HERE, CandidateName, Engine, SplitConfig, TrainingConfig
from tasks.base.text.durations import Duration
from tasks.base.training_records import Kind, Task


class PipelineConfig(Section):
    """One pipeline: one model that is trained, scored and monitored."""

    name: Name = Field(description="of pipeline, model and folder: a-z, 0-9, _ and -")
    description: str = Field("", max_length=2000, description="what the model is for")
    target: Column = Field(min_length=1, description="column that is predicted")
    source: Source = Field(description="where rows come from")
    task: Task | None = Field(None, description="absent: inferred from the target")
    positive: str | bool | int | float | None = Field(
        None, description="label scored in a binary task"
    )
    labels: dict[Label, Spellings] = Field(
        {}, description="label to the spellings in the data that it replaces, wherever read"
    )
    group: Column | None = Field(
        None, description="ranking: column whose rows are ranked together, a user or a query"
    )
    item: Column | None = Field(
        None,
        description="ranking: column that names what is ranked; its popularity is the baseline",
    )
    relevant: float | None = Field(
        None, description="ranking: least target that counts as relevant; absent: above the least"
    )
    time_column: Column | None = Field(
        None, description="when a row is from; absent: no order in time, and no windows"
    )
    id_columns: tuple[Column, ...] = Field(
        (), description="together they name one row; never features"
    )
    exclude: tuple[Column, ...] = Field((), description="known leaks, never features")
    kinds: dict[str, Kind] = Field({}, description="column to kind, where inference is wrong")
    contract: ContractSetting | None = Field(None, description="the contract's file, or a section")
    split: SplitConfig = SplitConfig()
    hooks: HooksConfig = HooksConfig()
    training: TrainingConfig = TrainingConfig()
    metric: Metric | str | None = Field(
        None, description="selects the challenger; the gate compares it; or one of hooks.metrics"
    )
    objective: Objective | None = Field(
        None, description="decision rule for classes; default: most probable class"
    )
    gate: GateConfig = GateConfig()
    scoring: ScoringConfig = ScoringConfig()
    report: ReportConfig = ReportConfig()
    ledger: LedgerConfig = LedgerConfig()
    monitoring: MonitoringConfig = MonitoringConfig()
    policy: PolicyConfig = PolicyConfig()
    schedules: SchedulesConfig = SchedulesConfig()
    alerts: tuple[SecretStr, ...] = Field((), description="Apprise URLs, from ${ENV}")
    retention: Duration = Field(
        "90d",
        validate_default=True,
        description="flow runs, model versions, reports and fits older are removed",
    )
    engine: Engine = Field(HERE, description="what runs the fits")
    state: str = Field(
        ".keepfit", min_length=1, description="folder of all that is kept, beside this file"
    )

    @field_validator("labels")
    @classmethod
    def _spelled_once(cls, labels: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        findings: list[InitErrorDetails] = []
        owner: dict[str, str] = {}
        for name, spellings in labels.items():
            for place, spelling in enumerate(spellings):
                if spelling != name and spelling in labels:
                    text = f"{spelling!r} is itself a label that others are joined to"
                elif owner.setdefault(spelling, name) != name:
                    text = f"{spelling!r} is joined to {owner[spelling]!r} and to {name!r}"
                else:
                    continue
                findings.append(finding_at((name,), place, f"`labels`: {text}"))
        if findings:
            raise ValidationError.from_exception_data("labels", findings)
        return labels

    @field_validator("hooks")
    @classmethod
    def _names_of_its_own(cls, hooks: HooksConfig) -> HooksConfig:
        taken = hooks.taken(get_args(CandidateName), get_args(Metric))
        if taken:
            raise ValueError(f"{taken!r} is a name that keepfit uses itself; give another")
        return hooks

    @field_validator("training")
    @classmethod
    def _known_candidates(cls, training: TrainingConfig, info: ValidationInfo) -> TrainingConfig:
        if "hooks" not in info.data:
            return training
        allowed = (*get_args(CandidateName), *info.data["hooks"].estimators)
        findings = [
            finding_at(("candidates",), place, _no_such("candidate", name, allowed))
            for place, name in enumerate(training.candidates)
            if name not in allowed
        ]
        findings += [
            finding_at(("spaces",), name, _no_such("candidate", name, allowed))
            for name in training.spaces
            if name not in allowed
        ]
        if findings:
            raise ValidationError.from_exception_data("candidates", findings)
        return training

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str | None, info: ValidationInfo) -> str | None:
        if metric is None or "hooks" not in info.data:
            return metric
        allowed = (*get_args(Metric), *info.data["hooks"].metrics)
        if metric not in allowed:
            raise ValueError(_no_such("metric", metric, allowed))
        return metric

    @model_validator(mode="after")
    def _no_contradictions(self) -> PipelineConfig:
        for role, columns in (
            ("time_column", (self.time_column,)),
            ("id_columns", self.id_columns),
            ("exclude", self.exclude),
            ("gate", self.gate.slices),
        ):
            if self.target in columns:
                raise contradiction_at(role, f"the target {self.target!r} stands in `{role}` too")
        if self.split.group is not None and self.split.group in (self.target, self.time_column):
            role = "target" if self.split.group == self.target else "time column"
            raise contradiction_at(
                "split", f"`split.group` names the {role} {self.split.group!r}; name another column"
            )
        if self.time_column is not None and self.time_column in self.exclude:
            raise contradiction_at(
                "exclude", f"the time column {self.time_column!r} stands in `exclude` too"
            )
        if self.time_column is None and self.training.window is not None:
            raise contradiction_at("training", "`training.window` needs a `time_column`")
        if self.time_column is None and self.training.refit:
            raise contradiction_at(
                "training",
                "`training.refit: true` needs a `time_column`: without one it is unknown which "
                "rows are new to a refitted model",
            )
        self._suits_task()
        return self

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Columns needed by splitting, evaluation and reporting, be they features or not."""
        group = () if self.split.group is None else (self.split.group,)
        named = (
            *group,
            *self.gate.slices,
            *self.report.by,
            *self.report.sensitive,
            *self.monitoring.segments,
        )
        return tuple(dict.fromkeys(named))

    @property
    def aside(self) -> tuple[str, ...]:
        """Excluded columns that are read all the same, for evaluation only."""
        return tuple(column for column in self.exclude if column in self.evaluated)

    @property
    def competing(self) -> TrainingConfig:
        """The training settings, with plugin estimators unless `candidates` is set."""
        if "candidates" in self.training.model_fields_set or not self.hooks.estimators:
            return self.training
        names = (*self.training.candidates, *self.hooks.estimators)
        return self.training.model_copy(update={"candidates": names})

    def _suits_task(self) -> None:
        found = contradiction(self)
        if found is not None:
            raise found
        if self.labels and self.task in ("regression", "ranking"):
            raise contradiction_at("labels", f"`labels` are of classes, not of {self.task}")
        if self.objective is not None and self.task == "regression":
            raise contradiction_at(
                "objective", "`objective` is about classes, not about regression"
            )
        if self.metric is None or self.task is None or self.metric in self.hooks.metrics:
            return
        fits = metrics_of(self.task)
        if self.metric not in fits:
            raise contradiction_at(
                "metric",
                f"the metric {self.metric} is not one for {self.task}. One of: {', '.join(fits)}",
            )


def _no_such(what: str, name: str, allowed: tuple[str, ...]) -> str:
    near = get_close_matches(name, allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    table = {"candidate": "estimators", "metric": "metrics"}[what]
    known = ", ".join(allowed)
    return f"no {what} {name!r}{hint} One of: {known}; or your own, named in `hooks.{table}`"
