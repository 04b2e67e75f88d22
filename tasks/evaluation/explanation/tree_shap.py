"""Contributions of columns to what trees predict, scikit-learn's through LightGBM's algorithm.

A tree of scikit-learn is written as LightGBM writes its own, and LightGBM computes its SHAP values:
one implementation for every kind of tree, and none of ours. Source: Lundberg and others (2020),
From local explanations to global understanding with explainable AI for trees, Nature Machine
Intelligence 2, algorithm 2: path-dependent TreeSHAP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tasks.base.arrays import Floats, Matrix
from tasks.base.runtime.libraries import lightgbm, sklearn

Scale = Literal["log-odds", "probability", "value"]

_NAN_GOES_RIGHT, _NAN_GOES_LEFT = 8, 10
"""LightGBM's types of decision: a number, where NaN is missing."""


@dataclass(frozen=True)
class Explained:
    """Trees that yield contributions of a model's columns."""

    boosters: Callable[[], Sequence[Any]]  # LightGBM's, one for all outputs or one for each
    scale: Scale  # what contributions add up to
    work: float  # time of a row: leaves times squared depth, over all trees

    def rows_within(self, steps: float, most: int) -> int:
        """Return how many rows take at most so many steps; 0 where even a few take more."""
        return min(most, int(steps / max(1.0, self.work)))

    def contributions(self, X: Matrix) -> Floats:
        """Return shape (n_rows, n_columns + 1, n_outputs); the last column is the base."""
        parts = [
            np.asarray(booster.predict(X, pred_contrib=True), dtype=np.float64)
            .reshape(len(X), -1, X.shape[1] + 1)
            .transpose(0, 2, 1)
            for booster in self.boosters()
        ]
        return np.concatenate(parts, axis=2)


def explained(model: Any) -> Explained | None:
    """Return the explainer of a pipeline's last step, below any calibration; None without trees."""
    # Trees are LightGBM's, and decision trees and forests of scikit-learn. Of two classes the
    # second is the one output.
    from tasks.models.postprocessing.adjusted_classifier import innermost  # defers scikit-learn

    inside = innermost(model)
    return _lightgbm(inside) or _of_sklearn(inside)


def _lightgbm(model: Any) -> Explained | None:
    if not hasattr(model, "booster_"):
        return None
    leaves = float(model.get_params().get("num_leaves", 31))
    depth = np.log2(leaves) + 3
    scale: Scale = "log-odds" if hasattr(model, "classes_") else "value"
    return Explained(
        lambda: (model.booster_,), scale, model.booster_.num_trees() * leaves * depth**2
    )


def _of_sklearn(model: Any) -> Explained | None:
    if isinstance(
        model, sklearn.ensemble.RandomForestClassifier | sklearn.ensemble.RandomForestRegressor
    ):
        trees = [one.tree_ for one in model.estimators_]
    elif isinstance(
        model, sklearn.tree.DecisionTreeClassifier | sklearn.tree.DecisionTreeRegressor
    ):
        trees = [model.tree_]
    else:
        return None
    classes = len(model.classes_) if hasattr(model, "classes_") else 0
    outputs = range(1, 2) if classes == 2 else range(max(1, classes))
    work = sum(tree.n_leaves * float(tree.max_depth) ** 2 for tree in trees) * len(outputs)
    return Explained(
        lambda: [_booster(trees, output, classes > 0) for output in outputs],
        "probability" if classes else "value",
        work,
    )


def _booster(trees: list[Any], output: int, shares: bool) -> Any:
    """Return a booster whose prediction is the mean of the trees' for one output."""
    columns = int(trees[0].n_features)
    names = " ".join(f"c{k}" for k in range(columns))
    header = (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
        f"max_feature_idx={columns - 1}\nobjective=regression\nfeature_names={names}\n"
        f"feature_infos={' '.join(['[-1e308:1e308]'] * columns)}\n"
    )
    body = [
        f"Tree={place}\n{_written(tree, output, shares, len(trees))}\n"
        for place, tree in enumerate(trees)
    ]
    return lightgbm.Booster(model_str="\n".join([header, *body, "end of trees\n"]))


def _written(tree: Any, output: int, shares: bool, among: int) -> str:
    """Return a tree as LightGBM writes one; node 0 is the root of both."""
    value = tree.value[:, 0, :]
    if shares:
        value = value / value.sum(axis=1, keepdims=True)
    value = value[:, output] / among
    is_leaf = tree.children_left < 0
    # Internal nodes count on from 0, and leaves from -1 downwards.
    number = np.where(is_leaf, -np.cumsum(is_leaf), np.cumsum(~is_leaf) - 1)
    leaves, inner = np.flatnonzero(is_leaf), np.flatnonzero(~is_leaf)
    rows = np.maximum(1, tree.n_node_samples)
    left = tree.missing_go_to_left[inner].astype(bool)
    lines = {
        "num_leaves": [len(leaves)],
        "num_cat": [0],
        "split_feature": tree.feature[inner],
        "split_gain": np.zeros(len(inner), int),
        "threshold": map(repr, tree.threshold[inner].tolist()),
        "decision_type": np.where(left, _NAN_GOES_LEFT, _NAN_GOES_RIGHT),
        "left_child": number[tree.children_left[inner]],
        "right_child": number[tree.children_right[inner]],
        "leaf_value": map(repr, value[leaves].tolist()),
        "leaf_weight": rows[leaves],
        "leaf_count": rows[leaves],
        "internal_value": map(repr, value[inner].tolist()),
        "internal_weight": rows[inner],
        "internal_count": rows[inner],
        "is_linear": [0],
        "shrinkage": [1],
    }
    return "\n".join(f"{key}={' '.join(map(str, values))}" for key, values in lines.items()) + "\n"
