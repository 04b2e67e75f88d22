"""What an estimator is built for, and what its fit tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.records import NUMBERS, Task

if TYPE_CHECKING:
    from tasks.evaluation.ranking import Queries

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """What an estimator is built for.

    Attributes
    ----------
    columns
        Of the encoded matrix.
    categorical
        How many leading columns are codes of categories.
    ordered
        Whether rows are in time order.
    iterations
        Of an iterative learner, where they are known already; no rows are set aside then.
    patience
        Rounds without a better loss after which boosting stops, where they are tuned.
    groups
        Of each row it is fitted on, where rows of one group are not to be told from each other.
    queries
        Which rows are ranked together; None where the task is no ranking.
    """

    task: Task
    metric: str
    rows: int
    columns: int
    classes: int = 0
    fewest: int = 0
    categorical: int = 0
    ordered: bool = False
    seed: int = 0
    threads: int = 1
    class_weight: str | None = None
    iterations: int | None = None
    patience: int | None = None
    groups: NDArray[np.int64] | None = field(default=None, compare=False)
    queries: Queries | None = None

    @property
    def classification(self) -> bool:
        """Whether the target is a class."""
        return self.task not in NUMBERS


@dataclass(frozen=True)
class Learned:
    """A fitted estimator and what is to be told of its fit."""

    estimator: Any
    iterations: int | None = None
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
