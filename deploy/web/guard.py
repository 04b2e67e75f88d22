"""What stands before every server of the stack: only this machine's own pages may use it.

A page of another site, open in a browser here, can reach loopback. It is kept out by the host
that it asks for (a name of its own that it let point here) and by the origin that the browser
states, for web sockets too.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Guard:
    """An ASGI application that refuses what does not come from a page of this machine.

    Parameters
    ----------
    app
        The application behind it.
    port
        Where it is served: the origin that may change something.
    closed
        Names: a path that holds one of them between its slashes is not served.
    """

    def __init__(self, app: ASGIApp, port: int, closed: Iterable[str] = ()) -> None:
        self._app = app
        self._port = port
        self._closed = frozenset(closed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with 400, 403 or 404."""
        status = 0 if scope["type"] == "lifespan" else self.refusal(scope)
        if not status:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refuse(status, send)

    def refusal(self, scope: Scope) -> int:
        """Return the status with which a request is refused; 0 when it is let through."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if not _is_loopback(headers.get(b"host", b"").decode("latin-1")):
            return 400
        if not self._own(headers.get(b"origin", b"").decode("latin-1"), scope):
            return 403
        return 0 if self._closed.isdisjoint(scope["path"].lower().split("/")) else 404

    def _own(self, origin: str, scope: Scope) -> bool:
        reads = scope["type"] == "http" and scope["method"] in {"GET", "HEAD", "OPTIONS"}
        if not origin or reads:
            # Programs state no origin; what another site reads, its browser keeps from it.
            return True
        try:
            parts = urlsplit(origin)
            return parts.port == self._port and _is_loopback(parts.netloc)
        except ValueError:
            return False


def _is_loopback(host: str) -> bool:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, "0"
    return name.lower() in _LOOPBACK and port.isdecimal()


async def _refuse(status: int, send: Send) -> None:
    text = {400: b"Not a name of this machine.", 403: b"Not from this page.", 404: b"Not found."}
    headers = [(b"content-type", b"text/plain"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text[status]})
