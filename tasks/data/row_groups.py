"""Rows that belong together: of one customer, one speaker, one machine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import Floats, Ints, Mask
from tasks.base.errors import DataError
from tasks.data.row_hashes import Hashes, cell_hashes, mix, row_hashes, shares
from tasks.data.snapshots import open_table

Codes = NDArray[np.int64]


def group_codes(path: str, column: str, rows: Ints) -> Codes:
    """Return a number for the group of each of `rows` of a snapshot; a null is its own group."""
    return codes_of(open_table(path, (column,))[column], rows)


def codes_of(column: Any, rows: Ints) -> Codes:
    """Return a number for the group of each of `rows` of a column, shape (n_rows,).

    >>> import pyarrow as pa
    >>> column = pa.chunked_array([["ann", None, "bob", "ann", None]])
    >>> len(np.unique(codes_of(column, np.arange(5))))
    4
    """
    found, codes = np.unique(cell_hashes(column)[rows], return_inverse=True)
    codes = codes.astype(np.int64).ravel()
    absent = np.flatnonzero(~np.asarray(column.is_valid().to_numpy()).astype(bool)[rows])
    codes[absent] = len(found) + np.arange(len(absent))
    return codes


def group_shares(table: Any, column: str, content: list[str]) -> Floats:
    """Return a stable number in [0, 1) for each row, the same within a group or equal `content`."""
    hashes = mix(row_hashes(table, [column]))
    absent = ~np.asarray(table[column].is_valid().to_numpy()).astype(bool)
    if absent.any():
        hashes[absent] = row_hashes(table, content)[absent]
    kept: Hashes = hashes
    return shares(kept)


def check_groups(codes: Codes, column: str) -> None:
    """Refuse a column that separates no rows."""
    if len(np.unique(codes)) < 2:
        raise DataError(
            f"split.group: all {len(codes):,} labelled rows are of one {column!r}, so none can be "
            "held out apart from it.",
            "Load rows of several groups, name another column, or leave split.group out.",
        )


def hold_out_groups(
    numbers: Floats, codes: Codes, labels: Codes | None, holdout: float
) -> tuple[Mask, list[str]]:
    """Return which rows are held out, whole groups only, and notes."""
    # A group is held out when its number (equal within it) is below `holdout`. Where a part would
    # have no row, or lack a class (of `labels`; None for regression) that two groups have, one is
    # moved.
    held = numbers < holdout
    notes = []
    if held.all() or not held.any():
        moved = numbers.argmin() if not held.any() else numbers.argmax()
        held[codes == codes[moved]] = not held[moved]
        notes.append(_moved("both parts have rows"))
    if labels is not None and _fill_classes(held, numbers, codes, labels):
        notes.append(_moved("both parts know every class"))
    share = float(held.mean())
    if abs(share - holdout) > 0.05:
        groups = len(np.unique(codes))
        notes.append(
            f"groups stay together: {share:.0%} of the rows are held out instead of "
            f"{holdout:.0%} ({len(np.unique(codes[held])):,} of {groups:,} groups)"
        )
    return held, notes


def _moved(purpose: str) -> str:
    return f"a group was moved so that {purpose}; it may move back when groups are added"


def _fill_classes(held: Mask, numbers: Floats, codes: Codes, labels: Codes) -> bool:
    """Move groups in place so that no part lacks a class that two groups have."""
    moved = False
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        inside = held[rows]
        if (inside.any() and not inside.all()) or len(np.unique(codes[rows])) < 2:
            continue
        chosen = rows[numbers[rows].argmax() if inside.all() else numbers[rows].argmin()]
        group = codes == codes[chosen]
        after = held.copy()
        after[group] = not held[chosen]
        if after.any() and not after.all():
            held[group] = after[group]
            moved = True
    return moved


def seen_groups(train: Codes, held: Codes, column: str) -> str:
    """Return how many held-out rows are of groups that are trained on; empty for none.

    >>> seen_groups(np.array([0, 1]), np.array([1, 2, 2, 1]), "customer")
    "2 of 4 held-out rows are of a 'customer' that is trained on too: rows are held out by time"
    """
    known = int(np.isin(held, train).sum())
    if not known:
        return ""
    return (
        f"{known:,} of {len(held):,} held-out rows are of a {column!r} that is trained on too: "
        "rows are held out by time"
    )
