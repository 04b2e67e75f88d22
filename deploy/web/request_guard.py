"""Guard before every server that keepfit starts: only its owner's programs and browsers pass.

Other accounts of the machine reach loopback too: a request states the key of the state folder, or
comes from a browser that a link of it let in. A page of another site, open in that browser, is kept
out by the host that it requests (a name of its own that it let point here), by the origin that the
browser states, for web sockets too, and by the cookie, which goes with no request of another site.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterable
from html import escape
from urllib.parse import quote, urlsplit

from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.web.session_access import SIGN_IN, Access
from tasks.base.runtime.loopback import is_loopback

_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_OPEN = frozenset({"/health", "/api/health"})
_SECRET = frozenset({b"authorization", b"cookie"})
_HEADERS = {
    b"x-frame-options": b"SAMEORIGIN",
    # The pages of Prefect report to a service of their maker's; nothing of ours leaves the machine.
    b"content-security-policy": (
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"
    ),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
}
_REASONS = {
    400: "Not a name of this machine.",
    401: "Not signed in. `keepfit link` prints an address that lets this browser in, once.",
    403: "Not from this page, or not from this account of the machine.",
    404: "Not found.",
}


class Guard:
    """An ASGI application that lets nobody but the owner of a state folder through.

    `port`: the origin that may change something; `access`: who may use it; None: processes of the
    account that serves it, without a key; `closed`: a path with one of these names is not served.
    """

    def __init__(
        self, app: ASGIApp, port: int, access: Access | None, closed: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._port = port
        self._access = access
        self._closed = frozenset(closed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, let a browser in, or refuse with 400, 401, 403 or 404."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        status = self.refusal(scope)
        if scope["type"] == "websocket":
            if status:
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(_without_secrets(scope), receive, send)
        elif status == 401 or (not status and self._access is not None and _signs_in(scope)):
            await self._sign_in(scope, status)(scope, receive, _framed(send))
        elif status:
            await _answer(status, _REASONS[status])(scope, receive, _framed(send))
        else:
            await self._app(_without_secrets(scope), receive, _framed(send))

    def refusal(self, scope: Scope) -> int:
        """Return the status with which a request is refused; 0 when it is let through."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if not _is_loopback(host):
            return 400
        if not self._own(headers.get(b"origin", b"").decode("latin-1"), host, scope):
            return 403
        if not self._closed.isdisjoint(scope["path"].lower().split("/")):
            return 404
        asks_health = _reads(scope) and scope["path"] in _OPEN
        if self._access is None:
            return 0 if asks_health or is_of_this_user(scope) else 403
        return 0 if asks_health or self._access.admits(headers, account_of(scope)) else 401

    def _own(self, origin: str, host: str, scope: Scope) -> bool:
        if not origin or _reads(scope):
            # Programs state no origin; what another site reads, its browser keeps from it. Another
            # port is the same site, whose requests take the cookie along: it may only link here.
            headers = dict(scope["headers"])
            foreign = headers.get(b"sec-fetch-site") in {b"cross-site", b"same-site"}
            links = _reads(scope) and headers.get(b"sec-fetch-dest") == b"document"
            return links or not foreign
        try:
            parts = urlsplit(origin)
            # Of the other loopback addresses, on which anybody may listen, only the requested one.
            known = parts.hostname in _NAMES or parts.netloc == host
            return parts.port == self._port and known
        except ValueError:
            return False

    def _sign_in(self, scope: Scope, status: int) -> HTMLResponse:
        """Let a browser in by its link, or explain how it gets in."""
        path, query = scope["path"], scope.get("query_string", b"").decode("latin-1")
        cookie = ""
        if self._access is not None and _signs_in(scope):
            cookie = self._access.redeemed(path.removeprefix(SIGN_IN), account_of(scope))
        if cookie or not status:
            return _answer(200, "Signed in.", cookie=cookie, onward="/")
        if _reads(scope) and dict(scope["headers"]).get(b"sec-fetch-site") == b"cross-site":
            # A link in a message: the cookie comes along when this page itself goes there.
            onward = "/" + quote(path.lstrip("/")) + f"?{query}" * bool(query)
            return _answer(200, "One moment.", onward=onward)
        return _answer(401, _REASONS[401])


def _signs_in(scope: Scope) -> bool:
    return bool(scope["method"] == "GET" and scope["path"].startswith(SIGN_IN))


def _reads(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] in {"GET", "HEAD", "OPTIONS"}


def _is_loopback(host: str) -> bool:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, "0"
    return is_loopback(name.lower().removeprefix("[").removesuffix("]")) and port.isdecimal()


def _without_secrets(scope: Scope) -> Scope:
    """Return a request whose application learns nothing of the key."""
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in _SECRET]}


def _framed(send: Send) -> Send:
    """Add the headers that let no other page frame a response, where it has none of its own."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            stated = {name.lower() for name, _ in message.get("headers", ())}
            more = [pair for pair in _HEADERS.items() if pair[0] not in stated]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sending


def _answer(status: int, text: str, *, cookie: str = "", onward: str = "") -> HTMLResponse:
    """Return a sentence as a page that lets a browser go on to a path of this server."""
    refresh = f'<meta http-equiv="refresh" content="0;url={escape(onward)}">' if onward else ""
    body = f'<!doctype html><meta charset="utf-8"><title>keepfit</title>{refresh}<p>{text}'
    headers = {"cache-control": "no-store"}
    if status == 401:
        # Of no kind that browsers handle: they would show a form that nobody can fill in.
        headers["www-authenticate"] = "keepfit"
    if cookie:
        headers["set-cookie"] = cookie
    return HTMLResponse(body, status, headers)


_ROOT = 0
_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ANY = 4, 20, 1, 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_UID_AT = _HEADER.size + 4 + 48 + 12
_MOST_BYTES = 8_192


def is_of_this_user(scope: Scope) -> bool:
    """Return whether the request comes from a process of this account, or of root's."""
    # False as well where the kernel does not report it.
    return account_of(scope) in {_ROOT, os.getuid()}


def account_of(scope: Scope) -> int | None:
    """Return the user id at the other end of a request; None where it is unknown."""
    client, server = scope.get("client"), scope.get("server")
    if not client or not server or not server[1]:
        return None
    try:
        return owner_of((client[0], client[1]), (server[0], server[1]))
    except (OSError, ValueError, struct.error):
        return None


def owner_of(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """Return the user id that owns the socket at `client` of a connection to `server`."""
    # None where there is no such connection, or no process holds that end any more: whoever asked
    # and closed at once would pass for root. The kernel looks up this one (sock_diag(7)):
    # `/proc/net/tcp` would list every connection of the last minute.
    family = socket.AF_INET6 if ":" in client[0] else socket.AF_INET
    ends = b"".join(
        ipaddress.ip_address(host).packed.ljust(16, b"\0") for host, _ in (client, server)
    )
    ports = struct.pack("!HH", client[1], server[1])
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _ANY) + ports + ends
    request += struct.pack("=III", 0, _ANY, _ANY)
    header = _HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.send(header + request)
        answer = kernel.recv(_MOST_BYTES)
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
        return None
    owner, inode = struct.unpack_from("=II", answer, _UID_AT)
    return int(owner) if inode else None
