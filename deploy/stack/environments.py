"""Environment of each part: its store, its restrictions, and the addresses of the others."""

from __future__ import annotations

import json
import os
import site
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from deploy.prefect.flow_heartbeat import HEARTBEAT_SECONDS
from tasks.base.errors import UsageError
from tasks.base.runtime.environment import REGISTERED_VARIABLE, keep_prefect_in, turn_telemetry_off
from tasks.base.servers.stack_file import prefect_login
from tasks.base.settings.database_addresses import fault_of
from tasks.contracts.shared_checker import VARIABLE as CHECKER

PREFECT_DATABASE = "KEEPFIT_PREFECT_DATABASE"
MLFLOW_DATABASE = "KEEPFIT_MLFLOW_DATABASE"
_EVENTS = timedelta(days=30)
_LEAST = timedelta(hours=2)
_DROPPED = frozenset(
    {
        "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING",
        "PREFECT_CLIENT_CUSTOM_HEADERS", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH",
        "PREFECT_API_DATABASE_CONNECTION_URL", PREFECT_DATABASE, MLFLOW_DATABASE,
    }
)  # fmt: skip


@dataclass(frozen=True)
class Databases:
    """Addresses of the servers' databases; empty where SQLite in the state folder is used."""

    prefect: str = ""
    mlflow: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Secrets among them, never shown."""
        passwords = (urlsplit(url).password or "" for url in (self.prefect, self.mlflow) if url)
        return tuple(filter(None, (*passwords, self.prefect, self.mlflow)))


def databases(
    prefect: str | None, mlflow: str | None, environ: Mapping[str, str] | None = None
) -> Databases:
    """Return the databases that the arguments name, else the environment, else none.

    Raises UsageError when one is no address of a PostgreSQL database, an argument holds a password,
    which every account of this machine would see, or ``MLFLOW_TRACKING_URI`` names a server.

    >>> databases("postgresql://db/prefect", None, {}).prefect
    'postgresql+asyncpg://db/prefect'
    """
    variables = os.environ if environ is None else environ
    for given, variable in ((prefect, PREFECT_DATABASE), (mlflow, MLFLOW_DATABASE)):
        login = (given or "").partition("://")[2].rpartition("@")[0]
        if ":" in login or "password=" in (given or ""):
            raise UsageError(
                "A password on the command line is seen by every account of this machine.",
                f"Set {variable} in the environment instead.",
            )
    tracking = variables.get("MLFLOW_TRACKING_URI", "").strip()
    if tracking.startswith(("http:", "https:")):
        raise UsageError(
            "MLFLOW_TRACKING_URI names a server; the stack brings its own and adopts none.",
            "Unset it, or put the deployments onto your servers with `keepfit deploy`.",
        )
    named = variables.get(MLFLOW_DATABASE) or (tracking if "postgresql" in tracking else "")
    return Databases(
        _postgres(prefect or variables.get(PREFECT_DATABASE, ""), "asyncpg", PREFECT_DATABASE),
        _postgres(mlflow or named, "psycopg", MLFLOW_DATABASE),
    )


def _postgres(url: str, driver: str, variable: str) -> str:
    if not url:
        return ""
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        raise UsageError(
            f"{variable} (or its option) is no address of a PostgreSQL database.",
            "Write postgresql://user:password@host/database, or leave it out for SQLite.",
        )
    fault = fault_of(f"postgresql://{rest}")
    if fault:
        raise UsageError(
            f"{variable} (or its option) cannot be used: {fault}.",
            "Write postgresql://user:password@host/database, or leave it out for SQLite.",
        )
    return f"postgresql+{driver}://{rest}"


def common(state: Path) -> dict[str, str]:
    """Return the variables of every part: no telemetry, no proxy to itself, no profile."""
    environ = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    turn_telemetry_off(environ)
    environ["PREFECT_HOME"] = str(state / "prefect")
    keep_prefect_in(state, environ)
    environ["KEEPFIT_STATE"] = str(state)
    return environ


def of_prefect(state: Path, url: str, database: str, retention: timedelta) -> dict[str, str]:
    """Return the environment of Prefect's server at `url`."""
    keep = max(retention, _LEAST)
    environ = {
        **common(state),
        "PREFECT_API_URL": "",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": url.rpartition(":")[2],
        "PREFECT_SERVER_UI_ENABLED": "true",
        "PREFECT_SERVER_UI_API_URL": f"{url}/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{url},{url.replace('127.0.0.1', 'localhost')}",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        # Leases in memory outlive a killed server's clients; files are freed when they expire.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
            "prefect.server.concurrency.lease_storage.filesystem"
        ),
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs,orphans",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(int(keep.total_seconds())),
        "PREFECT_SERVER_SERVICES_DB_VACUUM_EVENT_RETENTION_OVERRIDES": (
            '{"prefect.flow-run.heartbeat": 86400}'
        ),
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"PT{int(min(keep, _EVENTS).total_seconds())}S",
    }
    if database:
        environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
    else:
        path = state / "prefect" / "prefect.db"
        environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{path}"
    return environ


def of_mlflow(state: Path, url: str, database: str) -> dict[str, str]:
    """Return the environment of MLflow's server at `url`."""
    port = url.rpartition(":")[2]
    environ = {
        **common(state),
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{port},localhost:{port}",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"{url},{url.replace('127.0.0.1', 'localhost')}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
        "MLFLOW_SERVER_X_FRAME_OPTIONS": "SAMEORIGIN",
    }
    return _with_store(environ, database)


def of_runner(
    state: Path, prefect_api: str, credentials: str, database: str, files: Sequence[str]
) -> dict[str, str]:
    """Return the environment of the runner and of the runs of `files` that it starts."""
    environ = {
        **common(state),
        "PREFECT_API_URL": prefect_api,
        **prefect_login(credentials),
        REGISTERED_VARIABLE: json.dumps(dict.fromkeys(files, "")),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        CHECKER: str(state),
        # Flow runs are started in the working folder; its files are not modules.
        "PYTHONSAFEPATH": "1",
    }
    root = str(Path(__file__).resolve().parents[2])
    if root not in (*site.getsitepackages(), site.getusersitepackages()):
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (environ.get("PYTHONPATH"), root)))
    return _with_store(environ, database)


def of_housekeeping(state: Path, database: str) -> dict[str, str]:
    """Return the environment of what looks after the stores: they are the runner's."""
    return _with_store(common(state), database)


def _with_store(environ: dict[str, str], database: str) -> dict[str, str]:
    environ.pop("MLFLOW_TRACKING_URI", None)
    if database:
        environ["MLFLOW_TRACKING_URI"] = database
    return environ
