"""Check of plugins before data is read, in a child of the worker process."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.arrays import Array, Floats, Matrix
from tasks.base.config import PipelineConfig
from tasks.base.errors import ConfigError, KeepfitError, ModelRefusedError
from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.libraries import sklearn
from tasks.metrics.plugin_metrics import try_metric
from tasks.models.estimators.plugin_estimators import (
    check_kind,
    check_spaces,
    cloned,
    is_classifier,
    made,
    wrong,
)
from tasks.models.execution.child_calls import call
from tasks.models.persistence.prediction import outputs
from tasks.models.persistence.skops_io import load_model, save_model
from tasks.plugins.features import feature_function
from tasks.plugins.modules import words

_TASKS = (None, "binary", "multiclass", "regression")
TRIAL_ROWS = 90
TRIAL_SECONDS = 60
"""Longest fit of so few rows; a slower one is refused."""


def check_hooks(config: PipelineConfig, base: Path) -> None:
    """Refuse hooks that cannot be imported, called, or saved without pickle; no data is read."""
    if config.hooks.features is not None:
        feature_function(config.hooks.features, base)
    own = OwnCode.of(config.hooks, base)
    if own is not None:
        call(
            check_own,
            own=own,
            task=config.task,
            positive=config.positive,
            spaces={name: list(space) for name, space in config.training.spaces.items()},
        )


def check_own(
    own: OwnCode,
    task: str | None,
    positive: str | int | None,
    spaces: dict[str, list[str]] | None = None,
) -> None:
    """Check every estimator and metric; runs in the child."""
    if task not in _TASKS:
        raise ConfigError(
            "`hooks.estimators` and `hooks.metrics` are for classes and numbers; the task is "
            f"{task}.",
            "Leave them out of the file.",
        )
    for name in own.metrics:
        try_metric(own, name, task, positive)
    for name in own.estimators:
        try_estimator(own, name, task, (spaces or {}).get(name, ()))


def try_estimator(
    own: OwnCode, name: str, task: str | None, searched: Collection[str] = ()
) -> None:
    """Fit an estimator on made-up rows, save it, read it back and compare their predictions."""
    # Without a `task` it is tried by what it declares. `searched` are arguments that tuning
    # searches.
    estimator = made(own, name)
    classification = is_classifier(estimator) if task is None else task != "regression"
    check_kind(own, name, estimator, classification=classification)
    check_spaces(own, name, estimator, searched)
    X, y = trial_rows(2 if task is None else {"multiclass": 3}.get(task, 2), classification)
    with _failing_as(own, name, f"cannot fit {TRIAL_ROWS} made-up rows"), _within(TRIAL_SECONDS):
        estimator.fit(X, y)
        first = _asked(estimator, X, y, classification=classification)
    cloned(own, name, estimator)
    with tempfile.TemporaryDirectory(prefix="keepfit-hook-") as folder:
        again = _round_trip(
            own, name, sklearn.pipeline.Pipeline([("model", estimator)]), Path(folder)
        )
    with _failing_as(own, name, "cannot predict once it is saved and loaded"):
        predicted, probability = outputs(again[-1], X)
    values = predicted if probability is None else probability
    if not np.allclose(np.asarray(values, np.float64), first, equal_nan=True):
        raise wrong(
            own, name, "predicts something else once it is saved and read back",
            "What `fit` learns has to stand in attributes of the estimator.",
        )  # fmt: skip


def trial_rows(classes: int, classification: bool) -> tuple[Matrix, Array]:
    """Return made-up rows that a model can learn: a matrix, and labels as text or values."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(TRIAL_ROWS, 5)).astype(np.float32)
    value = X[:, 0] + X[:, 1] / 2
    if not classification:
        return X, np.asarray(value, dtype=np.float64)
    cuts = np.quantile(value, np.linspace(0, 1, classes + 1)[1:-1])
    return X, np.array(["no", "yes", "zero"])[np.digitize(value, cuts)]


def _asked(estimator: Any, X: Matrix, y: Array, *, classification: bool) -> Floats:
    """Return values, or probabilities; raise where their form is wrong."""
    if classification:
        labels = [str(label) for label in estimator.classes_]
        if sorted(labels) != sorted(set(y)):
            raise ValueError(f"`classes_` is {labels}, the labels are {sorted(set(y))}")
    predicted, probability = outputs(estimator, X)
    values = np.asarray(predicted if probability is None else probability, dtype=np.float64)
    wanted = (len(X),) if probability is None else (len(X), len(set(y)))
    if values.shape != wanted:
        raise ValueError(f"what it predicts has the shape {values.shape}, not {wanted}")
    if not np.isfinite(values).all():
        raise ValueError("it predicts values that are not finite")
    if probability is not None and not np.allclose(values.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities of a row do not add up to 1")
    return values


def _round_trip(own: OwnCode, name: str, model: Any, folder: Path) -> Any:
    try:
        save_model(model, folder / "model.skops", own=own)
        return load_model(folder / "model.skops", own)
    except ModelRefusedError as error:
        raise wrong(
            own, name, f"cannot be saved without pickle: {error.message.rstrip('.')}",
            "Define the class in the hook's own module, or name a type that you trust: "
            f"estimators: {{{name}: {{call: …, types: […]}}}}. Functions cannot be saved.",
        ) from None  # fmt: skip
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a person's code may fail anyhow
        raise wrong(own, name, f"cannot be saved without pickle: {words(error)}") from None


@contextmanager
def _failing_as(own: OwnCode, name: str, what: str) -> Iterator[None]:
    """Let whatever a person's code raises name the hook."""
    try:
        yield
    except KeepfitError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - likewise
        raise wrong(own, name, f"{what}: {words(error)}") from None


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the main thread of this process after `seconds`."""

    def late(*_: object) -> None:
        raise TimeoutError(f"it takes longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
