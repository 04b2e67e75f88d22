"""The sections `monitoring`, `policy` and `schedules`: what is watched, when models are trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, model_validator

from tasks.base.runtime.libraries import croniter
from tasks.base.settings.section import Column, Section
from tasks.base.settings.sources import Source
from tasks.base.text.durations import Delay, Duration


class MonitoringConfig(Section):
    """Monitoring of incoming windows."""

    window: Duration = Field("7d", validate_default=True, description="length of one window")
    reference: Literal["training"] = Field(
        "training", description="the rows that the champion was trained on"
    )
    false_alarms: float = Field(
        0.05, gt=0.0, lt=1.0, description="share of ordinary windows that may raise an alarm"
    )
    min_rows: int = Field(200, ge=20, description="below it a window is not judged")
    catch_up: int = Field(
        12, ge=1, le=1_000, description="windows that one pass looks at, at most; others wait"
    )
    label_delay: Duration | None = Field(
        None, description="after a window's end until its labels count as known; absent: none"
    )
    labels: Source | None = Field(
        None, description="id columns and target; absent: the target column of the source"
    )
    segments: tuple[Column, ...] = Field(
        (), max_length=10, description="features by whose values drift and performance are judged"
    )
    sample_rows: int = Field(5_000, ge=100, description="rows of a side in Evidently's report")

    @property
    def fewest_judged(self) -> int:
        """Fewest newer rows that a refit, or what it would bring, is judged on: half a window."""
        # The other half is for learning: a window that can be judged can lead to a training.
        return self.min_rows // 2


class CostConfig(Section):
    """Costs of a training and of a worse prediction, in one currency."""

    training: float = Field(gt=0.0, description="of one training")
    unit_loss: float = Field(gt=0.0, description="of one row, by unit of the metric")


class PolicyConfig(Section):
    """When to retrain."""

    retrain_on: tuple[Literal["schedule", "gain", "drift", "performance"], ...] = Field(
        ("schedule", "gain", "drift", "performance"),
        description="gain: what a refreshed model would bring, measured where labels are in",
    )
    min_gain: float | None = Field(
        None,
        ge=0.0,
        description="gain: a lower end beyond it trains, in units of the metric; absent: beyond 0, "
        "where the gain is at least half of a twentieth of the metric's odds or error",
    )
    cost: CostConfig | None = Field(
        None, description="gain: trains where it saves more until the next look; absent: min_gain"
    )
    persistence: str = Field(
        "2 of 3",
        pattern=r"^[1-9]\d{0,2} of [1-9]\d{0,2}$",
        description="so many of the last windows must call for it",
    )
    cooldown: Delay = Field(
        "7d",
        validate_default=True,
        description="after a training until the next on an alarm, by the machine's clock",
    )
    min_new_rows: int = Field(0, ge=0, description="rows newer than the last training's")
    answer: Literal["refit", "search"] = Field(
        "refit", description="to an alarm: fit the champion's recipe on newer rows, or search anew"
    )
    probation: int = Field(
        3, ge=0, le=50, description="windows in which a new champion is compared with the former"
    )

    @model_validator(mode="after")
    def _possible(self) -> PolicyConfig:
        needed, of = self.persistent
        if needed > of:
            raise ValueError(f"`persistence` requires {needed} of {of} windows")
        return self

    @property
    def persistent(self) -> tuple[int, int]:
        """Return how many of how many windows must call for a training."""
        needed, of = self.persistence.split(" of ")
        return int(needed), int(of)


def _cron(value: Any) -> Any:
    """Refuse what is no cron expression of five fields, or one of a day that never comes."""
    if isinstance(value, str) and (
        len(value.split()) != 5 or not croniter.croniter.is_valid(value)
    ):
        raise ValueError(
            f"{value!r} is no cron expression: minute, hour, day of month, month, day of week, "
            'such as "30 3 * * 1"'
        )
    try:
        if isinstance(value, str):
            croniter.croniter(value).get_next()
    except croniter.CroniterBadDateError:
        raise ValueError(f"{value!r} never comes: no month that it names has that day") from None
    return value


def _timezone(value: Any) -> Any:
    """Refuse what is no IANA time zone."""
    try:
        ZoneInfo(str(value))
    except (OSError, ValueError, KeyError):
        raise ValueError(
            f"{value!r} is no time zone: write one such as UTC or Europe/Berlin"
        ) from None
    return value


Cron = Annotated[str, BeforeValidator(_cron)]


class SchedulesConfig(Section):
    """Cron expressions of five fields; a flow without one is not scheduled."""

    training: Cron | None = Field(None, description="a search among all candidates")
    refit: Cron | None = Field(
        None, description="the champion's recipe on newer rows; skipped where no label is newer"
    )
    scoring: Cron | None = Field(None, description="rows that have come since the last")
    monitoring: Cron | None = Field(None, description="windows that are complete since the last")
    timezone: Annotated[str, BeforeValidator(_timezone)] = Field(
        "UTC", description="IANA name; daylight saving is observed"
    )
