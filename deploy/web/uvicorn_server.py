"""A server on a socket of its own, whose connections are bounded."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tasks.base.errors import UsageError

MOST_BYTES = 65_536
HEAD_SECONDS = 20.0


def run_server(
    app: ASGIApp, listener: socket.socket, *, grace: int = 2, web_sockets: bool = True
) -> None:
    """Serve `app` until a signal stops it; a request gets `grace` seconds to end."""
    config = uvicorn.Config(
        app,
        http=BoundedHttp,
        log_level="warning",
        access_log=False,
        server_header=False,
        # By such a header anybody on this machine would state whose connection theirs is.
        proxy_headers=False,
        timeout_graceful_shutdown=grace,
        lifespan="on",
        ws="auto" if web_sockets else "none",
        ws_max_size=1_000_000,
    )
    uvicorn.Server(config).run(sockets=[listener])


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


class BoundedHttp(HttpToolsProtocol):
    """A connection that is closed when a head is longer, or slower, than it may be.

    Any account of the machine can connect to loopback. Without bounds one of them could fill the
    memory of a server with one header, or its table of open files with connections that never send
    a request.
    """

    _in_head = True
    _ended = False
    _bytes = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a head."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came, and close the connection if that is too much of a head."""
        self._ended = False
        super().data_received(data)
        if not self._in_head or self._ended:
            return
        self._bytes += len(data)
        if self._bytes > MOST_BYTES:
            self.transport.close()
        elif self._timer is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """Begin the body."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next head."""
        self._in_head = self._ended = True
        self._bytes = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        transport: Any = self.transport
        self._timer = self.loop.call_later(HEAD_SECONDS, transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
