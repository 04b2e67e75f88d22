"""Context that an estimator is built for, and result of its fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.training_records import NUMBERS, Task

if TYPE_CHECKING:
    from tasks.metrics.ranking import RankingGroups

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Watched:
    """Validation rows on which the loss of an iterative learner is followed round by round.

    Attributes
    ----------
    parts
        Positions of the rows of each part; a loss is computed for each.
    queries
        Which rows are ranked together; None where the task is no ranking.
    """

    X: NDArray[np.float32]
    y: NDArray[Any]
    parts: tuple[NDArray[np.int64], ...]
    queries: RankingGroups | None = None


@dataclass(frozen=True)
class FitContext:
    """Context that an estimator is built for.

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
        Of each row it is fitted on, where rows of one group belong together.
    queries
        Which rows are ranked together; None where the task is no ranking.
    table_rows
        Training rows of the whole table, by which steps are sized: a fold has those of the final
        fit. None where it is the rows fitted on.
    watched
        Rows on which the loss is followed; no rows are set aside then, and the fit goes on for the
        usual rounds at least.
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
    queries: RankingGroups | None = None
    table_rows: int | None = None
    watched: Watched | None = field(default=None, compare=False)

    @property
    def scale(self) -> int:
        """Rows by which steps are sized."""
        return self.rows if self.table_rows is None else self.table_rows

    @property
    def classification(self) -> bool:
        """Whether the target is a class."""
        return self.task not in NUMBERS


@dataclass(frozen=True)
class Course:
    """Course of the loss on watched rows, and the models on the way.

    Attributes
    ----------
    losses
        Of each part after each round; less is better.
    usual, most
        Rounds of the library's defaults, and rounds at which the fit ends.
    seen
        Rows that an epoch of a network goes over; None where rounds do not depend on them.
    at
        Returns the model after so many rounds, or after all where there are fewer.
    """

    losses: tuple[tuple[float, ...], ...]
    usual: int
    most: int
    at: Callable[[int], Any]
    seen: int | None = None


@dataclass(frozen=True)
class FitResult:
    """A fitted estimator and the record of its fit.

    Attributes
    ----------
    course
        Of an iterative learner whose loss was watched.
    """

    estimator: Any
    iterations: int | None = None
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    course: Course | None = None
