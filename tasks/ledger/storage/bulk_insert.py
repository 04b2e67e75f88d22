"""Fast bulk inserts: rows go into a temporary table, from which SQL copies them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from tasks.base.runtime.libraries import sa

_ROWS_AT_ONCE = 50_000


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
