"""`keepfit page`: keepfit's page where no `keepfit up` serves it, beside the user's own servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.types import ASGIApp

from deploy.web.basic_authentication import BasicAuthentication
from deploy.web.page import page_app
from deploy.web.request_guard import Guard
from deploy.web.session_access import Access
from deploy.web.uvicorn_server import listening, run_server
from tasks.base.errors import UsageError
from tasks.base.runtime.loopback import is_loopback

AUTHENTICATION = "KEEPFIT_PAGE_AUTH"


def serve_page(
    state: Path, host: str, port: int, out: Callable[[str], None] = lambda _: None
) -> None:
    """Serve the page and reports of `state` until SIGINT or SIGTERM."""
    # Beyond loopback `KEEPFIT_PAGE_AUTH` must hold `user:password`. `out` receives the address once
    # it is listened on; without a password, as a link that lets one browser in.
    credentials = page_credentials(host)
    listener = listening(host, port, "the page", backlog=128)
    bound = int(listener.getsockname()[1])
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{bound}"
    out(address if credentials else Access(state).new_link(address))
    run_server(guarded_page(state, bound, credentials), listener)


def guarded_page(state: Path, port: int, credentials: str | None) -> ASGIApp:
    """Return the page behind its password, or, without one, for the owner of `state` only."""
    if credentials is None:
        return Guard(page_app(state), port, Access(state))
    return BasicAuthentication(page_app(state), credentials, ("/health",))


def page_credentials(host: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return ``user:password`` of the page; None where it listens on loopback without one.

    Raises UsageError when the variable is malformed, or is absent and `host` is not loopback.

    >>> page_credentials("127.0.0.1", {}) is None
    True
    """
    variables = os.environ if environ is None else environ
    stated = variables.get(AUTHENTICATION, "").strip()
    user, colon, password = stated.partition(":")
    remedy = f"Set {AUTHENTICATION}=user:password in the environment."
    if stated and not (user and colon and password):
        raise UsageError(f"{AUTHENTICATION} must hold a user, a colon and a password.", remedy)
    if not stated and not is_loopback(host):
        raise UsageError(
            f"The page would be open to everyone who reaches {host}: it has no password.",
            f"{remedy} Or listen on 127.0.0.1.",
        )
    return stated or None
