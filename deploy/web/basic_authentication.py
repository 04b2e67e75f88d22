"""HTTP basic authentication of a page that is reached from other machines."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

_CHALLENGE = b'Basic realm="keepfit", charset="UTF-8"'


class BasicAuthentication:
    """An ASGI application that responds 401 without the user and password (RFC 7617).

    Parameters
    ----------
    app
        The application behind it.
    credentials
        ``user:password``.
    open_paths
        Open without a password: the path of a health check.
    """

    def __init__(self, app: ASGIApp, credentials: str, open_paths: tuple[str, ...] = ()) -> None:
        self._app = app
        self._credentials = credentials.encode("utf-8")
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with 401."""
        if scope["type"] == "lifespan" or self._passes(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"www-authenticate", _CHALLENGE), (b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b"Not signed in."})

    def _passes(self, scope: Scope) -> bool:
        if scope["path"] in self._open:
            return True
        given = basic_credentials(dict(scope["headers"]))
        return given is not None and hmac.compare_digest(given, self._credentials)


def basic_credentials(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Return ``user:password`` of a request; None where it states none."""
    scheme, _, encoded = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        return None
