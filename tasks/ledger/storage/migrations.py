"""The ledger's tables, from any version that keepfit wrote to the present one."""

from __future__ import annotations

from tasks.base.errors import InfrastructureError
from tasks.base.runtime.failpoints import reach
from tasks.base.runtime.libraries import sa
from tasks.ledger.storage.tables import METADATA, VERSION, batches, predictions, schema_version


def version_of(connection: sa.Connection) -> int:
    """Return the version of the tables; 0 where there are none."""
    if not sa.inspect(connection).has_table(schema_version.name):
        return 0
    return connection.execute(sa.select(sa.func.max(schema_version.c.version))).scalar() or 0


def migrate(connection: sa.Connection, place: str) -> None:
    """Bring the tables to this version in the transaction; refuse those of a newer keepfit."""
    found = version_of(connection)
    if found > VERSION:
        raise InfrastructureError(
            f"the ledger {place} has version {found}; this keepfit supports {VERSION}.",
            "Install the keepfit that wrote it, or a newer one.",
        )
    if found == VERSION:
        return
    # Version 2 added the requested runs, version 3 the cells of rows predicted over HTTP.
    METADATA.create_all(connection)
    for table, column in ((batches, "forms"), (predictions, "cells")):
        known = {there["name"] for there in sa.inspect(connection).get_columns(table.name)}
        if column not in known:
            connection.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {column} TEXT"))
    reach("ledger.migration.halfway")
    connection.execute(sa.insert(schema_version), {"version": VERSION})
