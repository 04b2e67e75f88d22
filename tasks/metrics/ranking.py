"""Ranking metrics over groups of rows, under weights of the groups.

A group (the rows of one user, of one query) is ranked by the predictions, and scored by the true
grades. A metric is the mean over the informative groups: those with at least two rows and at least
one relevant row. Equal predictions are in no order: a group then scores what it would on average
over all orders of them.

Sources: Järvelin and Kekäläinen (2002), Cumulated gain-based evaluation of IR techniques, ACM
Transactions on Information Systems 20: NDCG, here with the grade itself as gain, as scikit-learn
has it. McSherry and Najork (2008), Computing information retrieval performance measures efficiently
in the presence of tied scores, ECIR: both metrics with ties.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike

from tasks.base.arrays import Floats, Ints, Mask
from tasks.metrics.bootstrap import Plan

if TYPE_CHECKING:
    from tasks.base.training_records import Schema

NAMES = ("ndcg_at_10", "map_at_10")
CUT = 10


@dataclass(frozen=True)
class RankingGroups:
    """Groups of rows that are ranked together, and the grades of their targets."""

    groups: Ints  # a number for each row, (rows,)
    grades: tuple[float, ...]  # values in order; a value's place is its grade
    relevant: int  # the least relevant grade

    @classmethod
    def of(cls, groups: ArrayLike, schema: Schema) -> Self:
        """Return the queries of rows whose groups are given, on the schema's terms."""
        least = schema.grades[1] if schema.relevant is None else schema.relevant
        place = int(np.searchsorted(np.asarray(schema.grades), least))
        return cls(np.asarray(groups, dtype=np.int64), schema.grades, max(1, place))

    def __len__(self) -> int:
        return len(self.groups)

    def only(self, rows: Ints | Mask) -> RankingGroups:
        """Return the queries of some of the rows."""
        return RankingGroups(self.groups[rows], self.grades, self.relevant)

    def grade(self, values: ArrayLike) -> Ints:
        """Return the grade of each value; one between two known values has the lower one's.

        >>> RankingGroups(np.array([0]), (0.5, 1.0, 5.0), 1).grade([1.0, 0.5, 4.0, 9.0]).tolist()
        [1, 0, 1, 2]
        """
        place = np.searchsorted(np.asarray(self.grades), np.asarray(values, np.float64), "right")
        return np.clip(place - 1, 0, len(self.grades) - 1).astype(np.int64)

    def telling(self, values: ArrayLike) -> Mask:
        """Return which groups have two rows and a relevant one, in the order of their numbers."""
        _, codes, counts = np.unique(self.groups, return_inverse=True, return_counts=True)
        hits = np.bincount(codes.ravel(), self.grade(values) >= self.relevant)
        return np.asarray((counts > 1) & (hits > 0), dtype=np.bool_)

    def sample(self, most: int) -> Ints:
        """Return positions of whole groups, evenly spread by their first rows; about `most` rows.

        >>> RankingGroups(np.array([7, 7, 8, 8, 9, 9]), (0.0, 1.0), 1).sample(4).tolist()
        [0, 1, 4, 5]
        """
        rows = len(self.groups)
        if rows <= most:
            return np.arange(rows, dtype=np.int64)
        _, first, codes = np.unique(self.groups, return_index=True, return_inverse=True)
        turn = np.empty(len(first), dtype=np.int64)
        turn[np.argsort(first)] = np.arange(len(first))
        kept = max(1, round(len(first) * most / rows))
        chosen = np.zeros(len(first), dtype=bool)
        chosen[np.linspace(0, len(first) - 1, kept).round().astype(np.int64)] = True
        return np.flatnonzero(chosen[turn[codes.ravel()]])


class RankScores:
    """Truth and predictions, shape (rows,), of ranked rows; undefined where one is not finite."""

    # The plan's units are groups, or hold whole groups; a group counts in the unit of its first
    # row.

    width = 3

    def __init__(
        self,
        truth: Floats,
        predicted: Floats,
        queries: RankingGroups,
        plan: Plan,
        wanted: Collection[str] = NAMES,
    ) -> None:
        self.wanted = tuple(wanted)
        self.plan = plan
        self._sums = np.zeros((plan.n_units, 1 + len(NAMES)))
        self._known = bool(np.isfinite(truth).all() and np.isfinite(predicted).all())
        if not self._known or not len(truth):
            return
        scores, telling, first = by_group(truth, predicted, queries)
        unit = first if plan.units is None else plan.units[first]
        for place, values in enumerate((np.ones(len(first)), *scores)):
            shown = np.where(telling, values, 0.0)
            self._sums[:, place] = np.bincount(unit, shown, minlength=plan.n_units)

    def under(self, weights: Floats) -> dict[str, Floats]:
        """Return each wanted metric, shape (replicates,); not a number where undefined."""
        count, *totals = (weights @ self._sums).T
        with np.errstate(all="ignore"):
            values = {
                name: np.where((count > 0) & self._known, total / count, np.nan)
                for name, total in zip(NAMES, totals, strict=True)
            }
        return {name: values[name] for name in self.wanted}


def by_group(
    truth: Floats, predicted: Floats, queries: RankingGroups, cut: int = CUT
) -> tuple[tuple[Floats, Floats], Mask, Ints]:
    """Return NDCG and average precision of each group at `cut`, if informative, and its first row.

    Groups stand in the order of their numbers. An uninformative group has 0.

    >>> queries = RankingGroups(np.array([0, 0, 0, 1]), (0.0, 1.0), 1)
    >>> (ndcg, precision), telling, first = by_group(
    ...     np.array([0.0, 1.0, 0.0, 1.0]), np.array([3.0, 2.0, 1.0, 1.0]), queries)
    >>> precision.tolist(), telling.tolist(), first.tolist()
    ([0.5, 0.0], [True, False], [0, 3])
    """
    grade = queries.grade(truth)
    telling = queries.telling(truth)
    _, first, code = np.unique(queries.groups, return_index=True, return_inverse=True)
    code = code.ravel()
    ranks = _Ranks(code, predicted, len(first))
    best = _Ranks(code, grade.astype(np.float64), len(first))
    gained, ideal = ranks.gain(grade, cut), best.gain(grade, cut)
    ndcg = np.divide(gained, ideal, out=np.zeros(len(first)), where=telling & (ideal > 0))
    hits = (grade >= queries.relevant).astype(np.float64)
    most = np.minimum(np.bincount(code, hits, minlength=len(first)), cut)
    precise = ranks.precision(hits, cut)
    precise = np.divide(precise, most, out=np.zeros(len(first)), where=telling & (most > 0))
    return (ndcg, precise), telling, first.astype(np.int64)


class _Ranks:
    """Rows in the order of their scores within their groups, equal scores as one block."""

    def __init__(self, code: Ints, scores: Floats, n_groups: int) -> None:
        self._n_groups = n_groups
        self._order = np.lexsort((-scores, code))
        group, score = code[self._order], scores[self._order]
        new = np.r_[True, group[1:] != group[:-1]]
        tied = np.r_[True, (score[1:] != score[:-1]) | new[1:]]
        self._group = group
        places = np.arange(len(group))
        self._rank = places - np.flatnonzero(new)[np.cumsum(new) - 1]
        self._block = np.cumsum(tied) - 1
        self._start = np.flatnonzero(tied)[self._block]
        self._first = np.flatnonzero(new)[np.cumsum(new) - 1]
        self._size = np.bincount(self._block)[self._block]

    def gain(self, grade: Ints, cut: int) -> Floats:
        """Return the discounted gain of each group's first `cut` rows."""
        gains = grade[self._order].astype(np.float64)
        mean = (np.bincount(self._block, gains)[self._block]) / self._size
        shown = np.where(self._rank < cut, mean / np.log2(self._rank + 2.0), 0.0)
        return np.bincount(self._group, shown, minlength=self._n_groups).astype(np.float64)

    def precision(self, hits: Floats, cut: int) -> Floats:
        """Return the precision at each relevant row among each group's first `cut`, summed."""
        hit = hits[self._order]
        inside = np.bincount(self._block, hit)[self._block]
        before = np.concatenate([[0.0], np.cumsum(hit)])
        ahead = before[self._start] - before[self._first]
        within = np.arange(len(hit)) - self._start
        others = np.maximum(self._size - 1, 1)
        expected = ahead + within * np.maximum(inside - 1, 0) / others + 1
        share = inside / self._size
        shown = np.where(self._rank < cut, share * expected / (self._rank + 1.0), 0.0)
        return np.bincount(self._group, shown, minlength=self._n_groups).astype(np.float64)
