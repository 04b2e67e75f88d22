"""Hashes of rows: by value, whatever the type; the same for ever."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tasks.data.row_hashes import cell_hashes, row_hashes, shares

PINNED = [6740574078678360272, 2838192845519934059, 6731729077554981770]


def one(cells: pa.Array) -> list[int]:
    return [int(h) for h in cell_hashes(pa.chunked_array([cells]))]


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([5], pa.int8()),
        pa.array([5], pa.uint32()),
        pa.array([5.0]),
        pa.array([5.0], pa.float32()),
        pa.array(["5"]),
    ],
)
def test_five_is_five_in_every_type(cells: pa.Array) -> None:
    assert one(cells) == one(pa.array([5]))


def test_nulls_and_nan_are_one_value() -> None:
    hashes = {
        one(cells)[0]
        for cells in (
            pa.array([None], pa.int64()),
            pa.array([None], pa.string()),
            pa.array([float("nan")]),
            pa.array([None], pa.timestamp("us")),
        )
    }
    assert len(hashes) == 1
    assert one(pa.array([0.0, -0.0]))[0] == one(pa.array([0.0, -0.0]))[1]


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([2**53, 2**53 + 1, 2**53 + 2]),
        pa.array(["05", "5", "5.0", " 5"]),
        pa.array(["123456789012345678", "123456789012345679"]),
        pa.array(["", "a", "A", "ä"]),
        pa.array([0.1, 0.1 + 1e-17 + 1e-16, 0.2]),
    ],
)
def test_different_values_differ(cells: pa.Array) -> None:
    assert len(set(one(cells))) == len(cells)


def test_the_hash_never_changes() -> None:
    # A change here moves rows between training and holdout of every pipeline there is.
    table = pa.table({"a": [1, None, -3], "b": ["x", "ü", None], "c": [0.5, 2.0, float("inf")]})
    assert [int(h) for h in row_hashes(table, ["a", "b", "c"])] == PINNED


def test_order_of_columns_and_chunks_do_not_count() -> None:
    table = pa.table({"a": list(range(10)), "b": [str(i) * 2 for i in range(10)]})
    chunked = pa.concat_tables([table.slice(0, 3), table.slice(3)])
    first = row_hashes(table, ["a", "b"])
    assert (row_hashes(chunked, ["b", "a"]) == first).all()
    swapped = pa.table({"a": table["b"], "b": table["a"]})
    assert (row_hashes(swapped, ["a", "b"]) != first).all()


def test_shares_are_even() -> None:
    numbers = shares(row_hashes(pa.table({"id": np.arange(100_000)}), ["id"]))
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert counts.sum() == 100_000
    # Chi-square with 19 degrees of freedom lies below 43.8 in 999 of 1,000 cases.
    assert ((counts - 5000) ** 2 / 5000).sum() < 43.8
