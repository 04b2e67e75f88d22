"""Columns that differ between the files of a source, each with its nearest name elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from difflib import get_close_matches

from tasks.base.errors import SourceError
from tasks.base.source_notes import ChangedColumns
from tasks.base.text.phrases import listed

_LEAST_SHARED = 0.5


def changed_columns(files: Sequence[tuple[str, Sequence[str]]]) -> tuple[ChangedColumns, ...]:
    """Return the new and the absent columns of files (name, columns) that differ from most files.

    Where there are as many of two sorts, the first is the rule. A file that shares less than half
    of its columns with the others is refused.
    >>> files = [("1.csv", ["id", "lead_time"]), ("2.csv", ["id", "leadtime"])]
    >>> changed_columns(files)[0].renamed
    {'lead_time': 'leadtime'}
    """
    if len({frozenset(columns) for _, columns in files}) < 2:
        return ()
    counts = Counter(column for _, columns in files for column in dict.fromkeys(columns))
    first = set(files[0][1])
    usual = {
        column
        for column, count in counts.items()
        if 2 * count > len(files) or (2 * count == len(files) and column in first)
    } or first
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for name, columns in files:
        _require_kinship(name, columns, usual)
        new = tuple(column for column in columns if column not in usual)
        absent = tuple(column for column in counts if column in usual and column not in columns)
        if new or absent:
            found.setdefault((new, absent), []).append(name)
    return tuple(
        ChangedColumns(files=tuple(names), new=new, absent=absent, renamed=renamed(absent, new))
        for (new, absent), names in found.items()
    )


def renamed_since(
    where: str, columns: Sequence[str], known: Collection[str]
) -> tuple[ChangedColumns, ...]:
    """Return the known columns that a source lacks where others of a similar name are new in it."""
    new = tuple(column for column in columns if column not in known)
    absent = tuple(column for column in known if column not in columns)
    alike = renamed(absent, new)
    if not alike:
        return ()
    return (ChangedColumns(files=(where,), new=new, absent=absent, renamed=alike),)


def renamed(absent: Sequence[str], new: Sequence[str]) -> dict[str, str]:
    """Return the absent columns that a new one is called nearly like."""
    pairs: dict[str, str] = {}
    left = {_letters(column): column for column in new}
    for column in absent:
        near = get_close_matches(_letters(column), list(left), n=1, cutoff=0.7)
        if near:
            pairs[column] = left.pop(near[0])
    return pairs


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold()) or name


def _require_kinship(name: str, columns: Sequence[str], usual: Collection[str]) -> None:
    shared = sum(column in usual for column in columns)
    if shared < _LEAST_SHARED * max(len(columns), len(usual)):
        odd = [column for column in columns if column not in usual]
        raise SourceError(
            f"{name} differs from the other files in most of its columns: {listed(odd)}.",
            "Give all files the same header, or name fewer files in source.path.",
        )
