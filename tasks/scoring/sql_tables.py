"""Predictions in a SQL table, a batch in one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.base.errors import ConfigError, InfrastructureError, KeepfitError, TransientError
from tasks.base.runtime.libraries import pd, sa
from tasks.base.settings.database_addresses import EXAMPLE, fault_of, no_driver, with_driver
from tasks.base.text.redaction import without_credentials
from tasks.ledger.storage.database import lock

BATCH = "batch"
MARKS = {BATCH, "model_name"}  # several pipelines may score the same rows into one table
_ROWS_AT_ONCE = 5_000
_NAME_BYTES = 63  # PostgreSQL cuts longer names silently


def write_table(parts: Iterable[pd.DataFrame], address: str, name: str, base: Path) -> str:
    """Write the parts of a batch to the table `name`, made if it is absent, and return where to."""
    # Rows of the same batch are replaced in the same transaction: it is there once. Raises
    # ConfigError when the address is none, or the table lacks a column; TransientError when the
    # database does not respond or is locked; InfrastructureError when it refuses; without password.
    engine = _engine(address, base)
    place = f"{without_credentials(engine.url.set(query={}).render_as_string())} table {name}"
    try:
        with engine.begin() as connection:
            _write(connection, parts, name)
    except KeepfitError:
        raise
    except sa.exc.ProgrammingError as error:
        if not error.connection_invalidated and error.statement is None:
            # Not a statement but the connection's options were refused.
            raise ConfigError(
                f"{place}: the database's driver refused the options of `scoring.sink.url`.",
                "Fix or remove what stands behind `?`.",
            ) from None
        raise _refused(place, error) from None
    except sa.exc.OperationalError as error:
        raise TransientError(
            f"{place}: the database did not answer in time ({_reason(error)}).",
            "Nothing of this batch was written; run the command again.",
        ) from None
    except (sa.exc.SQLAlchemyError, OverflowError) as error:
        raise _refused(place, error) from None
    finally:
        engine.dispose()
    return place


def _refused(place: str, error: Exception) -> InfrastructureError:
    return InfrastructureError(
        f"{place}: the database refused the predictions ({_reason(error)}).",
        "Nothing of this batch was written.",
    )


def _engine(address: str, base: Path) -> sa.Engine:
    fault = fault_of(address)
    if fault:
        raise ConfigError(f"`scoring.sink.url` cannot be used: {fault}.", EXAMPLE)
    url = with_driver(sa.make_url(address))
    try:
        file = url.database if url.get_backend_name() == "sqlite" else None
        if file and file != ":memory:":
            path = base / file
            path.parent.mkdir(parents=True, exist_ok=True)
            url = url.set(database=str(path))
        return sa.create_engine(url)
    except ImportError as error:
        message, remedy = no_driver(url, error)
        raise ConfigError(f"`scoring.sink.url`: {message}", remedy) from None
    except OSError as error:
        raise InfrastructureError(
            f"{error.filename}: the folder for predictions cannot be made ({error.strerror})."
        ) from None


def column_names(names: list[str]) -> list[str]:
    """Return names that every database can distinguish: short enough, distinct without case.

    >>> column_names(["probability_A", "probability_a", "id"])
    ['probability_A', 'probability_a_2', 'id']
    """
    taken: set[str] = set()
    fit = []
    for name in names:
        base = form = _cut(name, _NAME_BYTES) or "_"
        number = 2
        while form.lower() in taken:
            form = f"{_cut(base, _NAME_BYTES - 6)}_{number}"
            number += 1
        taken.add(form.lower())
        fit.append(form)
    return fit


def _cut(name: str, most: int) -> str:
    return name.replace("\x00", "").encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def _write(connection: sa.Connection, parts: Iterable[pd.DataFrame], name: str) -> None:
    # Two writers of one batch would each delete nothing and both insert.
    lock(connection, f"keepfit sink {name}")
    if connection.dialect.name == "sqlite":
        # Locked before the check for the table: else two writers would make it.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    replaced: set[tuple[str, ...]] = set()
    for frame in parts:
        names = column_names([str(column) for column in frame.columns])
        table = _table(connection, frame, name, names)
        marks = {m: names[place] for place, m in enumerate(frame.columns) if m in MARKS}
        batches = {
            *frame[[*marks]].drop_duplicates().astype("str").itertuples(index=False, name=None)
        }
        for batch in batches - replaced:
            same = (table.c[mark] == held for mark, held in zip(marks.values(), batch, strict=True))
            connection.execute(sa.delete(table).where(*same))
        replaced |= batches
        for start in range(0, len(frame), _ROWS_AT_ONCE):
            part = frame.iloc[start : start + _ROWS_AT_ONCE]
            columns = [_plain(part.iloc[:, place]) for place in range(part.shape[1])]
            rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
            connection.execute(sa.insert(table), rows)


def _table(connection: sa.Connection, frame: pd.DataFrame, name: str, names: list[str]) -> sa.Table:
    metadata = sa.MetaData()
    if sa.inspect(connection).has_table(name):
        found = sa.Table(name, metadata, autoload_with=connection)
        missing = [column for column in names if column not in found.c]
        if missing:
            raise ConfigError(
                f"The table {name} has no column for {', '.join(map(repr, missing))}.",
                "It holds predictions of another shape: name another table in `scoring.sink`.",
            )
        return found
    columns = [
        sa.Column(column, _type(frame.iloc[:, place]), index=frame.columns[place] == BATCH)
        for place, column in enumerate(names)
    ]
    table = sa.Table(name, metadata, *columns)
    metadata.create_all(connection)
    return table


def _type(column: pd.Series[Any]) -> sa.types.TypeEngine[Any]:
    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return sa.Boolean()
    if pd.api.types.is_integer_dtype(dtype):
        return sa.BigInteger()
    if pd.api.types.is_float_dtype(dtype):
        return sa.Double()
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return sa.DateTime(timezone=isinstance(dtype, pd.DatetimeTZDtype))
    return sa.Text()


def _plain(column: pd.Series[Any]) -> list[Any]:
    """Return Python values; a null is None, and text cannot hold what databases refuse."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        values = list(column.dt.to_pydatetime())
    else:
        values = column.astype(object).tolist()
    text = isinstance(_type(column), sa.Text)
    return [
        None if null else _text(value) if text else value
        for value, null in zip(values, column.isna(), strict=True)
    ]


def _text(value: object) -> str:
    return str(value).replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _reason(error: Exception) -> str:
    """Return the database's own words without the statement and its values."""
    origin = getattr(error, "orig", None)
    words = str(origin).strip().splitlines() if origin is not None else []
    return f"{type(error).__name__}: {words[0][:200]}" if words else type(error).__name__
