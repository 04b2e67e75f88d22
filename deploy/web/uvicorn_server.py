"""A server on a socket that is already bound."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp

from deploy.web.bounded_http import BoundedHttp


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
