"""The bearer token of a prediction server (RFC 6750), from the environment."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Mapping

from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from deploy.web.basic_authentication import Authentication
from tasks.base.errors import UsageError
from tasks.base.runtime.loopback import is_loopback
from tasks.base.servers.stack_file import BEARER_VARIABLE

_LEAST = 16
_REFUSAL = {
    "kind": "authentication",
    "message": "The bearer token is absent or wrong.",
    "remedy": "Send the header Authorization: Bearer, with the server's token.",
}


class BearerAuthentication(Authentication):
    """Requires the bearer token."""

    def __init__(self, app: ASGIApp, token: str, open_paths: Iterable[str]) -> None:
        headers = {"www-authenticate": "Bearer", "connection": "close"}
        super().__init__(app, JSONResponse({"error": _REFUSAL}, 401, headers), open_paths)
        self._token = token.encode("utf-8")

    def passes(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a request of these headers states the token."""
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token)


def token_for(host: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the token of a server on `host`; None on loopback where none is set.

    Raises UsageError when the variable is too short to be a secret, or absent and `host` is not
    loopback.

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
