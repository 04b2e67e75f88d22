"""Fast bulk inserts: rows go into a temporary table, from which SQL copies them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import Any

from tasks.base.runtime.libraries import sa

_ROWS_AT_ONCE = 50_000
_SECONDS_BETWEEN_STOPS = 0.1


def staged(
    connection: sa.Connection, name: str, columns: list[sa.Column[Any]], rows: Iterable[Any]
) -> sa.Table:
    """Return a temporary table of `rows`, in the order of `columns`, for this transaction."""
    table = sa.Table(name, sa.MetaData(), *columns, prefixes=["TEMPORARY"])
    if connection.dialect.name == "postgresql":
        table.dialect_options["postgresql"]["on_commit"] = "DROP"
        table.create(connection)
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        connection.execute(sa.text(f"ANALYZE {name}"))
        return table
    table.drop(connection, checkfirst=True)
    table.create(connection)
    marks = ", ".join("?" for _ in columns)
    remaining = iter(rows)
    while values := list(islice(remaining, _ROWS_AT_ONCE)):
        connection.exec_driver_sql(f"INSERT INTO {name} VALUES ({marks})", values)  # noqa: S608 - names of our own
    return table


def slices(
    connection: sa.Connection, stage: sa.Table, order: str, rows: int
) -> Iterator[sa.Select[Any]]:
    """Yield queries of a SQLite stage, `rows` each, which together give it in `order`."""
    # Sorted once into a table of its own, whose row numbers are then the order.
    name = f"{stage.name}_in_order"
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS temp.{name}")
    in_order = f"CREATE TEMPORARY TABLE {name} AS SELECT * FROM {stage.name} ORDER BY {order}"  # noqa: S608 - names of our own
    interruptible(connection, sa.text(in_order))
    table = stage.to_metadata(sa.MetaData(), name=name)
    number: sa.ColumnElement[int] = sa.literal_column("rowid")
    last = connection.execute(sa.select(sa.func.max(number)).select_from(table)).scalar() or 0
    for first in range(0, last, rows):
        yield sa.select(table).where(number > first, number <= first + rows).order_by(number)


@contextmanager
def rebuilt(connection: sa.Connection, index: sa.Index) -> Iterator[None]:
    """Drop an index, and make it anew of all rows at the end."""
    index.drop(connection)
    yield
    interruptible(connection, sa.schema.CreateIndex(index))


def interruptible(connection: sa.Connection, statement: sa.Executable) -> sa.CursorResult[Any]:
    """Execute a statement that may take long; the database stops it where a signal raises here."""
    # A thread that waits in SQLite answers no signal until SQLite returns.
    driver: Any = connection.connection.driver_connection
    stop = driver.interrupt if connection.dialect.name == "sqlite" else driver.cancel
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(connection.execute, statement)
        try:
            return running.result()
        except BaseException:
            # Again until it has ended: what has not begun yet is not stopped.
            while wait([running], _SECONDS_BETWEEN_STOPS).not_done:
                stop()
            raise
