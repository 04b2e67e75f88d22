"""Sinks of predictions: a file or a table, a batch whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal, TextIO

from tasks.base.errors import ConfigError, InfrastructureError
from tasks.base.runtime.environment import mode_beside
from tasks.base.runtime.libraries import pa, pd, pq
from tasks.base.runtime.temporary import file_replacing, temporary_folder
from tasks.base.settings.object_addresses import is_object
from tasks.base.settings.scoring import Sink
from tasks.data.files.object_stores import put
from tasks.scoring.sql_tables import write_table

_RUN_BY_SPREADSHEETS = r"^[=+\-@\t\r]"
_SIGNED_NUMBER = r"[+-][0-9]+(?:\.[0-9]+)?"  # such as a telephone number: it runs nothing


def write_predictions(
    predictions: pd.DataFrame | Iterable[pd.DataFrame], sink: Sink, base: Path
) -> str:
    """Write predictions, at once or part by part, and return where to, in words without secrets."""
    # A reader sees the file or table as it was or with the whole batch. Raises ConfigError when the
    # path is a folder, there is no such bucket, or the table's columns do not fit;
    # InfrastructureError when the disk, the database or the store fails.
    parts = [predictions] if isinstance(predictions, pd.DataFrame) else predictions
    if sink.kind == "sql":
        return write_table(parts, sink.url.get_secret_value(), sink.table, base)
    write = partial(_write_csv if sink.kind == "csv" else _write_parquet, parts)
    if is_object(sink.path):
        with temporary_folder() as folder:
            file = folder / "predictions"
            write(file)
            put(file, sink.path)
        return sink.path
    path = base / sink.path
    if path.is_dir():
        raise ConfigError(
            f"{path}: predictions are written to one file; this is a folder.",
            f"Name a file in it, such as {path / f'predictions.{sink.kind}'}.",
        )
    _write_beside(path, write)
    return str(path)


def without_formulas(column: pd.Series[str]) -> pd.Series[str]:
    """Return texts with ``'`` before those that a spreadsheet would run.

    >>> without_formulas(pd.Series(["=1+1", "-", "a=1", "+4915112345678", None])).tolist()
    ["'=1+1", "'-", 'a=1', '+4915112345678', nan]
    """
    risky = column.str.match(_RUN_BY_SPREADSHEETS, na=False).astype(bool)
    if risky.any():
        risky &= ~column.str.fullmatch(_SIGNED_NUMBER, na=False).astype(bool)
    return column.mask(risky, "'" + column) if risky.any() else column


def _write_parquet(parts: Iterable[pd.DataFrame], path: Path) -> None:
    with ExitStack() as stack:
        writer = None
        for frame in parts:
            table = pa.Table.from_pandas(frame, preserve_index=False)
            if writer is None:
                schema = table.schema
                writer = stack.enter_context(pq.ParquetWriter(path, schema))
            # A part without nulls may have another type than the first: whole numbers, not floats.
            writer.write_table(table.cast(schema))


def _write_csv(parts: Iterable[pd.DataFrame], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, frame in enumerate(parts):
            _append_csv(frame, file, header=number == 0)


def _append_csv(frame: pd.DataFrame, file: TextIO, *, header: bool) -> None:
    safe = frame.copy(deep=False)
    places = range(frame.shape[1])
    for place in places:
        column = frame.iloc[:, place]
        if _is_text(column):
            safe.isetitem(place, _safe_texts(column).array)
    safe.columns = pd.Index(
        without_formulas(pd.Series([str(c) for c in frame.columns], dtype="str"))
    )
    # By default a carriage return is not quoted, and a reader would break the line there.
    returns = any(
        _is_text(safe.iloc[:, i])
        and bool(safe.iloc[:, i].astype("str").str.contains("\r", regex=False, na=False).any())
        for i in places
    )
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    safe.to_csv(file, index=False, header=header, lineterminator="\n", quoting=quoting)


def _is_text(column: pd.Series[str]) -> bool:
    return isinstance(column.dtype, pd.StringDtype) or pd.api.types.is_object_dtype(column.dtype)


def _safe_texts(column: pd.Series[str]) -> pd.Series[str]:
    """Quote the texts of a column that may hold numbers or booleans too; those stay."""
    if isinstance(column.dtype, pd.StringDtype):
        return without_formulas(column)
    texts = column.map(lambda value: value if isinstance(value, str) else None).astype("str")
    return column.where(texts.isna(), without_formulas(texts).astype(object))


def _write_beside(path: Path, write: Callable[[Path], None]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_replacing(path) as beside:
            write(beside)
            beside.chmod(mode_beside(path.parent))
    except OSError as error:
        raise InfrastructureError(
            f"{path}: the predictions cannot be written ({error.strerror or error}).",
            "Nothing that was there has changed. Free space or name another path.",
        ) from None
