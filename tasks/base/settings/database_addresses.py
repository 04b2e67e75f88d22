"""Database addresses as people write them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks.base.runtime.libraries import sa

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

EXAMPLE = "Write postgresql://user:${PASSWORD}@host/name or sqlite:///file.db."
# Words of a database that is there again later, or lets somebody else go first.
PASSING = (
    "refused", "timed out", "timeout", "locked", "busy", "server closed", "terminating connection",
    "starting up", "shutting down", "too many connections", "too many clients", "reset by peer",
    "lost connection", "gone away", "deadlock", "could not serialize", "consuming input",
    "conflicting lock", "is closed",
)  # fmt: skip
_ENCODED = "a password's @, /, : and # have to be percent-encoded"
_MARKS = frozenset("@/?#")
_DIALECTS = ("postgresql", "sqlite", "mysql", "mariadb", "mssql", "oracle")


def with_driver(address: URL) -> URL:
    """Return the address with the driver that keepfit brings, where none is named.

    SQLAlchemy would take psycopg2 for plain ``postgresql``; keepfit's extra installs psycopg 3.

    >>> from sqlalchemy import make_url
    >>> with_driver(make_url("postgresql://db/sales")).drivername
    'postgresql+psycopg'
    >>> with_driver(make_url("mysql+pymysql://db/sales")).drivername
    'mysql+pymysql'
    """
    if address.drivername in ("postgresql", "postgres"):
        return address.set(drivername="postgresql+psycopg")
    return address


def fault_of(address: str) -> str:
    """Return why `address` is no database URL, without any part that may be secret; or nothing.

    Whether the driver is installed and the server responds shows when it is connected.

    >>> fault_of("postgresql://me:secret@db:54x2/sales")
    "its port is no number from 1 to 65535; a password's @, /, : and # have to be percent-encoded"
    >>> fault_of("postgressql://db/sales")
    "no dialect is called 'postgressql'; did you mean 'postgresql'?"
    >>> fault_of("sales.db")
    'it has no scheme, such as postgresql:// or sqlite:///'
    >>> fault_of("sqlite:///sales.db")
    ''
    """
    if "://" not in address:
        return "it has no scheme, such as postgresql:// or sqlite:///"
    try:
        url = with_driver(sa.make_url(address))
    except sa.exc.ArgumentError:
        return f"it is not written as dialect://user@host/name; {_ENCODED}"
    except ValueError:
        return f"its port is no number from 1 to 65535; {_ENCODED}"
    if url.port is not None and not 0 < url.port < 65536:
        return f"its port is no number from 1 to 65535; {_ENCODED}"
    try:
        url.get_dialect()
    except sa.exc.NoSuchModuleError:
        return _no_dialect(url.drivername)
    except ImportError as error:
        return f"the package {error.name!r} of its dialect is not installed"
    return _misread(address, url.host or "")


def _misread(address: str, host: str) -> str:
    """Return why the network parts of the address are ambiguous; or nothing."""
    # Where two readers find two hosts, one took a part of the password for it, and would show it.
    try:
        found = urlsplit(address).hostname or ""
    except ValueError:
        found = ""
    if found != host.lower() or not _MARKS.isdisjoint(host):
        return f"its host cannot be read; {_ENCODED}"
    return ""


def _no_dialect(driver: str) -> str:
    name, _, own = driver.partition("+")
    near = get_close_matches(name, _DIALECTS, n=1)
    if own and near and near[0] == name:
        return f"no driver of {name} is called {own!r}, or it is not installed"
    hint = f"; did you mean {near[0]!r}?" if near else ", or its package is not installed"
    return f"no dialect is called {name!r}{hint}"


# Modules that their package calls otherwise.
_PACKAGES = {"MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary", "cx_Oracle": "oracledb"}


def no_driver(address: URL, error: ImportError) -> tuple[str, str]:
    """Return the message and the remedy for a database whose driver is not installed."""
    name = error.name or address.get_driver_name()
    package = "'keepfit[postgres]'" if name.startswith("psycopg") else _PACKAGES.get(name, name)
    return (
        f"no driver for {address.get_backend_name()} is installed: {name!r} is missing.",
        f"Install it: pip install {package}.",
    )
