"""HTTP basic authentication of a page that is reached from other machines."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

_CHALLENGE = 'Basic realm="keepfit", charset="UTF-8"'


class Authentication:
    """An ASGI application: `refusal` (401) without credentials, but on `open_paths`."""

    def __init__(self, app: ASGIApp, refusal: Response, open_paths: Iterable[str]) -> None:
        self._app, self._refusal, self._open = app, refusal, frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with 401."""
        if (
            scope["type"] == "lifespan"
            or scope["path"] in self._open
            or self.passes(dict(scope["headers"]))
        ):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._refusal(scope, receive, send)

    def passes(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a request of these headers states the credentials."""
        raise NotImplementedError


class BasicAuthentication(Authentication):
    """Requires the user and password ``user:password`` (RFC 7617)."""

    def __init__(self, app: ASGIApp, credentials: str, open_paths: Iterable[str] = ()) -> None:
        headers = {"www-authenticate": _CHALLENGE}
        super().__init__(app, PlainTextResponse("Not signed in.", 401, headers), open_paths)
        self._credentials = credentials.encode("utf-8")

    def passes(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a request of these headers states user and password."""
        given = basic_credentials(headers)
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
