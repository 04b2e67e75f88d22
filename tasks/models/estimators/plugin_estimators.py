"""Plugin estimators as further candidates.

``hooks: {estimators: {nearby: my_models:Nearby}}`` names a class, or a function without arguments,
that gives an unfitted estimator after scikit-learn's rules: it keeps its arguments as they are,
``fit`` accepts a matrix without nulls (numbers scaled, categories one-hot, float32) and labels or
values, ``predict`` returns labels or values, and a classifier has ``predict_proba`` and
``classes_``. Where it has ``random_state: None`` it is given the pipeline's seed, and likewise
``class_weight``. It is tried on a few made-up rows before any data is read. With
``training.tuning`` its arguments are searched where ``training.spaces`` lists them, by their names
in ``get_params``; without a space it is validated as it is.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

import numpy as np

from tasks.base.arrays import Array, Matrix
from tasks.base.errors import ConfigError, KeepfitError
from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.libraries import sklearn
from tasks.models.estimators.fit_context import FitContext, FitResult, Params
from tasks.plugins.modules import check_call, hook_object, words

_WHOSE = "__hook__"
"""Key of the code and the name, among the tuned arguments; no argument is called so."""


def own_params(own: OwnCode | None, name: str) -> dict[str, Any]:
    """Return the arguments that `build` needs for a plugin; none for keepfit's own."""
    return {_WHOSE: (own, name)} if own is not None and name in own.estimators else {}


def made(own: OwnCode, name: str) -> Any:
    """Return an unfitted estimator of the hook `name`, or refuse it."""
    call = own.estimators[name].call
    key = f"estimators.{name}"
    maker = hook_object(key, call, own.folder)
    check_call(key, call, maker, (), "Give its arguments defaults, or name a function that does.")
    try:
        estimator = maker()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a person's code may fail anyhow
        raise wrong(own, name, f"cannot be made: {words(error)}") from None
    lacking = [m for m in ("fit", "predict", "get_params", "set_params") if not _has(estimator, m)]
    if lacking:
        raise wrong(
            own, name, f"gives {type(estimator).__name__}, which has no `{lacking[0]}`",
            "Derive it from sklearn.base.BaseEstimator.",
        )  # fmt: skip
    return cloned(own, name, estimator)


def cloned(own: OwnCode, name: str, estimator: Any) -> Any:
    """Return a copy made as scikit-learn makes copies, or refuse what cannot be copied."""
    try:
        return sklearn.base.clone(estimator)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - likewise
        raise wrong(
            own, name, f"cannot be cloned: {words(error)}",
            "`__init__` keeps each argument as it is, under its name, and does nothing else.",
        ) from None  # fmt: skip


def check_spaces(own: OwnCode, name: str, estimator: Any, searched: Collection[str]) -> None:
    """Refuse a space of an argument that the estimator does not have."""
    known = [str(key) for key in estimator.get_params()]
    for key in searched:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise ConfigError(
                f"`training.spaces.{name}.{key}`: `{own.estimators[name].call}` has no argument "
                f"{key!r}.",
                f"Did you mean {near[0]!r}?" if near
                else f"It has: {', '.join(known)}." if known else "It has none.",
            )  # fmt: skip


def is_classifier(estimator: Any) -> bool:
    """Return whether an estimator declares that it predicts classes, or has probabilities."""
    return bool(sklearn.base.is_classifier(estimator)) or _has(estimator, "predict_proba")


def check_kind(own: OwnCode, name: str, estimator: Any, *, classification: bool) -> None:
    """Refuse an estimator of the other kind of target, or without probabilities."""
    if not classification and is_classifier(estimator):
        raise wrong(own, name, "is a classifier, and the task is regression")
    if not classification or _has(estimator, "predict_proba"):
        return
    if not is_classifier(estimator):
        raise wrong(
            own, name, "has no `predict_proba`, and the task is one of classes",
            "A classifier gives a probability of each class.",
        )  # fmt: skip
    also = ", only `decision_function`" if _has(estimator, "decision_function") else ""
    raise wrong(
        own, name, f"has no `predict_proba`{also}",
        "Return sklearn.calibration.CalibratedClassifierCV(it) from a function instead.",
    )  # fmt: skip


def build(at: FitContext, params: Params) -> Any:
    """Return the unfitted estimator of a hook, tuned, with the pipeline's seed and weights."""
    own, name = params[_WHOSE]
    tuned = {key: value for key, value in params.items() if key not in (_WHOSE, "class_weight")}
    estimator = made(own, name).set_params(**tuned)
    check_kind(own, name, estimator, classification=at.classification)
    given = estimator.get_params(deep=False)
    wanted = {"random_state": at.seed, "class_weight": at.class_weight}
    return estimator.set_params(
        **{k: v for k, v in wanted.items() if k in given and given[k] is None and v is not None}
    )


def fit(estimator: Any, X: Matrix, y: Array, _at: FitContext) -> FitResult:
    """Fit it; failures are re-raised with the estimator's name."""
    try:
        # An estimator may keep its rows: an array, not the file behind it.
        estimator.fit(np.asarray(X), y)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - likewise
        raise KeepfitError(f"{type(estimator).__name__}.fit raised {words(error)}") from None
    return FitResult(estimator)


def wrong(own: OwnCode, name: str, what: str, remedy: str = "") -> ConfigError:
    """Return the error that names the hook and what is wrong with it."""
    return ConfigError(f"`hooks.estimators.{name}: {own.estimators[name].call}` {what}.", remedy)


def _has(estimator: Any, method: str) -> bool:
    return callable(getattr(estimator, method, None))
