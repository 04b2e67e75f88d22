"""Out-of-fold predictions of training rows, and metric gains measured on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np

from tasks.base.arrays import Array, Floats, Ints, Mask

FILE = "oof.npz"
BLOCKS = 50
"""Runs of neighbours that rows in time are cut into."""
_NORMAL = 1.959963984540054


@dataclass(frozen=True)
class OutOfFold:
    """One row for every row that validated, fold by fold."""

    rows: Ints  # positions among the training rows
    y: Array  # labels or values
    predicted: Array  # labels, by the likeliest class, or values
    probability: Floats | None  # (n_rows, n_classes) by the schema
    part: Ints  # fold; of one fold, its halves, so that one can judge the other
    ordered: bool = False
    groups: Ints | None = None  # of each row

    def __len__(self) -> int:
        return len(self.rows)

    def truth(self, classes: tuple[str, ...]) -> Ints:
        """Return the place of each row's label in `classes`."""
        places = {label: place for place, label in enumerate(classes)}
        labels, codes = np.unique(self.y, return_inverse=True)
        return np.asarray([places[str(label)] for label in labels], dtype=np.int64)[codes.ravel()]

    def turns(self) -> Iterator[tuple[Ints, Ints]]:
        """Yield the rows of each part, and those of the parts that it may be judged by."""
        # Where rows lie in time only earlier parts may judge a later one.
        for number in np.unique(self.part):
            others = self.part < number if self.ordered else self.part != number
            yield np.flatnonzero(self.part == number), np.flatnonzero(others)

    def judged(self) -> Mask:
        """Return which rows have other parts to be judged by."""
        marks = np.zeros(len(self), dtype=bool)
        for inside, others in self.turns():
            marks[inside] = len(others) > 0
        return marks

    def only(self, rows: Ints) -> Self:
        """Return it for some of its rows."""
        return replace(
            self,
            rows=self.rows[rows],
            y=self.y[rows],
            predicted=self.predicted[rows],
            probability=None if self.probability is None else self.probability[rows],
            part=self.part[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

    def together(self) -> Ints | None:
        """Return which rows resemble each other: neighbours in time, or those of one group."""
        if self.ordered:
            return np.arange(len(self), dtype=np.int64) * BLOCKS // max(1, len(self))
        return self.groups

    def gain(self, difference: Floats) -> tuple[float, float, float]:
        """Return the mean of `difference` (one a row) over judged rows, and its 95 % interval."""
        judged = self.only(np.flatnonzero(self.judged()))
        return gain(difference[self.judged()], judged.together())

    def newest_mean(self, values: Floats) -> float:
        """Return the mean of `values` (one a row) over the last part."""
        return float(values[self.part == self.part.max()].mean())

    def same_rows(self, other: OutOfFold) -> bool:
        """Return whether `other` is about the same rows in the same order."""
        return np.array_equal(self.rows, other.rows) and np.array_equal(self.part, other.part)

    def with_probability(self, probability: Floats) -> Self:
        """Return it with other probabilities."""
        return replace(self, probability=probability)

    def save(self, folder: Path) -> None:
        """Write it into a candidate's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        values = {
            "rows": self.rows,
            "y": _plain(self.y),
            "predicted": _plain(self.predicted),
            "part": self.part,
            "ordered": np.array(self.ordered),
        }
        if self.probability is not None:
            values["probability"] = self.probability
        if self.groups is not None:
            values["groups"] = self.groups
        beside = folder / f".{FILE}"
        with beside.open("wb") as file:
            np.savez(file, **values)  # type: ignore[arg-type]
        beside.replace(folder / FILE)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the predictions that `save` wrote; None where there are none."""
        try:
            with np.load(folder / FILE, allow_pickle=False) as kept:
                values = {name: kept[name] for name in kept.files}
        except (OSError, ValueError):
            return None
        values["ordered"] = bool(values["ordered"])
        return cls(**{"probability": None, **values})


def _plain(values: Array) -> Array:
    return values.astype(str) if values.dtype == object else values


@dataclass
class Collector:
    """Gathers the predictions of validation parts as the folds come."""

    ordered: bool
    _parts: list[tuple[Array, ...]] = field(default_factory=list)
    _groups: list[Ints | None] = field(default_factory=list)

    def add(
        self,
        rows: Ints,
        y: Array,
        predicted: Array,
        probability: Floats | None,
        groups: Ints | None = None,
    ) -> None:
        """Add one part; `probability` has a column for each class of the schema."""
        if len(rows):
            chances = np.empty((len(rows), 0)) if probability is None else probability
            self._parts.append((rows, y, predicted, chances))
            self._groups.append(groups)

    def all(self) -> OutOfFold | None:
        """Return all parts; None before there is one."""
        if not self._parts:
            return None
        rows, y, predicted, chances = (np.concatenate(c) for c in zip(*self._parts, strict=True))
        known = [codes for codes in self._groups if codes is not None]
        groups = np.concatenate(known) if len(known) == len(self._groups) else None
        sizes = [len(part[0]) for part in self._parts]
        part = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
        if len(sizes) == 1:
            places = np.arange(len(rows), dtype=np.int64)
            apart = places if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
            part = places * 2 // len(rows) if self.ordered else apart % 2
        probability = chances if chances.shape[1] else None
        return OutOfFold(rows, y, predicted, probability, part, self.ordered, groups)


def gain(difference: Floats, together: Ints | None) -> tuple[float, float, float]:
    """Return the mean of `difference` over rows and its 95 % interval.

    Rows that `together` numbers alike resemble each other and count as one, by how far their sum
    lies from what the mean makes of it: Cochran (1977), Sampling Techniques, 3rd ed., chapter 9A,
    clusters of unequal size.

    >>> mean, low, high = gain(np.array([1.0, 1.2, 0.8, 1.0]), None)
    >>> round(mean, 2), low > 0
    (1.0, True)
    """
    if not len(difference):
        return 0.0, -np.inf, np.inf
    mean = float(difference.mean())
    places = np.arange(len(difference)) if together is None else together
    codes = np.unique(places, return_inverse=True)[1].ravel()
    sums = np.bincount(codes, difference - mean)
    clusters = len(sums)
    if clusters < 2:
        return mean, -np.inf, np.inf
    variance = float((sums**2).sum()) * clusters / (clusters - 1) / len(difference) ** 2
    half = _NORMAL * float(np.sqrt(variance))
    return mean, mean - half, mean + half
