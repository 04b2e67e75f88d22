"""Split of rows into training and holdout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import Array, Floats, Ints, Mask
from tasks.base.errors import DataError, InfrastructureError
from tasks.base.runtime.libraries import pa
from tasks.base.runtime.temporary import file_replacing
from tasks.base.text.phrases import listed
from tasks.base.training_records import NUMBERS, Schema, Snapshot, Split
from tasks.data.ranking_groups import queries_of
from tasks.data.row_groups import check_groups, codes_of, group_shares, hold_out_groups, seen_groups
from tasks.data.row_hashes import among, row_hashes, shares
from tasks.data.snapshots import Columns
from tasks.data.source_table import as_utc
from tasks.data.targets import labels_of

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class _Parts:
    train: Positions
    holdout: Positions
    boundary: datetime | None = None
    notes: tuple[str, ...] = ()


def split_rows(
    snapshot: Snapshot, schema: Schema, holdout: float, folder: Path, *, group: str | None = None
) -> Split:
    """Set a share of rows aside as the holdout; write both parts as ``.npy`` files of positions.

    With a time column the newest rows are held out, from a boundary that rows of one time never
    straddle. Without, a row is held out when the stable hash of its id columns (without any: of its
    content, identifiers left out), as a number in [0, 1), is below `holdout`. So a row once held
    out stays so when rows are added and when the share grows, equal rows are on one side, and the
    shares within each class are about the same. With a `group` (always for a ranking without times)
    the hash is that of the group, so that all its rows are on one side; by time they may be on
    both, which is noted.
    """
    names = [name for name, kind in snapshot.kinds.items() if _counts(name, kind, schema)]
    table = Columns(snapshot.path)
    y, keep = labels_of(table[schema.target], schema)
    usable = np.flatnonzero(keep).astype(np.int64)
    if schema.time_column is not None:
        parts = _by_time(table[schema.time_column], usable, holdout)
        if group is not None:
            parts = _told_of_groups(parts, table[group], group)
    elif group is not None:
        labels = None if schema.task == "regression" else y
        parts = _by_group(table, group, names, usable, labels, holdout)
    else:
        parts = _by_hash(table, schema, names, usable, y, holdout)
    _check(parts, len(usable), holdout)
    return Split(
        train_path=_save(parts.train, folder / "train.npy"),
        holdout_path=_save(parts.holdout, folder / "holdout.npy"),
        rule="hash" if schema.time_column is None else "time",
        holdout=holdout,
        n_train=len(parts.train),
        n_holdout=len(parts.holdout),
        boundary=parts.boundary,
        no_target=snapshot.rows - len(usable),
        notes=(*parts.notes, *_groups_told(snapshot, schema, table, parts.holdout)),
        group=group,
    )


def _groups_told(
    snapshot: Snapshot, schema: Schema, table: Any, holdout: Positions
) -> tuple[str, ...]:
    """Note how many groups of a ranking's holdout are informative."""
    queries = queries_of(snapshot.path, schema, holdout)
    if queries is None:
        return ()
    values, _ = labels_of(table[schema.target].take(pa.array(holdout)), schema)
    telling = queries.telling(values)
    left_out = len(telling) - int(telling.sum())
    if not left_out:
        return ()
    return (
        f"{left_out:,} of {len(telling):,} groups of the holdout have one row or no relevant one; "
        "they count in no metric",
    )


def _counts(name: str, kind: str, schema: Schema) -> bool:
    # Constant columns do: one that starts to vary must not move every earlier row.
    return kind != "identifier" and name not in (*schema.id_columns, *schema.aside)


def _by_time(column: Any, usable: Positions, holdout: float) -> _Parts:
    known = np.asarray(column.is_valid().to_numpy()).astype(bool)[usable]
    rows, notes = usable[known], []
    if len(rows) < len(usable):
        notes.append(f"{len(usable) - len(rows):,} rows without a time are set aside")
    micro = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).fill_null(0)
    times = micro.to_numpy()[rows]
    order = np.argsort(times, kind="stable")
    rows, times = rows[order], times[order]
    cut = _cut(times, holdout)
    boundary = None
    if cut < len(times):
        boundary = as_utc(pa.scalar(int(times[cut]), pa.timestamp("us")).as_py())
    share = 1 - cut / max(len(times), 1)
    if abs(share - holdout) > 0.05:
        notes.append(
            f"rows of one time stay together: {share:.0%} are held out instead of {holdout:.0%}"
        )
    return _Parts(rows[:cut], rows[cut:], boundary, tuple(notes))


def _cut(times: Ints, holdout: float) -> int:
    """Return how many of the sorted `times` are trained on: the change of time nearest the share.

    >>> _cut(np.array([1, 1, 2, 2, 2]), 0.5)
    2
    """
    wanted = round(len(times) * (1 - holdout))
    changes = np.flatnonzero(np.diff(times)) + 1
    if not len(changes):
        return len(times)
    return int(changes[np.argmin(np.abs(changes - wanted))])


def _by_hash(
    table: Any, schema: Schema, content: Sequence[str], usable: Positions, y: Array, holdout: float
) -> _Parts:
    columns = (schema.group,) if schema.group else schema.id_columns or content
    numbers = shares(row_hashes(table, columns))[usable]
    held = numbers < holdout
    notes = []
    if schema.task not in NUMBERS:
        notes += _fill_classes(held, numbers, y)
    if schema.id_columns and not schema.group:
        notes += _shared(table, content, usable, held)
    return _Parts(usable[~held], usable[held], notes=tuple(notes))


def _by_group(
    table: Any, group: str, content: list[str], usable: Positions, y: Array | None, holdout: float
) -> _Parts:
    codes = codes_of(table[group], usable)
    check_groups(codes, group)
    numbers = group_shares(table, group, content)[usable]
    labels = None if y is None else np.unique(y, return_inverse=True)[1].ravel()
    held, notes = hold_out_groups(numbers, codes, labels, holdout)
    return _Parts(usable[~held], usable[held], notes=tuple(notes))


def _told_of_groups(parts: _Parts, column: Any, group: str) -> _Parts:
    codes = codes_of(column, np.concatenate([parts.train, parts.holdout]))
    check_groups(codes, group)
    known = seen_groups(codes[: len(parts.train)], codes[len(parts.train) :], group)
    return replace(parts, notes=(*parts.notes, known)) if known else parts


def _fill_classes(held: Mask, numbers: Floats, y: Array) -> list[str]:
    """Move one row of a class that a part would lack, in place; return what was done."""
    labels, codes = np.unique(y, return_inverse=True)
    moved = []
    for code, label in enumerate(labels):
        rows = np.flatnonzero(codes == code)
        inside = held[rows]
        if len(rows) < 2 or (inside.any() and not inside.all()):
            continue
        if inside.all():
            held[rows[np.argmax(numbers[rows])]] = False
        else:
            held[rows[np.argmin(numbers[rows])]] = True
        moved.append(str(label))
    if not moved:
        return []
    return [
        f"one row each of {listed(moved)} was moved so that both parts know the class; it may "
        "move back when rows are added"
    ]


def _shared(table: Any, content: Sequence[str], usable: Positions, held: Mask) -> list[str]:
    """Note how many held-out rows have a twin in training under another id."""
    hashes = row_hashes(table, content)[usable]
    twins = int(among(hashes[held], hashes[~held]).sum())
    if not twins:
        return []
    return [
        f"{twins:,} held-out rows equal a training row in all but their id; without id_columns "
        "equal rows stay on one side"
    ]


def _check(parts: _Parts, rows: int, holdout: float) -> None:
    if len(parts.train) and len(parts.holdout):
        return
    lacking = "training" if not len(parts.train) else "the holdout"
    raise DataError(
        f"no row is left for {lacking}: {rows:,} labelled rows, holdout {holdout:g}"
        f"{', all of one time' if parts.boundary is None and rows > 1 else ''}.",
        "Load more rows, or change split.holdout.",
    )


def _save(positions: Positions, path: Path) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_replacing(path) as beside, beside.open("wb") as file:
            np.save(file, positions.astype(np.int64, copy=False))
    except OSError as error:
        raise InfrastructureError(
            f"{path}: the split cannot be written ({error.strerror or error}).", "Free some space."
        ) from None
    return str(path)
