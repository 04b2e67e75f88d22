"""The stack's servers: `python -m … KIND DESCRIPTOR STATE` serves on an inherited socket."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn.importer import import_from_string

from deploy.web.page import page_app
from deploy.web.request_guard import Guard
from deploy.web.session_access import Access
from deploy.web.uvicorn_server import run_server
from tasks.registry.mlflow.store import Store

# What MLflow brings beside tracking and registry: an assistant that runs commands on this machine,
# jobs, a gateway with secrets of its own, webhooks that send what is logged to any address, and
# telemetry of its pages.
MLFLOW_CLOSED = frozenset(
    {
        "assistant", "demo", "gateway", "gateway-proxy", "invoke", "jobs", "mcp-servers",
        "prompt-optimization", "ui-telemetry", "v1", "webhooks",
    }
)  # fmt: skip


def prefect_app(state: Path) -> ASGIApp:  # noqa: ARG001 - one signature for all
    """Return Prefect's server with its pages and services, as the environment configures it."""
    from prefect.server.api.server import create_app  # defers prefect

    return create_app()


def mlflow_app(state: Path) -> ASGIApp:
    """Return MLflow's server on the store of `state`, whose database is made first."""
    store = Store.open(state)
    # An interrupted promotion is completed by processes with the ledger and its lock.
    store.prepare()
    artifacts = store.artifacts or state / "mlflow" / "artifacts"
    # As `mlflow server` hands its options to the processes that it starts.
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = store.uri
    os.environ["_MLFLOW_SERVER_REGISTRY_STORE"] = store.uri
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = (artifacts / "default").as_uri()
    os.environ["_MLFLOW_IN_JOB_EXECUTOR"] = "false"
    app: ASGIApp = import_from_string("mlflow.server.fastapi_app:app")
    return app


def keepfit_app(state: Path) -> ASGIApp:
    """Return keepfit's page."""
    return page_app(state)


KINDS = {"prefect": prefect_app, "mlflow": mlflow_app, "page": keepfit_app}


def serve(kind: str, listener: socket.socket, state: Path) -> None:
    """Serve one of the stack's servers on loopback until a signal stops it."""
    port = int(listener.getsockname()[1])
    closed = MLFLOW_CLOSED if kind == "mlflow" else frozenset()
    run_server(Guard(KINDS[kind](state), port, Access(state), closed), listener)


def _main(kind: str, descriptor: str, state: str) -> None:
    # Databases and what else a server makes are its owner's alone.
    os.umask(0o077)
    serve(kind, socket.socket(fileno=int(descriptor)), Path(state))


if __name__ == "__main__":
    _main(*sys.argv[1:4])
