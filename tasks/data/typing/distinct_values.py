"""A column by its distinct values: cells looked at once each, levels of a category as text."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.base.arrays import Ints
from tasks.base.runtime.libraries import pa, pc, pd


class Distinct:
    """The distinct trimmed cells of a string column that are not missing."""

    def __init__(self, column: Any, missing: tuple[str, ...]) -> None:
        trimmed = pc.ascii_trim_whitespace(column)
        self._encoded = trimmed.dictionary_encode().unify_dictionaries()
        chunks = self._encoded.chunks
        everything = chunks[0].dictionary if chunks else pa.array([], pa.string())
        present = pc.invert(pc.is_in(everything, value_set=pa.array(missing, pa.string())))
        self._present = pc.and_(present, pc.is_valid(everything))
        self.everything = everything
        self.values = everything.filter(self._present)

    def counts(self) -> Ints:
        """Return how many cells hold each of all distinct values, missing ones included."""
        total = np.zeros(len(self.everything), np.int64)
        for chunk in self._encoded.chunks:
            index = chunk.indices.drop_null().to_numpy(zero_copy_only=False)
            total += np.bincount(index, minlength=len(total))
        return total

    def cells(self, values: Any) -> int:
        """Return how many cells hold one of `values`."""
        among = pc.is_in(self.everything, value_set=values).to_numpy(zero_copy_only=False)
        return int(self.counts()[among].sum())

    def first_row(self, value: str) -> int:
        """Return the position of the first cell that holds `value`."""
        return int(pc.index(self._encoded.cast(pa.string()), value).as_py())

    def without(self, tokens: tuple[str, ...]) -> Distinct:
        """Return the same column with `tokens` missing as well."""
        other = object.__new__(Distinct)
        other._encoded, other.everything = self._encoded, self.everything
        drop = pc.is_in(self.everything, value_set=pa.array(tokens, pa.string()))
        other._present = pc.and_(self._present, pc.invert(drop))
        other.values = self.everything.filter(other._present)
        return other

    def spread(self, typed: Any) -> Any:
        """Return the whole column with each distinct value replaced by its place in `typed`."""
        at = np.flatnonzero(self._present.to_numpy(zero_copy_only=False))
        place = np.full(len(self.everything), -1, np.int64)
        place[at] = np.arange(len(at))
        index = pa.array(place, mask=place < 0)
        full = typed.take(index)
        chunks = [full.take(chunk.indices) for chunk in self._encoded.chunks]
        return pa.chunked_array(chunks, type=typed.type)


def is_sorted(column: Any) -> bool:
    """Return whether the values of a column, nulls left out, never fall."""
    values = column.drop_null().combine_chunks()
    return len(values) < 2 or bool(pc.all(pc.less_equal(values[:-1], values[1:])).as_py())


def some_cells(column: Any, missing: tuple[str, ...]) -> Any:
    """Return distinct cells near both ends of a text column."""
    if not pa.types.is_string(column.type):
        return pa.array([], pa.string())
    ends = [column[:1000]] if len(column) <= 2000 else [column[:1000], column[-1000:]]
    cells = pc.unique(pa.chunked_array([c for end in ends for c in end.chunks], pa.string()))
    cells = pc.ascii_trim_whitespace(cells.drop_null())
    return cells.filter(pc.invert(pc.is_in(cells, value_set=pa.array(missing, pa.string()))))


def texts_of(column: pd.Series[Any]) -> pa.Array:
    """Return `column` as text; 3, 3.0 and "3" are the same level, and null stays null.

    >>> texts_of(pd.Series([3.0, None, 2.5])).to_pylist()
    ['3', None, '2.5']
    """
    kind = column.dtype
    if isinstance(kind, pd.StringDtype):
        values = pa.array(column, from_pandas=True)
        values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        return values.cast(pa.large_string())
    if kind.kind in "iufb":
        distinct = pa.array(column.to_numpy(), from_pandas=True).dictionary_encode()
        levels = pa.array([level_text(v) for v in distinct.dictionary.to_pylist()])
        return levels.cast(pa.large_string()).take(distinct.indices)
    nulls = column.isna().to_numpy()
    texts = [None if null else level_text(v) for v, null in zip(column, nulls, strict=True)]
    return pa.array(texts, type=pa.large_string())


def level_text(value: object) -> str:
    """Return a level as text; whole numbers without their decimal point.

    >>> level_text(3.0), level_text(True)
    ('3', 'True')
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    # Lone surrogates cannot be written as UTF-8.
    return str(value).encode("utf-8", "replace").decode("utf-8")
