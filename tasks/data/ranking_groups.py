"""Groups of a snapshot's rows that are ranked together."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.base.arrays import Ints
from tasks.base.errors import DataError
from tasks.base.runtime.libraries import pa, pc
from tasks.base.training_records import Schema
from tasks.data.snapshots import open_table
from tasks.metrics.ranking import RankingGroups


def check_groups(column: Any, name: str) -> None:
    """Refuse a group column in which nothing can be ranked."""
    if column.null_count:
        raise DataError(
            f"the group {name!r} is null in {column.null_count:,} of {len(column):,} rows; a row "
            "without a group cannot be ranked.",
            "Leave these rows out of the source.",
        )
    if pc.count_distinct(column).as_py() == len(column):
        raise DataError(
            f"the group {name!r} has its own value in every row; nothing is ranked in one row.",
            "Name the column that rows to be ranked together share, such as the user.",
        )


def queries_of(snapshot: str, schema: Schema, rows: Ints) -> RankingGroups | None:
    """Return the groups of `rows` (positions) of a snapshot file; None without a group column."""
    if schema.group is None:
        return None
    column = open_table(snapshot, [schema.group])[schema.group]
    chosen = column.take(pa.array(np.ascontiguousarray(rows, dtype=np.int64)))
    return RankingGroups.of(codes(chosen), schema)


def codes(column: Any) -> Ints:
    """Return a number for each value of an Arrow column, the same for equal values.

    >>> codes(pa.chunked_array([["b", "a", "b"]])).tolist()
    [0, 1, 0]
    """
    encoded = column.combine_chunks().dictionary_encode()
    indices: Ints = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return indices
