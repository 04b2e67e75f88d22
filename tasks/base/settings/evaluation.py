"""The metrics, and the sections `objective`, `gate` and `report`: by what models are judged."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Literal, get_args

from pydantic import Discriminator, Field, Tag, model_validator

from tasks.base.plugin_settings import SMALLER_IS_BETTER
from tasks.base.settings.section import Column, Section, form_of
from tasks.base.training_records import Task

ClassificationMetric = Literal[
    "roc_auc", "average_precision", "accuracy", "balanced_accuracy", "precision", "recall", "f1",
    "f1_macro", "log_loss", "brier",
]  # fmt: skip

RegressionMetric = Literal["rmse", "mae", "mse", "median_ae", "r2", "mape"]

RankingMetric = Literal["ndcg_at_10", "map_at_10"]

Metric = Literal[ClassificationMetric, RegressionMetric, RankingMetric]

CLASSIFICATION_METRICS: tuple[str, ...] = get_args(ClassificationMetric)

REGRESSION_METRICS: tuple[str, ...] = get_args(RegressionMetric)

RANKING_METRICS: tuple[str, ...] = get_args(RankingMetric)


class ObjectiveConfig(Section):
    """Cost of a classifier's decisions, or a level that they must reach."""

    cost: dict[str, float | dict[str, float]] | None = Field(
        None,
        description="false_positive and false_negative; or true class to predicted class to cost",
    )
    min_precision: float | None = Field(
        None, gt=0.0, le=1.0, description="the most recall with at least this precision, a fraction"
    )
    min_recall: float | None = Field(
        None, gt=0.0, le=1.0, description="the most precision with at least this recall, a fraction"
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> ObjectiveConfig:
        given = [self.cost, self.min_precision, self.min_recall]
        if sum(value is not None for value in given) != 1:
            raise ValueError("give one of `cost`, `min_precision` and `min_recall`")
        if self.cost is not None:
            _check_costs(self.cost)
        return self


def _check_costs(cost: dict[str, float | dict[str, float]]) -> None:
    """Refuse costs that are none: negative, not finite, or of half a matrix."""
    nested = [row for row in cost.values() if isinstance(row, dict)]
    values = [v for row in nested for v in row.values()]
    values += [v for v in cost.values() if not isinstance(v, dict)]
    if any(not isfinite(v) or v < 0 for v in values):
        raise ValueError("a cost is a finite number from 0 on")
    if values and not any(values):
        raise ValueError("some decision must cost more than 0")
    if nested and len(nested) < len(cost):
        raise ValueError("a cost is a number for each kind of error, or a mapping for each class")
    if not nested and set(cost) != {"false_positive", "false_negative"}:
        raise ValueError("a cost needs `false_positive` and `false_negative`")


Objective = Annotated[
    Annotated[Literal["f1"], Tag("word")] | Annotated[ObjectiveConfig, Tag("section")],
    Discriminator(form_of),
]


class GateConfig(Section):
    """By which rule a challenger becomes champion."""

    rule: Literal["superior", "non_inferior"] = Field(
        "superior", description="shown to be better, or shown to be not worse by more than margin"
    )
    confidence: float = Field(0.95, gt=0.5, lt=1.0, description="of the gain's interval")
    min_gain: float = Field(0.0, ge=0.0, description="in units of the metric")
    margin: float = Field(0.0, ge=0.0, description="non_inferior: how much worse is accepted")
    refit_margin: float | None = Field(
        None,
        ge=0.0,
        description="how much worse a refit may be, in units of the metric; absent: a share of "
        "what the champion is better than the trivial baseline",
    )
    replicates: int = Field(1000, ge=200, le=10_000, description="bootstrap replicates")
    max_latency_ms_per_1k: float | None = Field(
        None, gt=0, description="milliseconds a challenger may take for 1,000 rows"
    )
    max_size_mb: float | None = Field(None, gt=0, description="megabytes its model file may have")
    slices: tuple[Column, ...] = Field(
        (), description="columns on whose levels a challenger may not be significantly worse"
    )


class ReportConfig(Section):
    """Breakdowns of the report, and what it may show."""

    ids: bool = Field(False, description="whether the worst rows are named by their ids")
    by: tuple[Column, ...] = Field((), description="columns to break metrics down by")
    sensitive: tuple[Column, ...] = Field(
        (), description="columns whose groups are compared: selection, true positives, score"
    )


def metrics_of(task: str) -> tuple[str, ...]:
    """Return the metrics that may select for a task.

    >>> metrics_of("ranking")
    ('ndcg_at_10', 'map_at_10')
    """
    known = {"regression": REGRESSION_METRICS, "ranking": RANKING_METRICS}
    return known.get(task, CLASSIFICATION_METRICS)


def default_metric(task: Task) -> str:
    """Return the metric that selects when the file names none.

    >>> default_metric("regression")
    'rmse'
    """
    return {
        "binary": "roc_auc",
        "multiclass": "log_loss",
        "regression": "rmse",
        "ranking": "ndcg_at_10",
    }[task]


def greater_is_better(metric: str) -> bool:
    """Return whether a larger value of `metric` is better; custom metrics declare it by name.

    >>> greater_is_better("rmse")
    False
    >>> [greater_is_better(name) for name in ("profit", "churn_cost")]
    [True, False]
    """
    losses = {"rmse", "mae", "mse", "median_ae", "mape", "log_loss", "brier", "calibration_error"}
    return metric not in losses and not metric.endswith(SMALLER_IS_BETTER)
