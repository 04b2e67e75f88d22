"""The one table of candidates: a new model is one more row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from tasks.base.arrays import Array, Matrix
from tasks.base.plugin_settings import OwnCode
from tasks.base.settings.search_spaces import SPACES, Space
from tasks.models.estimators import estimator_factories, plugin_estimators
from tasks.models.estimators.fit_context import FitContext, FitResult, Params


@dataclass(frozen=True)
class Candidate:
    """One model family; `build` makes the unfitted estimator, `fit` fits it."""

    # `params` holds constants that `build` reads and hyperparameters that were tuned. More rows
    # than `max_rows`, or more rows × columns than `max_cells`, are thinned to so many.

    name: str
    encoding: Literal["native", "tree", "linear"]
    max_rows: int
    max_cells: int
    cost: float  # seconds of a fit in proportion to the others'
    build: Callable[[FitContext, Params], Any]
    params: Params
    fit: Callable[[Any, Matrix, Array, FitContext], FitResult] = estimator_factories.fit_plain
    iterative: bool = False
    threaded: bool = False  # gains from threads without a change to its result

    def rows_for(self, rows: int, columns: int) -> int:
        """Return how many of `rows` are fitted on, given the columns of the matrix."""
        return min(rows, self.max_rows, max(1_000, self.max_cells // max(1, columns)))

    @property
    def spaces(self) -> tuple[Space, ...]:
        """Its search spaces, see `tasks.base.settings.search_spaces`."""
        return SPACES.get(self.name, ())

    def with_params(self, params: Mapping[str, Any]) -> Candidate:
        """Return the candidate with tuned hyperparameters in place of what it would choose."""
        return replace(self, params=MappingProxyType({**self.params, **params}))


CANDIDATES: tuple[Candidate, ...] = (
    Candidate(
        "logistic_regression", "linear", 500_000, 40_000_000, 2.0, estimator_factories.logistic,
        MappingProxyType({"max_iter": 300}),
    ),
    Candidate(
        "decision_tree", "tree", 500_000, 40_000_000, 2.0, estimator_factories.tree,
        MappingProxyType({"leaf": 0.5}),
    ),
    Candidate(
        "random_forest", "tree", 500_000, 40_000_000, 10.0, estimator_factories.forest,
        MappingProxyType({"trees": 100, "rows_a_tree": 20_000}), threaded=True,
    ),
    Candidate(
        "svm", "linear", 50_000, 10_000_000, 5.0, estimator_factories.svm,
        MappingProxyType({"exact_rows": 4_000, "components": 200}), fit=estimator_factories.fit_svm,
    ),
    Candidate(
        "mlp", "linear", 300_000, 30_000_000, 8.0, estimator_factories.mlp,
        MappingProxyType({"epochs": 200, "usual": 50}),
        fit=estimator_factories.fit_mlp, iterative=True,
    ),
    Candidate(
        "lightgbm", "native", 50_000_000, 4_000_000_000, 4.0, estimator_factories.lightgbm,
        MappingProxyType({"trees": 1_000, "pace": 0.05}),
        fit=estimator_factories.fit_lightgbm, iterative=True, threaded=True,
    ),
)  # fmt: skip

START_ORDER = (
    "lightgbm", "logistic_regression", "random_forest", "mlp", "svm", "decision_tree",
)  # fmt: skip
"""Good and quick ones first, so that a small budget still yields a model; then the longest."""


def find(name: str) -> Candidate:
    """Return the row of the table with `name`, or that of a plugin estimator.

    >>> find("lightgbm").encoding
    'native'
    """
    return next((row for row in CANDIDATES if row.name == name), None) or _own(name)


def candidate_of(own: OwnCode | None, name: str, params: Mapping[str, Any]) -> Candidate:
    """Return a candidate with tuned hyperparameters; a plugin's with its source."""
    return find(name).with_params({**params, **plugin_estimators.own_params(own, name)})


@cache
def _own(name: str) -> Candidate:
    """Return a row for an estimator of which nothing is known; see `own_estimators`."""
    given: Params = MappingProxyType({})
    return Candidate(
        name, "linear", 500_000, 40_000_000, 8.0, plugin_estimators.build, given,
        fit=plugin_estimators.fit,
    )  # fmt: skip


def place(name: str) -> int:
    """Return when a candidate starts among others: plugin estimators come last.

    >>> sorted(["mine", "svm", "lightgbm"], key=place)
    ['lightgbm', 'svm', 'mine']
    """
    return START_ORDER.index(name) if name in START_ORDER else len(START_ORDER)
