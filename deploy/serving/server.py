"""`keepfit serve`, and the stack's `python -m … DESCRIPTOR FILE…`: the prediction server."""

from __future__ import annotations

import asyncio
import gc
import hmac
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from deploy.child_processes import end, launch
from deploy.serving.app import OPEN_PATHS, Limits, PredictionServer
from deploy.stack.environments import common
from deploy.web.basic_authentication import Authentication
from deploy.web.request_guard import Guard
from deploy.web.uvicorn_server import listening, run_server
from tasks.base.errors import UsageError
from tasks.base.pipeline_file import Pipeline, load_pipelines
from tasks.base.runtime.environment import (
    keep_private,
    module_command,
    turn_telemetry_off,
)
from tasks.base.runtime.loopback import is_loopback
from tasks.base.servers.stack_file import BEARER_VARIABLE
from tasks.serving.current_champion import CurrentChampion

logger = logging.getLogger(__name__)
_GRACE_SECONDS = 10
_LOOK_SECONDS = 1.0
_SWITCH_SECONDS = 0.001  # longest that a thread that loads a model may block requests


def serve(
    files: Sequence[Path],
    host: str,
    port: int,
    limits: Limits,
    out: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve predictions until SIGINT or SIGTERM; `out` gets the address once it listens."""
    # Beyond loopback `KEEPFIT_SERVE_TOKEN` must be set. Raises UsageError when the port cannot be
    # used, two files name one pipeline, or a token is needed.
    turn_telemetry_off()
    keep_private()
    token = token_for(host)
    pipelines = load_pipelines(files)
    listener = listening(host, port, "predictions", backlog=2048)
    bound = int(listener.getsockname()[1])
    out(f"http://{f'[{host}]' if ':' in host else host}:{bound}")
    run(pipelines, listener, limits, token)


def run(
    pipelines: Sequence[Pipeline], listener: socket.socket, limits: Limits, token: str | None
) -> None:
    """Serve on a socket; requests under way get ten seconds when a signal ends it."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    sys.setswitchinterval(_SWITCH_SECONDS)
    champions = [CurrentChampion(pipeline) for pipeline in pipelines]
    for champion in champions:
        champion.look()
    gc.collect()
    gc.freeze()
    server = PredictionServer(
        champions, limits, token=token is not None, background=lambda: _deliveries(pipelines)
    )
    # It stops by them itself, and then raises them again for the former handlers.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    app = guarded(server.app(), int(listener.getsockname()[1]), token)
    run_server(app, listener, grace=_GRACE_SECONDS, web_sockets=False)


def guarded(app: ASGIApp, port: int, token: str | None) -> ASGIApp:
    """Return the application behind its token, or, without one, for this machine only."""
    if token is None:
        return Guard(app, port, access=None)
    return BearerAuthentication(app, token, OPEN_PATHS)


async def _deliveries(pipelines: Sequence[Pipeline]) -> None:
    """Keep the process running that delivers predictions to the ledger."""
    process = _started(pipelines)
    try:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if process.poll() is not None:
                logger.warning("the delivery to the ledger ended; it is started again")
                process = _started(pipelines)
    finally:
        # The spool is closed by now: one last look finds all of it.
        end(process, _GRACE_SECONDS)


def _started(pipelines: Sequence[Pipeline]) -> subprocess.Popen[bytes]:
    state = pipelines[0].state
    files = [str(pipeline.path.resolve()) for pipeline in pipelines]
    environ = {**common(state), "KEEPFIT_STATE": os.environ.get("KEEPFIT_STATE", "")}
    if not environ["KEEPFIT_STATE"]:
        del environ["KEEPFIT_STATE"]
    command = module_command("deploy.serving.delivery_process", *files)
    return launch(command, environ, state / "logs" / "delivery.log", state)


def _main(descriptor: str, *files: str) -> None:
    os.umask(0o077)
    turn_telemetry_off()
    listener = socket.socket(fileno=int(descriptor))
    run(load_pipelines([Path(file) for file in files]), listener, Limits(), token_for("127.0.0.1"))


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
            f"{BEARER_VARIABLE} must have {_LEAST} characters or more; got {len(token)}.", remedy
        )
    if not token and not is_loopback(host):
        raise UsageError(
            f"Predictions would be open to everyone who reaches {host}: there is no token.",
            f"{remedy} Or listen on 127.0.0.1.",
        )
    return token or None


if __name__ == "__main__":
    _main(*sys.argv[1:])
