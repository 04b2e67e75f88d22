"""HTTP whose heads are bounded in size and time: they are read before anybody is known.

Any account of the machine can connect to loopback. Without bounds one of them could fill the memory
of a server with one header, or its table of open files with connections that never send a request.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES = 65_536
HEAD_SECONDS = 20.0


class BoundedHttp(HttpToolsProtocol):
    """A connection that is closed when a head is longer, or slower, than it may be."""

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
