"""Tables in memory: pandas, Polars, Arrow, and others with Arrow's C stream interface."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from tasks.base.errors import UsageError
from tasks.base.runtime.temporary import temporary_folder
from tasks.base.settings.object_addresses import is_object
from tasks.base.text.phrases import listed
from tasks.data.files.object_stores import fetch


def write_table(table: Any, path: Path) -> None:
    """Write a table to a Parquet file; an index of pandas is a column where it has a name."""
    # Raises UsageError when it is no table, has a name twice, or holds what Arrow has no type for.
    if isinstance(table, pd.DataFrame):
        table = _with_index(table)
    try:
        if isinstance(table, pd.DataFrame):
            arrow = pa.Table.from_pandas(table, preserve_index=False)
        elif isinstance(table, (pa.Table, pa.RecordBatch)) or hasattr(table, "__arrow_c_stream__"):
            given = pa.table(table)
            columns = [_without_views(column) for column in given.columns]
            arrow = pa.table(columns, names=given.column_names)
        else:
            raise UsageError(
                f"A table is needed, and this is a {type(table).__name__}.",
                "Give a pandas or Polars DataFrame (`.collect()` of a lazy one), an Arrow table, "
                "or the path of a file.",
            )
        parquet.write_table(arrow.replace_schema_metadata(None), path)
    except (pa.ArrowException, OverflowError) as error:
        raise UsageError(
            _mixed(table) or f"The table cannot be written as Parquet: {error}",
            "Give each column one type: numbers, text, booleans or times. In pandas "
            "`pd.to_numeric(frame[column])` or `frame[column].astype('string')` does.",
        ) from None


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its index as columns, where it has names that no column has."""
    twice = frame.columns[frame.columns.duplicated()].unique()
    if len(twice):
        raise UsageError(
            f"The table has several columns called {listed([repr(name) for name in twice])}.",
            "Rename them, or keep the first: `frame.loc[:, ~frame.columns.duplicated()]`.",
        )
    names = frame.index.names
    named = all(name is not None and name not in frame.columns for name in names)
    return frame.reset_index() if named else frame


def _mixed(table: Any) -> str:
    """Return which columns of a pandas table hold values of several types; empty where none."""
    if not isinstance(table, pd.DataFrame):
        return ""
    found = []
    for name in table.select_dtypes(include="object").columns:
        types = table[name].dropna().map(type).drop_duplicates()
        if len(types) > 1:
            found.append(f"{name!r} ({', '.join(sorted(t.__name__ for t in types))})")
    return f"Columns hold values of several types: {listed(found)}." if found else ""


def append_table(table: Any, folder: Path) -> Path:
    """Write a table as a further Parquet file of a folder, hidden until it is whole."""
    # Raises UsageError when it is no table, or holds what Arrow has no type for.
    folder.mkdir(parents=True, exist_ok=True)
    places = (folder / f"{number:04}.parquet" for number in itertools.count(1))
    path = next(place for place in places if not place.exists())
    hidden = path.with_name(f".{path.name}")
    try:
        write_table(table, hidden)
        hidden.rename(path)
    finally:
        hidden.unlink(missing_ok=True)
    return path


def _without_views(column: Any) -> Any:
    """Return a column without view types, which Parquet's writer supports only in part."""
    kind = column.type
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if not (pa.types.is_dictionary(kind) and pa.types.is_string_view(kind.value_type)):
        return column
    chunks = [
        pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.large_string()))
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, type=pa.dictionary(kind.index_type, pa.large_string()))


def read_predictions(output: str) -> pd.DataFrame | None:
    """Return written predictions, a row each; None where they are in no file or object."""
    if is_object(output):
        with temporary_folder() as folder:
            copy = folder / Path(output).name
            fetch(output, copy)
            return read_predictions(str(copy))
    path = Path(output)
    if not path.is_file():
        return None
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
