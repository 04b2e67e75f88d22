"""Addresses that keepfit's own servers listen on."""

from __future__ import annotations

import ipaddress
import socket

from tasks.base.errors import UsageError


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches `host`.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening(host: str, port: int, use: str, *, backlog: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises
    ------
    UsageError
        When it cannot be used; names what it is for.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        raise UsageError(
            f"{host}:{port} can't be used for {use}: {error.strerror or error}.",
            "Name an address of this machine with --host and a free port with --port.",
        ) from None
