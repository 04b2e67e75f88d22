"""A database as the source of a drafted pipeline; its password stays out of the file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.base.errors import UsageError
from tasks.base.runtime.libraries import sa
from tasks.base.settings.database_addresses import EXAMPLE, fault_of
from tasks.base.settings.sources import SqlSource
from tasks.data.sources.sql_connections import connected

_PASSWORD = re.compile(r"^(?P<head>[\w+.-]+://[^:/@]*:)(?P<password>[^@]+)(?P<tail>@.*)$")
_SECRET_OPTION = re.compile(
    r"[?&][^=&]*(?:pass|secret|token|key|credential)[^=&]*=(?!\$\{)", re.IGNORECASE
)
_FILE = re.compile(r"^(?P<head>(?:sqlite|duckdb)(?:\+\w+)?:///)(?P<path>[^?]*)(?P<tail>.*)$")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class DatabaseSource:
    """The source section for a database."""

    values: dict[str, Any]  # section `source`, drafted; a secret stands in it as `${VARIABLE}`
    written: str  # as the file is to hold it: a file's path starts at the folder
    variable: str = ""  # the environment variable that has to hold the secret, if any
    # Variables with which the section is read while it is drafted.
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


def database_source(
    url: str, folder: Path, name: str, *, table: str | None, query: str | None
) -> DatabaseSource:
    """Return the source that a database URL and either a table or a query make."""
    # `${VARIABLE}` in the URL stays, and a password becomes one, called after the pipeline `name`;
    # the relative path of a database's file starts at the pipeline's `folder`.
    fault = fault_of(_expanded(url))
    if fault:
        raise UsageError(f"`--data` cannot be used: {fault}.", EXAMPLE)
    whole, variable, secret = _without_secret(_placed(url, None), name)
    environ = {**os.environ, **({variable: secret} if variable else {})}
    if (table is None) == (query is None):
        raise UsageError("A database needs either `--table` or `--query`.", _tables(_expanded(url)))
    rows = {"table": table} if table is not None else {"query": query}
    values = {"kind": "sql", "url": whole, **rows}
    written = _placed(url, folder) if whole == _placed(url, None) else whole
    return DatabaseSource(values, written, variable, environ)


def _expanded(url: str) -> str:
    absent = [name for name in _VARIABLE.findall(url) if name not in os.environ]
    if absent:
        raise UsageError(
            f"The environment variable {absent[0]} is not set.",
            f"Set it before the command: export {absent[0]}=…",
        )
    return _VARIABLE.sub(lambda match: os.environ[match[1]], url)


def _without_secret(url: str, name: str) -> tuple[str, str, str]:
    """Return the URL as the file may hold it, the variable in it, and what that has to hold."""
    stem = re.sub(r"\W+", "_", name).upper()
    if _SECRET_OPTION.search(url):
        return f"${{{stem}_URL}}", f"{stem}_URL", _expanded(url)
    found = _PASSWORD.match(url)
    if found is None or "${" in found["password"]:
        return url, "", ""
    variable = f"{stem}_PASSWORD"
    return f"{found['head']}${{{variable}}}{found['tail']}", variable, found["password"]


def _placed(url: str, folder: Path | None) -> str:
    """Return the URL of a file with its path from the pipeline's folder, or a whole one."""
    found = _FILE.match(url)
    if found is None or not found["path"] or "${" in found["path"]:
        return url
    path = found["path"]
    if not Path(path).is_absolute():
        whole = str(Path(path).absolute())
        path = whole if folder is None else os.path.relpath(whole, folder.absolute())
    return f"{found['head']}{path}{found['tail']}"


def _tables(url: str) -> str:
    """Return a sentence with the tables that there are."""
    source = SqlSource.model_validate({"kind": "sql", "url": url, "table": "t"})
    with connected(source, Path.cwd()) as connection:
        names = sa.inspect(connection).get_table_names()
    return f"The tables: {', '.join(names[:20])}." if names else "There is no table."
