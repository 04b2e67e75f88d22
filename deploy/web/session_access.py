"""Access to the servers of a stack: programs with its password, and browsers that were let in.

A browser is let in by a link that works once. It then holds a cookie that is signed with a key that
nobody is sent, so that the servers share no memory, and a new key ends every session. Browsers send
it to whatever listens on another port of this machine too: it is good only for the account that was
let in. Programs send their password to whatever listens where a stack was: each start has another.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from deploy.web.basic_authentication import basic_credentials
from tasks.base.errors import UsageError
from tasks.base.runtime.files import private_folder
from tasks.base.servers.stack_file import (
    RunningStack,
    program_credentials,
    running_stack,
    stack_key,
)
from tasks.base.text.commands import command

SIGN_IN = "/sign-in/"
LINK_SECONDS = 3_600.0
_SESSION_SECONDS = 30 * 86_400
_LINKS = "links"


class Access:
    """The key of a state folder, made at the first start, and what is made of it."""

    def __init__(self, state: Path) -> None:
        self._credentials = program_credentials(state).encode()
        self._key = stack_key(state).encode()
        self._links = state / _LINKS
        # Ports share cookies: stacks of one person side by side need names of their own.
        self.cookie = f"keepfit-{hashlib.sha256(self._key).hexdigest()[:8]}"

    def new_link(self, page: str) -> str:
        """Return an address below `page` that lets one browser in, once and within an hour."""
        code = secrets.token_urlsafe(24)
        private_folder(self._links)
        for old in self._links.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - old.stat().st_mtime > LINK_SECONDS:
                    old.unlink()
        (self._links / _digest(code)).touch(mode=0o600)
        return f"{page}{SIGN_IN}{code}"

    def redeemed(self, code: str, account: int | None = None) -> str:
        """Use a link up; return the header that sets the cookie, empty where it is not valid."""
        # `account`: user id of the browser; None where the kernel does not report it.
        link = self._links / _digest(code)
        try:
            age = time.time() - link.stat().st_mtime
            link.unlink()
        except OSError:
            return ""
        if age > LINK_SECONDS:
            return ""
        issued = str(int(time.time()))
        return (
            f"{self.cookie}={issued}.{self._signature(issued, account)}; Path=/; HttpOnly; "
            f"SameSite=Strict; Max-Age={_SESSION_SECONDS}"
        )

    def admits(self, headers: Mapping[bytes, bytes], account: int | None = None) -> bool:
        """Return whether a request comes from a program with the key or a browser let in."""
        given = basic_credentials(headers)
        if given is not None:
            return hmac.compare_digest(given, self._credentials)
        try:
            cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            return False
        found = cookies.get(self.cookie)
        issued, _, signature = found.value.partition(".") if found is not None else ("", "", "")
        expected = self._signature(issued, account)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            return False
        return time.time() - int(issued) <= _SESSION_SECONDS

    def _signature(self, issued: str, account: int | None) -> str:
        session = f"session:{issued}:{account}".encode()
        return hmac.new(self._key, session, hashlib.sha256).hexdigest()


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogateescape")).hexdigest()


def running_access(state: Path, file: Path | None = None) -> tuple[RunningStack, Access]:
    """Return the stack that runs on `state`, or that of `file`, and who may use it."""
    stack = running_stack(state)
    if stack is None:
        raise UsageError(f"No stack runs on {state}.", f"Start it: `{command('up', file=file)}`.")
    return stack, Access(state)
