"""Database addresses as people write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


def with_driver(address: URL) -> URL:
    """Return the address with the driver that keepfit brings, where none is named.

    SQLAlchemy would take psycopg2 for plain ``postgresql``; keepfit's extra installs psycopg 3.

    Examples
    --------
    >>> from sqlalchemy import make_url
    >>> with_driver(make_url("postgresql://db/sales")).drivername
    'postgresql+psycopg'
    >>> with_driver(make_url("mysql+pymysql://db/sales")).drivername
    'mysql+pymysql'
    """
    if address.drivername in ("postgresql", "postgres"):
        return address.set(drivername="postgresql+psycopg")
    return address
