"""Addresses that keepfit's own servers listen on."""

from __future__ import annotations

import socket

from tasks.base.errors import UsageError


def listening(host: str, port: int, use: str, *, backlog: int) -> socket.socket:
    """Return a socket that listens on an address; UsageError, with its `use`, when it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        raise UsageError(
            f"{host}:{port} can't be used for {use}: {error.strerror or error}.",
            "Name an address of this machine with --host and a free port with --port.",
        ) from None
