"""A server on a socket that is already bound."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp


def run_server(app: ASGIApp, listener: socket.socket) -> None:
    """Serve `app` until a signal says to stop; a request gets two seconds to end."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        lifespan="on",
        ws_max_size=1_000_000,
    )
    uvicorn.Server(config).run(sockets=[listener])
