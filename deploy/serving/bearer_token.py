"""The bearer token of a prediction server (RFC 6750), from the environment."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from tasks.base.errors import UsageError
from tasks.base.runtime.loopback import is_loopback
from tasks.base.servers.stack_file import BEARER_VARIABLE

_LEAST = 16
_BODY = (
    b'{"error":{"kind":"authentication","message":"The bearer token is absent or wrong.",'
    b'"remedy":"Send the header Authorization: Bearer, with the server\'s token."}}'
)


class BearerAuthentication:
    """An ASGI application that responds 401 without the token.

    Parameters
    ----------
    open_paths
        Open without it: the paths of health checks.
    """

    def __init__(self, app: ASGIApp, token: str, open_paths: frozenset[str]) -> None:
        self._app = app
        self._token = token.encode("utf-8")
        self._open = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with 401."""
        if scope["type"] == "lifespan" or scope["path"] in self._open or self._passes(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [
                (b"www-authenticate", b"Bearer"),
                (b"content-type", b"application/json"),
                (b"connection", b"close"),
            ]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _BODY})

    def _passes(self, scope: Scope) -> bool:
        stated = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, given = stated.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token)


def token_for(host: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the token of a server on `host`; None on loopback where none is set.

    Raises
    ------
    UsageError
        When the variable is too short to be a secret, or absent and `host` is not loopback.

    Examples
    --------
    >>> token_for("127.0.0.1", {}) is None
    True
    """
    token = (os.environ if environ is None else environ).get(BEARER_VARIABLE, "").strip()
    remedy = f"Set {BEARER_VARIABLE} in the environment, for example to `openssl rand -hex 32`."
    if token and len(token) < _LEAST:
        raise UsageError(
            f"{BEARER_VARIABLE} must have {_LEAST} characters or more; got {len(token)}.",
            remedy,
        )
    if not token and not is_loopback(host):
        raise UsageError(
            f"Predictions would be open to everyone who reaches {host}: there is no token.",
            f"{remedy} Or listen on 127.0.0.1.",
        )
    return token or None
