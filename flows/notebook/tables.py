"""Tables in memory: pandas, Polars, Arrow, and others with Arrow's C stream interface."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from tasks.base.errors import UsageError
from tasks.base.runtime.temporary import file_replacing, temporary_folder
from tasks.base.settings.object_addresses import is_object
from tasks.base.text.phrases import listed
from tasks.data.files.object_stores import fetch


def write_table(table: Any, path: Path) -> None:
    """Write a table to a Parquet file; an index of pandas is a column where it has a name."""
    # Raises UsageError when it is no table, has a name twice, or holds what Arrow has no type for.
    try:
        if isinstance(table, pd.DataFrame):
            _require_names(map(str, table.columns))
            arrow = pa.Table.from_pandas(_with_index(table), preserve_index=False)
        elif isinstance(table, (pa.Table, pa.RecordBatch)) or hasattr(table, "__arrow_c_stream__"):
            given = pa.table(table)
            _require_names(given.column_names)
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
    taken = {*map(str, frame.columns)}
    named = all(name is not None and str(name) not in taken for name in frame.index.names)
    return frame.reset_index() if named else frame


def _require_names(names: Iterable[str]) -> None:
    """Refuse columns that would have one name in a file, as 1 and "1" of pandas."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise UsageError(
            f"The table has several columns called {listed([repr(name) for name in twice])}.",
            "Rename them. In pandas `frame.loc[:, ~frame.columns.duplicated()]` keeps the first.",
        )


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
    number = 0
    while True:
        number += 1
        path = folder / f"{number:04}.parquet"
        # Whoever makes the mark has the number; others who append meanwhile take the next one.
        mark = path.with_name(f".{path.name}")
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            continue
        try:
            if not path.exists():
                with file_replacing(path) as hidden:
                    write_table(table, hidden)
                return path
        finally:
            mark.unlink(missing_ok=True)


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
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype="str", keep_default_na=False).apply(_typed)
    return pd.read_parquet(path)


def _typed(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of a CSV file as numbers where these are written so: an id 007 stays."""
    numbers = pd.to_numeric(cells, errors="coerce")
    same = (numbers.astype("str") == cells) | (cells == "")
    return numbers if same.all() else cells
