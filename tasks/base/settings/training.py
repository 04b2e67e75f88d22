"""The sections `split`, `training` and `engine`: what is fitted, on which rows, for how long."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from tasks.base.plugin_settings import OwnName
from tasks.base.runtime.loopback import is_loopback
from tasks.base.settings import search_spaces
from tasks.base.settings.section import Column, Section, contradiction_at, finding_at
from tasks.base.text.durations import Duration

CandidateName = Literal[
    "logistic_regression", "decision_tree", "random_forest", "svm", "mlp", "lightgbm"
]


class SplitConfig(Section):
    """Holdout split."""

    holdout: float = Field(0.2, gt=0.0, lt=1.0, description="share of rows, a fraction")
    group: Column | None = Field(
        None, description="column whose rows belong together, such as a customer; never a feature"
    )


class TuningConfig(Section):
    """Hyperparameter search; `true` means the defaults."""

    trials: int = Field(
        30, ge=2, le=1000, description="for each candidate; the first is the untuned one"
    )
    share: float = Field(
        0.8, gt=0.0, lt=1.0, description="of training.budget, after which no trial goes on"
    )


def _ordinary(value: float) -> float:
    """Refuse a whole number beyond every float: no estimator could be given it."""
    if abs(value) > 1e300:
        raise ValueError("a number lies between -1e300 and 1e300")
    return value


Number = Annotated[int | float, AfterValidator(_ordinary)]


class SpaceConfig(Section):
    """Search range of one hyperparameter: between two ends, or among choices."""

    low: Number | None = Field(None, description="least value, together with high")
    high: Number | None = Field(None, description="greatest value, itself included")
    log: bool = Field(False, description="drawn evenly in its logarithm")
    choices: tuple[str | Number, ...] = Field((), description="instead of low and high")

    @model_validator(mode="after")
    def _either(self) -> SpaceConfig:
        if self.choices:
            if (self.low, self.high, self.log) != (None, None, False):
                raise ValueError("give either `choices` or `low` and `high`")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give `low` and `high`, or `choices`")
        if self.low >= self.high:
            raise ValueError(f"`low` has to lie below `high`; got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"`log: true` needs a `low` above 0; got {self.low:g}")
        return self


def _tuning(value: Any) -> Any:
    """Let `true` mean the defaults, and `false` what leaving it out means."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


def _known_spaces(given: dict[str, dict[str, SpaceConfig]]) -> dict[str, dict[str, SpaceConfig]]:
    """Refuse hyperparameters that keepfit's own candidates do not have, each at its line."""
    findings: list[InitErrorDetails] = []
    for candidate, spaces in given.items():
        if candidate not in get_args(CandidateName):
            continue  # a plugin's, or unknown: reported once the hooks are known
        for name, space in spaces.items():
            fault = search_spaces.fault_of(candidate, name, space.low, space.high, space.choices)
            if fault:
                findings.append(finding_at((candidate,), name, fault))
    if findings:
        raise ValidationError.from_exception_data("spaces", findings)
    return given


_BUDGET = (
    "for all candidates: seconds that the machine gives the fits; by the clock at most five times "
    "as long, so that a busy hour does not choose the model"
)


class TrainingConfig(Section):
    """Candidates, training rows and time budget."""

    window: Duration | None = Field(None, description="newest rows to train on; absent: all")
    budget: Duration = Field("120s", validate_default=True, description=_BUDGET)
    cv: int = Field(5, ge=0, le=20, description="folds; 0 or 1: one validation part")
    cv_rows: int = Field(30_000, ge=100, description="folds are made of at most so many rows")
    refit: bool | None = Field(None, description="absent: yes where rows have a time")
    candidates: tuple[CandidateName | OwnName, ...] = Field(
        get_args(CandidateName), min_length=1, description="families that are compared"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="of everything that draws at random")
    threads: int | None = Field(None, ge=1, le=4096, description="absent: every core")
    class_weight: Literal["balanced"] | None = Field(
        None, description="balanced: rare classes weigh as much as frequent ones"
    )
    tuning: Annotated[TuningConfig | None, BeforeValidator(_tuning)] = Field(
        None, description="true, or a section: hyperparameters are searched; absent: they are not"
    )
    spaces: Annotated[dict[str, dict[str, SpaceConfig]], AfterValidator(_known_spaces)] = Field(
        {}, description="candidate to hyperparameter to where it is searched instead"
    )
    diagnosis: Literal["quick", "full"] = Field(
        "quick", description="full: also a learning curve, which costs fits"
    )
    calibrate: Literal["auto", "none", "sigmoid", "isotonic"] = Field(
        "none", description="probabilities of classes; auto: where it lowers the log loss"
    )
    ensemble: bool = Field(
        False, description="a weighted mean of the candidates competes where it is better"
    )

    @model_validator(mode="after")
    def _named_once(self) -> TrainingConfig:
        if len(set(self.candidates)) < len(self.candidates):
            raise ValueError("a candidate is named twice")
        if self.tuning is not None and self.cv < 3:
            raise contradiction_at(
                "tuning",
                "`training.tuning` needs `training.cv` of at least 3: with fewer folds a gain "
                f"cannot be distinguished from noise; got {self.cv}",
            )
        return self


class ThreadsEngine(Section):
    """The machine itself runs the fits, as many at a time as it has cores."""

    kind: Literal["threads"] = "threads"


class DaskEngine(Section):
    """A Dask cluster runs the fits."""

    kind: Literal["dask"]
    address: str = Field(description="of its scheduler: tcp://127.0.0.1:8786, tls://host:8786")
    insecure: bool = Field(
        False, description="accept tcp:// beyond loopback: who reaches the cluster runs code as you"
    )

    @model_validator(mode="after")
    def _reachable_safely(self) -> DaskEngine:
        fault = _fault_of(self.address, insecure=self.insecure)
        if fault:
            raise contradiction_at("address", f"`engine.address` {fault}")
        return self


HERE = ThreadsEngine()
Engine = Annotated[ThreadsEngine | DaskEngine, Field(discriminator="kind")]


def _fault_of(address: str, *, insecure: bool) -> str:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme not in ("tcp", "tls") or parts.path.strip("/"):
        return f"is tcp://host:port or tls://host:port; got {address!r}"
    if parts.username is not None or parts.query or parts.fragment:
        return "holds a host and a port only; certificates are named by Dask's own settings"
    if parts.scheme == "tcp" and not insecure and not is_loopback(host):
        return (
            f"is not encrypted, and {host} is not this machine: who reaches the cluster runs code "
            "as you. Write tls://, with certificates in Dask's settings, or `insecure: true`"
        )
    return ""
