"""Plugin code as the pipeline file names it: `module:object`, beside the file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

HookName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]
OwnName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
TypeName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]

SMALLER_IS_BETTER = ("_loss", "_error", "_cost", "_deviance")
"""Suffixes of the names of metrics to minimise, as with scikit-learn's functions."""

_TAKEN = frozenset({
    "baseline", "ensemble", "cv_mean", "cv_std", "fit_seconds", "predict_seconds", "model_bytes",
    "rows_per_second", "support", "precision_macro", "recall_macro", "f1_macro",
    "calibration_error",
})  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class EstimatorHook(_Part):
    """A class, or a function without arguments, that gives an unfitted estimator."""

    call: HookName
    types: tuple[TypeName, ...] = Field(
        (), description="types its fitted models hold beside keepfit's list and its module's own"
    )


class MetricHook(_Part):
    """A function of true and predicted values that returns a number."""

    call: HookName
    greater_is_better: bool
    needs: Literal["prediction", "probability"] = Field(
        "prediction", description="what it is given beside the true labels or values"
    )
    labels: tuple[bool | int | str, ...] = Field(
        (), description="two or more, to try it with at start; absent: 0 and 1, or `positive`"
    )


def _form(value: Any) -> str:
    return "word" if isinstance(value, str) else "section"


Estimator = Annotated[
    Annotated[HookName, Tag("word")] | Annotated[EstimatorHook, Tag("section")],
    Discriminator(_form),
]


class HooksConfig(_Part):
    """Plugin code, as `module:object`; the module lies beside the pipeline file."""

    features: HookName | None = Field(None, description="function of rows that adds columns")
    estimators: dict[OwnName, Estimator] = Field(
        {}, description="name to class or function: candidates beside keepfit's own"
    )
    metrics: dict[OwnName, MetricHook] = Field(
        {}, description="name to function: reported, and usable as `metric`"
    )

    @model_validator(mode="after")
    def _direction_in_its_name(self) -> Self:
        for name, hook in self.metrics.items():
            if name.endswith(SMALLER_IS_BETTER) == hook.greater_is_better:
                ends = ", ".join(SMALLER_IS_BETTER)
                stated = str(hook.greater_is_better).lower()
                raise ValueError(
                    f"a metric's name states its direction: one to minimise ends in "
                    f"{ends}, and no other does; {name} has `greater_is_better: {stated}`"
                )
            if name.endswith(("_low", "_high")):
                raise ValueError(f"_low and _high name the ends of intervals; got {name}")
        return self

    @property
    def of_estimators(self) -> dict[str, EstimatorHook]:
        """Every estimator as a section."""
        return {
            name: EstimatorHook(call=hook) if isinstance(hook, str) else hook
            for name, hook in self.estimators.items()
        }

    def taken(self, candidates: Collection[str], metrics: Collection[str]) -> str:
        """Return the first name that keepfit uses itself; empty where there is none."""
        known = _TAKEN.union(candidates, metrics)
        return next((name for name in (*self.estimators, *self.metrics) if name in known), "")


class OwnCode(_Part):
    """Estimators and metrics that the running file allows by name; no version's word counts."""

    base: str  # folder of the pipeline file
    hooks: HooksConfig

    @classmethod
    def of(cls, hooks: HooksConfig, base: Path) -> Self | None:
        """Return the code of a pipeline; None where it names neither estimator nor metric."""
        if not hooks.estimators and not hooks.metrics:
            return None
        return cls(base=str(base.resolve()), hooks=hooks)

    @property
    def estimators(self) -> dict[str, EstimatorHook]:
        """Name to estimator."""
        return self.hooks.of_estimators

    @property
    def metrics(self) -> dict[str, MetricHook]:
        """Name to metric."""
        return self.hooks.metrics

    @property
    def folder(self) -> Path:
        """Folder of the modules."""
        return Path(self.base)
