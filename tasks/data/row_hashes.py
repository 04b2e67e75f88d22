"""Stable hashes of rows: the same on every platform, whatever types the cells came in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import Floats, Mask
from tasks.base.runtime.libraries import pa, pc, pd

Hashes = NDArray[np.uint64]

_KEY = "keepfit-rows-v001"[:16]  # SipHash needs 16 bytes; another key would move rows
_EXACT = 2.0**53
_NULL = np.uint64(0x9E3779B97F4A7C15)
_STEP = 1_000_000
# As text or as a number, 5 is 5; longer digits have no exact float and stay text.
_WHOLE = r"^(?:0|-?[1-9][0-9]{0,14})$"


def row_hashes(table: Any, columns: Sequence[str]) -> Hashes:
    """Return a hash of each row's cells in `columns`, uint64 of shape (n_rows,)."""
    # Names count and their order does not. A cell counts by its value: 5, 5.0 and "5" are alike, a
    # time counts as its microseconds since 1970, all nulls and NaN are one value.
    total = np.full(table.num_rows, _NULL, np.uint64)
    for name in sorted(columns):
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
        salt = np.uint64(int.from_bytes(digest[:8], "little"))
        total = mix(total ^ mix(cell_hashes(table[name]) ^ salt))
    return total


def shares(hashes: Hashes) -> Floats:
    """Return hashes as numbers in [0, 1), evenly spread."""
    spread: Floats = (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return spread


def repeats(hashes: Hashes) -> int:
    """Return how many hashes repeat another one; sorts them in place, as they may be many.

    >>> repeats(np.array([5, 7, 5], np.uint64))
    1
    """
    hashes.sort()
    return int(np.count_nonzero(hashes[1:] == hashes[:-1]))


def among(hashes: Hashes, others: Hashes) -> Mask:
    """Return which hashes are among `others`, bool of shape (n_rows,).

    >>> among(np.array([5, 7], np.uint64), np.array([7], np.uint64)).tolist()
    [False, True]
    """
    # ``np.isin`` takes 40 times as long where nearly all values differ (NumPy 2.4).
    found: Mask = pd.Index(hashes).isin(others)
    return found


def mix(values: Hashes) -> Hashes:
    """Return `values` with their bits mixed well: SplitMix64's finaliser."""
    # Source: Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators, OOPSLA.
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def cell_hashes(column: Any) -> Hashes:
    """Return a hash of each cell of one column, uint64 of shape (n_rows,)."""
    parts = [
        _hashes(chunk.slice(start, _STEP))
        for chunk in column.chunks
        for start in range(0, len(chunk), _STEP)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def _hashes(chunk: Any) -> Hashes:
    kind = chunk.type
    if pa.types.is_string(kind):
        return _of_text(chunk)
    if pa.types.is_timestamp(kind):
        chunk = chunk.cast(pa.int64())
    elif pa.types.is_boolean(kind):
        chunk = chunk.cast(pa.uint8())
    if pa.types.is_integer(chunk.type):
        return _of_integers(chunk)
    return _of_floats(chunk.cast(pa.float64()).to_numpy(zero_copy_only=False))


def _of_integers(chunk: Any) -> Hashes:
    absent = pc.is_null(chunk).to_numpy(zero_copy_only=False)
    numbers = pc.fill_null(chunk.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    hashes = _of_floats(numbers.astype(np.float64))
    large = np.abs(numbers.astype(np.float64)) >= _EXACT
    if large.any():
        hashes[large] = mix(numbers[large].view(np.uint64) ^ np.uint64(0x5851F42D4C957F2D))
    hashes[absent] = _NULL
    return hashes


def _of_floats(numbers: Floats) -> Hashes:
    # Adding zero makes -0.0 into 0.0.
    hashes = mix((numbers + 0.0).view(np.uint64))
    hashes[np.isnan(numbers)] = _NULL
    return hashes


def _of_text(chunk: Any) -> Hashes:
    some = chunk[:5000]
    if pc.count_distinct(some).as_py() > len(some) / 2 and not chunk.null_count:
        return _of_words(chunk)
    encoded = chunk.dictionary_encode()
    hashes = np.append(_of_words(encoded.dictionary), _NULL)
    index = pc.fill_null(encoded.indices, len(hashes) - 1).to_numpy(zero_copy_only=False)
    taken: Hashes = hashes[index]
    return taken


def _of_words(words: Any) -> Hashes:
    hashes = np.empty(len(words), np.uint64)
    whole = pc.match_substring_regex(words, _WHOLE).to_numpy(zero_copy_only=False)
    if whole.any():
        numbers = words.filter(pa.array(whole)).cast(pa.int64()).cast(pa.float64())
        hashes[whole] = _of_floats(numbers.to_numpy())
    if not whole.all():
        others = words.filter(pa.array(~whole)).to_numpy(zero_copy_only=False)
        hashes[~whole] = pd.util.hash_array(others, hash_key=_KEY, categorize=False)
    return hashes
