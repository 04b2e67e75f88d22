"""Estimator factories: each family built for a table's size and kind of target, and fitted.

Heavy libraries are imported by the functions, which only run in worker processes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tasks.base.arrays import Array, Matrix
from tasks.base.runtime.libraries import lightgbm as boosting
from tasks.base.runtime.libraries import sklearn
from tasks.metrics.losses import ABSOLUTE
from tasks.models.estimators.fit_context import Course, FitContext, FitResult, Params, Watched
from tasks.models.estimators.lightgbm_ranker import fit_ranker, ranker
from tasks.models.estimators.lightgbm_stopping import (
    TRAINING,
    VALIDATION,
    fit_stopping,
    rows_at,
    slim,
    watch,
)
from tasks.models.splitters import inner_part, inner_share

WIDE = 200
"""Columns from which LightGBM builds its histograms column by column; either way, fixed: left to
measure which is faster, it would give other numbers from one run to the next."""


def fit_plain(estimator: Any, X: Matrix, y: Array, _at: FitContext) -> FitResult:
    """Fit as scikit-learn does."""
    return FitResult(estimator.fit(X, y))


def logistic(at: FitContext, params: Params) -> Any:
    """Return logistic regression, or ridge for numbers."""
    if not at.classification:
        if "alpha" in params:
            return sklearn.linear_model.Ridge(alpha=params["alpha"])
        if at.rows * at.columns <= 5_000_000:
            return sklearn.linear_model.RidgeCV(alphas=np.logspace(-2, 5, 15))
        return sklearn.linear_model.Ridge(alpha=1.0)
    # Few rows a column need a stronger penalty: C is 1 from 50 rows a column on.
    strength = float(np.clip(at.rows / (50 * max(1, at.columns)), 0.005, 1.0))
    return sklearn.linear_model.LogisticRegression(
        C=params.get("C", strength),
        max_iter=int(params["max_iter"]),
        tol=1e-4,
        class_weight=at.class_weight,
    )


def _leaf(at: FitContext, factor: float) -> int:
    if not at.classification:
        return max(3, int(0.1 * np.sqrt(at.rows)))
    return max(5, int(factor * np.sqrt(at.rows) * 2 / max(2, at.classes)))


def tree(at: FitContext, params: Params) -> Any:
    """Return a decision tree."""
    common: dict[str, Any] = {
        "min_samples_leaf": int(params.get("min_samples_leaf", _leaf(at, params["leaf"]))),
        "max_features": params.get("max_features"),
        "random_state": at.seed,
    }
    if at.classification:
        criterion = params.get("criterion", "gini")
        return sklearn.tree.DecisionTreeClassifier(
            criterion=criterion, class_weight=at.class_weight, **common
        )
    return sklearn.tree.DecisionTreeRegressor(**common)


def forest(at: FitContext, params: Params) -> Any:
    """Return a random forest, each tree on a bounded sample."""
    drawn = min(at.rows, int(params["rows_a_tree"]))
    common: dict[str, Any] = {
        "n_estimators": int(params["trees"] * (2 if at.rows < 5_000 else 1)),
        "max_samples": drawn if drawn < at.rows else None,
        "n_jobs": at.threads,
        "random_state": at.seed,
    }
    if at.classification:
        return sklearn.ensemble.RandomForestClassifier(
            min_samples_leaf=int(params.get("min_samples_leaf", np.clip(drawn / 4_000, 1, 5))),
            max_features=params.get("max_features", "sqrt"),
            criterion=params.get("criterion", "gini"),
            class_weight=at.class_weight,
            **common,
        )
    return sklearn.ensemble.RandomForestRegressor(
        min_samples_leaf=int(params.get("min_samples_leaf", np.clip(drawn / 5_000, 2, 5))),
        max_features=params.get("max_features", 0.34),
        **common,
    )


def svm(at: FitContext, params: Params) -> Any:
    """Return a machine with an exact kernel, or with Nyström features where rows are many."""
    if at.rows <= params["exact_rows"]:
        return _exact_svm(at, params)
    return _nystroem_svm(at, params)


def _gamma(at: FitContext, params: Params, own: str | None) -> str | float | None:
    """Return the kernel's width; matrices are scaled, so their variance is about one."""
    scale = params.get("gamma_scale")
    return own if scale is None else float(scale) / max(1, at.columns)


def _exact_svm(at: FitContext, params: Params) -> Any:
    if not at.classification:
        return _scaled_target(
            sklearn.svm.SVR(C=params.get("C", 3.0), gamma=_gamma(at, params, "scale"))
        )
    folds = sklearn.model_selection.StratifiedKFold(
        max(2, min(3, at.fewest)), shuffle=True, random_state=at.seed
    )
    machine = sklearn.svm.SVC(
        C=params.get("C", 1.0),
        gamma=_gamma(at, params, "scale"),
        class_weight=at.class_weight,
        random_state=at.seed,
    )
    return sklearn.calibration.CalibratedClassifierCV(machine, cv=folds, ensemble=False)


def _nystroem_svm(at: FitContext, params: Params) -> Any:
    features = sklearn.kernel_approximation.Nystroem(
        n_components=int(params["components"]), gamma=_gamma(at, params, None), random_state=at.seed
    )
    if not at.classification:
        machine = sklearn.svm.LinearSVR(
            C=params.get("C", 1.0),
            loss="squared_epsilon_insensitive",
            dual=False,
            random_state=at.seed,
        )
        return _scaled_target(
            sklearn.pipeline.Pipeline([("features", features), ("machine", machine)])
        )
    linear = sklearn.svm.LinearSVC(
        C=params.get("C", 0.3), dual=False, class_weight=at.class_weight, random_state=at.seed
    )
    # One part calibrates what the others fitted: a fourth of the cost of folds.
    part = sklearn.model_selection.StratifiedShuffleSplit(1, test_size=0.2, random_state=at.seed)
    calibrated = sklearn.calibration.CalibratedClassifierCV(linear, cv=part, ensemble=True)
    return sklearn.pipeline.Pipeline([("features", features), ("machine", calibrated)])


def fit_svm(estimator: Any, X: Matrix, y: Array, at: FitContext) -> FitResult:
    """Fit, leaving out classes that cannot be calibrated."""
    if not at.classification or at.fewest >= 2:
        return fit_plain(estimator, X, y, at)
    # A class of one row can be fitted or calibrated, not both.
    labels, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    keep = counts[codes] >= 2
    named = ", ".join(str(label) for label in labels[counts < 2][:5])
    note = f"classes of one training row are not learnt: {named}"
    return FitResult(estimator.fit(X[keep], y[keep]), notes=(note,))


def mlp(at: FitContext, params: Params) -> Any:
    """Return a network that stops early, or after known iterations."""
    from tasks.models.estimators.early_stopping_mlp import (
        EarlyMLPClassifier,
        EarlyMLPRegressor,
    )  # defers scikit-learn

    large = at.scale > 20_000
    batch = np.clip(2 ** round(np.log2(at.rows / 100)), 32, 512)
    layers = str(params.get("hidden_layer_sizes", "64,32"))
    common: dict[str, Any] = {
        "hidden_layer_sizes": tuple(int(size) for size in layers.split(",")),
        "alpha": params.get("alpha", 1e-4 if large else 1e-2),
        "batch_size": int(min(at.rows, params.get("batch_size", batch))),
        "learning_rate_init": params.get("learning_rate_init", 1e-3),
        "max_iter": at.iterations or int(params["epochs"] // (5 if large else 1)),
        "random_state": at.seed,
        "early": at.iterations is None,
        "ordered": at.ordered,
        "patience": int(params.get("patience", 4 if large else 12)),
        "usual": int(params["usual"] // (5 if large else 1)),
    }
    if at.classification:
        return EarlyMLPClassifier(class_weight=at.class_weight, **common)
    return _scaled_target(EarlyMLPRegressor(**common))


def fit_mlp(estimator: Any, X: Matrix, y: Array, at: FitContext) -> FitResult:
    """Fit, and return epochs and losses."""
    estimator.fit(X, y, groups=at.groups, watched=_watched_network(y, at))
    network = estimator if at.classification else estimator.regressor_
    name = "log_loss" if at.classification else "mse_scaled"
    raw = {TRAINING: network.training_losses_, VALIDATION: network.validation_losses_}
    curves = {f"{part}_{name}": tuple(map(float, losses)) for part, losses in raw.items()}
    curves = {n: curve for n, curve in curves.items() if curve}
    if at.watched is None:
        return FitResult(estimator, network.epochs_, curves)

    def after(epochs: int) -> Any:
        network.wind(epochs)
        return estimator

    losses = tuple(tuple(map(float, part)) for part in network.part_losses_)
    course = Course(losses, network.usual, network.max_iter, after, len(y))
    return FitResult(estimator, network.epochs_, curves, course=course)


def _watched_network(y: Array, at: FitContext) -> Watched | None:
    """Return the watched rows with the target as the network sees it."""
    if at.watched is None or at.classification:
        return at.watched
    scale = float(np.std(y)) or 1.0
    return replace(at.watched, y=(at.watched.y - float(np.mean(y))) / scale)


def _scaled_target(estimator: Any) -> Any:
    return sklearn.compose.TransformedTargetRegressor(
        estimator, transformer=sklearn.preprocessing.StandardScaler()
    )


def lightgbm(at: FitContext, params: Params) -> Any:
    """Return boosted trees whose numbers do not depend on the threads."""
    # Each round of a multiclass model grows a tree for every class.
    many = at.classes > 2
    trees = int(params["trees"] if not many else max(50, 3 * params["trees"] // at.classes))
    pace = params["pace"] * (3 if many else 1 if at.scale < 20_000 else 2)
    rate = float(params.get("learning_rate", pace))
    # A wide table has many redundant columns.
    share = 0.8 * min(1.0, float(np.sqrt(100 / max(1, at.columns))))
    common: dict[str, Any] = {
        # Small steps need more of them to get as far.
        "n_estimators": at.iterations or int(trees * np.clip(pace / rate, 1, 3)),
        "learning_rate": round(rate, 6),
        "num_leaves": int(params.get("num_leaves", 15 if at.scale < 2_000 else 31)),
        "min_child_samples": int(params.get("min_child_samples", np.clip(at.rows / 50, 2, 20))),
        "subsample": params.get("subsample", 0.8),
        "subsample_freq": 1,
        "colsample_bytree": params.get("colsample_bytree", share),
        "reg_alpha": params.get("reg_alpha", 0.0),
        "reg_lambda": params.get("reg_lambda", 1.0),
        "random_state": at.seed,
        "n_jobs": at.threads,
        "deterministic": True,
        "force_col_wise" if at.columns > WIDE else "force_row_wise": True,
        "verbosity": -1,
    }
    if at.task == "ranking":
        return ranker(common, at, params)
    if at.classification:
        return boosting.LGBMClassifier(class_weight=at.class_weight, **common)
    absolute = at.metric in ABSOLUTE
    return boosting.LGBMRegressor(objective="regression_l1" if absolute else "regression", **common)


def fit_lightgbm(estimator: Any, X: Matrix, y: Array, at: FitContext) -> FitResult:
    """Fit, stopping early on rows set aside unless the iterations are known."""
    if at.queries is not None:
        return fit_ranker(estimator, X, y, at)
    given: dict[str, Any] = {"categorical_feature": list(range(at.categorical))}
    if at.iterations is not None:
        return FitResult(slim(estimator.fit(X, y, **given)), at.iterations)
    if at.watched is not None:
        parts = [(rows_at(at.watched.X, part), at.watched.y[part]) for part in at.watched.parts]
        return watch(estimator, (X, y), parts, at, **given)
    how: dict[str, Any] = {"ordered": at.ordered, "seed": at.seed, "groups": at.groups}
    part = inner_part(y, inner_share(len(y)), classification=at.classification, **how)
    own, held = ((rows_at(X, rows), y[rows]) for rows in (part.train, part.valid))
    # Where classes are weighed, LightGBM weighs its own rows and not those set aside.
    curves = (TRAINING, VALIDATION) if not at.class_weight else (VALIDATION,)
    return fit_stopping(estimator, own, held, at, curves, **given)
