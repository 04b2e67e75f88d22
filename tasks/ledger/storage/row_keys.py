"""Keys of rows: their ids as canonical JSON text, or else a hash of their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.errors import DataError
from tasks.base.runtime.libraries import pa, pc, pd
from tasks.base.training_records import Schema
from tasks.data.row_hashes import row_hashes
from tasks.data.typing.distinct_values import texts_of

_MOST_BYTES = 800  # PostgreSQL indexes a third of a page; longer keys are digested
_TO_ESCAPE = r'["\\\x00-\x1f]'


def row_keys(frame: pd.DataFrame, schema: Schema, batch: str) -> NDArray[np.object_]:
    """Return the key of every row as text, shape (n_rows,).

    With id columns it is their values as a JSON list of texts and nulls, in the order of the
    schema: 3, 3.0 and "3" are one id, a time is written in UTC to the microsecond. Rows whose
    ids are all null are distinguished by batch and place.

    Without id columns it is a hash of features and time, which counts values as equal in the
    same way; identical rows of one batch are numbered.

    `batch`: digest of the batch, which only rows without any id need. Raises DataError when the
    frame lacks a column that the keys are made of.

    >>> flights = Schema(target="late", task="binary", features={}, id_columns=("day", "no"))
    >>> row_keys(pd.DataFrame({"day": ["mon", None], "no": [3.0, 4.0]}), flights, "").tolist()
    ['["mon","3"]', '[null,"4"]']
    """
    return BatchKeys(schema, batch).of(frame)


def key_hashes(keys: NDArray[np.object_]) -> NDArray[np.uint64]:
    """Return a hash of each key, shape (n_rows,)."""
    hashes: NDArray[np.uint64] = pd.util.hash_array(keys, categorize=False)
    return hashes


class BatchKeys:
    """The keys of a batch, part by part: the same as `row_keys` gives of the whole."""

    def __init__(self, schema: Schema, batch: str) -> None:
        self._schema = schema
        self._batch = batch
        self._nameless = 0
        self._seen = np.empty(0, np.uint64)  # hashes of the parts so far, sorted
        self.may_repeat = False  # whether a key may have come twice so far

    def of(self, frame: pd.DataFrame) -> NDArray[np.object_]:
        """Return the keys of the next rows, shape (n_rows,)."""
        ids = self._schema.id_columns
        if not ids:
            columns = list(self._schema.features)
            time = self._schema.time_column
            if time in frame and time not in columns:
                columns.append(str(time))
            hashes, numbers = self._numbered(_content_hashes(frame, columns))
            keys = np.array([f"hash:{value:016x}" for value in hashes.tolist()], dtype=object)
            for place in np.flatnonzero(numbers):
                keys[place] = f"{keys[place]}#{numbers[place]}"
            return keys
        keys, nameless = _keys_of_ids(frame, ids)
        for place in np.flatnonzero(nameless):
            keys[place] = f"{keys[place]}#{self._batch[:32]}.{self._nameless}"
            self._nameless += 1
        _, numbers = self._numbered(key_hashes(keys))
        self.may_repeat |= bool(numbers.any())
        return keys

    def _numbered(self, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return the hashes, and of each how often it came before."""
        left, right = (np.searchsorted(self._seen, hashes, side) for side in ("left", "right"))
        numbers = (right - left).astype(np.int64)
        series = pd.Series(hashes)
        if not series.is_unique:
            numbers += series.groupby(series, sort=False).cumcount().to_numpy()
        # Two sorted runs are merged in one pass.
        self._seen = np.sort(np.concatenate([self._seen, np.sort(hashes)]), kind="stable")
        return hashes, numbers


def _keys_of_ids(
    frame: pd.DataFrame, ids: Sequence[str]
) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Return the keys, and which rows have no id at all."""
    _require(frame, ids, "id columns")
    comma = pa.scalar(",", pa.large_string())
    texts = [_id_texts(frame[name]) for name in ids]
    parts = [pc.fill_null(_quoted(text), pa.scalar("null", pa.large_string())) for text in texts]
    inner = pc.binary_join_element_wise(*parts, comma) if len(parts) > 1 else parts[0]
    whole = pc.binary_join_element_wise(
        pa.scalar("[", pa.large_string()),
        inner,
        pa.scalar("]", pa.large_string()),
        pa.scalar("", pa.large_string()),
    )
    keys: NDArray[np.object_] = whole.to_numpy(zero_copy_only=False).astype(object)
    for place in np.flatnonzero(pc.greater(pc.binary_length(whole), _MOST_BYTES).to_numpy(False)):
        keys[place] = "sha256:" + hashlib.sha256(keys[place].encode()).hexdigest()
    nameless: NDArray[np.bool_] = np.logical_and.reduce(
        [pc.is_null(t).to_numpy(False) for t in texts]
    )
    return keys, nameless


def _id_texts(column: pd.Series[Any]) -> Any:
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        times = times_of(column)
        texts = np.datetime_as_string(times, unit="us").astype(object)
        texts[np.isnat(times)] = None
        return pa.array(texts, pa.large_string())
    return texts_of(column)


def _quoted(texts: Any) -> Any:
    """Return texts as JSON strings; null stays null."""
    quote = pa.scalar('"', pa.large_string())
    plain = pc.binary_join_element_wise(quote, texts, quote, pa.scalar("", pa.large_string()))
    risky = pc.fill_null(pc.match_substring_regex(texts, _TO_ESCAPE), False)
    if not pc.any(risky).as_py():
        return plain
    escaped = [json.dumps(t, ensure_ascii=False) for t in texts.filter(risky).to_pylist()]
    return pc.replace_with_mask(plain, risky, pa.array(escaped, pa.large_string()))


def _content_hashes(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.uint64]:
    _require(frame, columns, "features, by which rows without id columns are known:")
    return row_hashes(pa.table({name: _cells(frame[name]) for name in columns}), columns)


def _cells(column: pd.Series[Any]) -> Any:
    """Return a column as Arrow values of the few types that hashes are made of."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return pa.array(times_of(column)).cast(pa.timestamp("us"))
    if column.dtype.kind in "iufb" and isinstance(column.dtype, np.dtype):
        return pa.array(column, from_pandas=True)
    present = column.dropna()
    if len(present) and all(isinstance(value, bool | np.bool_) for value in present.unique()):
        return pa.array(column, pa.bool_(), from_pandas=True)
    return texts_of(column).cast(pa.string())


def times_of(column: pd.Series[Any]) -> NDArray[np.datetime64]:
    """Return times as ``datetime64[us]`` in UTC, NaT where there is none or it is no time."""
    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        column = pd.to_datetime(column, utc=True, errors="coerce")
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    times: NDArray[np.datetime64] = column.to_numpy().astype("datetime64[us]")
    return times


def _require(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    absent = [column for column in columns if column not in frame]
    if absent:
        raise DataError(
            f"The ledger's rows lack the {what} {', '.join(map(repr, absent))}.",
            "Add them to the source, or train without them.",
        )
