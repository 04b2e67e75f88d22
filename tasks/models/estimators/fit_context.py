"""Context that an estimator is built for, and result of its fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks.base.arrays import Array, Ints, Matrix
from tasks.base.training_records import NUMBERS, Task

if TYPE_CHECKING:
    from tasks.metrics.ranking import RankingGroups

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Watched:
    """Validation rows on which the loss of an iterative learner is followed round by round."""

    X: Matrix
    y: Array
    parts: tuple[Ints, ...]  # positions of each part's rows
    queries: RankingGroups | None = None


@dataclass(frozen=True)
class FitContext:
    """Context that an estimator is built for."""

    # Where `iterations` are known, or rows `watched` on which the loss is followed, no rows are set
    # aside; with `watched` the fit goes on for the usual rounds at least. Steps are sized by
    # `table_rows`, the training rows of the whole table (None: the rows fitted on): a fold has
    # those of the final fit.

    task: Task
    metric: str
    rows: int
    columns: int  # of the encoded matrix
    classes: int = 0
    fewest: int = 0
    categorical: int = 0  # how many leading columns are codes of categories
    ordered: bool = False  # rows are in time order
    seed: int = 0
    threads: int = 1
    class_weight: str | None = None
    iterations: int | None = None
    patience: int | None = None  # rounds without a better loss, where they are tuned
    groups: Ints | None = field(default=None, compare=False)
    queries: RankingGroups | None = None  # rows ranked together
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
    """Course of the loss on watched rows, and the models on the way."""

    losses: tuple[tuple[float, ...], ...]  # of each part after each round; less is better
    usual: int  # rounds of the library's defaults
    most: int  # rounds at which the fit ends
    at: Callable[[int], Any]  # the model after so many rounds, or all
    seen: int | None = None  # rows of a network's epoch


@dataclass(frozen=True)
class FitResult:
    """A fitted estimator and the record of its fit."""

    estimator: Any
    iterations: int | None = None
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    course: Course | None = None  # where the loss was watched
