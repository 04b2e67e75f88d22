"""Ports on loopback, held and listening from before the first server until the stack ends."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from tasks.base.errors import InfrastructureError, UsageError

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Held:
    """A listening socket."""

    listener: socket.socket
    port: int
    instead_of: int | None = None  # the default port that was taken; None if the wanted one is held

    @property
    def url(self) -> str:
        """The address, without a final slash."""
        return f"http://{HOST}:{self.port}"


def hold(default: int, wanted: int | None, part: str, option: str) -> Held:
    """Return a socket that listens on loopback: on the port `wanted` (0: any), or `default`."""
    # A requested port that is taken or not allowed is a UsageError about `part` and `option`.
    port = default if wanted is None else wanted
    try:
        return _held(port)
    except OSError as error:
        if wanted is not None:
            raise UsageError(
                f"Port {wanted} for {part} can't be used: {error.strerror}.",
                f"Name a free one with {option}, or leave {option} out and one is chosen.",
            ) from None
    try:
        free = _held(0)
    except OSError as error:
        raise InfrastructureError(f"No port can be had for {part}: {error.strerror}.") from None
    return Held(free.listener, free.port, instead_of=default)


def _held(port: int) -> Held:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Connections of a stack that ended a moment ago would keep its port for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(2048)
    except OverflowError:
        listener.close()
        raise OSError(0, "a port lies between 0 and 65535") from None
    except OSError:
        listener.close()
        raise
    return Held(listener, int(listener.getsockname()[1]))
