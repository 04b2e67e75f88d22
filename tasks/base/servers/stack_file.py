"""The stack that `keepfit up` runs, as other commands and pages find it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
from datetime import datetime
from pathlib import Path

from pydantic import Field, ValidationError

from tasks.base.errors import InfrastructureError
from tasks.base.monitoring_records import is_of_prefect
from tasks.base.runtime.files import private_folder, write_whole
from tasks.base.runtime.locks import is_held
from tasks.base.text.redaction import without_credentials
from tasks.base.training_records import Record

FILE = "stack.json"
LOCK = "stack.lock"
STOPPED = "stack.stopped"
KEY = "stack.key"
PROGRAMS = "stack.programs"
USER = "keepfit"
BEARER_VARIABLE = "KEEPFIT_SERVE_TOKEN"  # the bearer token of a prediction server


def prefect_is_named() -> bool:
    """Return whether Prefect runs the flows, so that an alarm can start a training."""
    return bool(os.environ.get("PREFECT_API_URL"))


class RunningStack(Record):
    """Addresses of the parts of a running stack."""

    pid: int
    prefect_api: str  # address of Prefect's API, ending in `/api`
    prefect: str  # prefect, mlflow, page: addresses of their pages without a final slash
    mlflow: str
    page: str
    predictions: str = ""  # address of the prediction server; empty where the stack has none
    started: datetime
    pipelines: tuple[str, ...] = ()
    # `user:password` that all of them require; never written here.
    credentials: str = Field("", exclude=True, repr=False)
    token: str = Field("", exclude=True, repr=False)  # that predictions require

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which Prefect's and MLflow's own clients reach the stack."""
        user, _, password = self.credentials.partition(":")
        return {
            "PREFECT_API_URL": self.prefect_api,
            **prefect_login(self.credentials),
            "MLFLOW_TRACKING_URI": self.mlflow,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
            **({BEARER_VARIABLE: self.token} if self.predictions else {}),
        }


def prefect_login(credentials: str) -> dict[str, str]:
    """Return the variables by which Prefect's clients state ``user:password``."""
    # Its subscribers to events state the first only within an open web socket: they get none.
    header = f"Basic {base64.b64encode(credentials.encode()).decode('ascii')}"
    return {
        "PREFECT_API_AUTH_STRING": credentials,
        "PREFECT_CLIENT_CUSTOM_HEADERS": json.dumps({"Authorization": header}),
    }


def stack_key(state: Path, name: str = KEY) -> str:
    """Return the secret that signs browsers' sessions, or another; made where there is none."""
    # Raises InfrastructureError when others may read or have written it.
    path = private_folder(state) / name
    if not path.exists():
        descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{name}.")
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        # Whole at once, and the first of two that start together.
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
        Path(beside).unlink()
    return _kept_key(path)


def program_credentials(state: Path) -> str:
    """Return ``user:password`` by which programs use the servers of `state`."""
    return f"{USER}:{stack_key(state, PROGRAMS)}"


def renew_program_credentials(state: Path) -> None:
    """Let the next start have another password: a stopped stack's port may be anybody's."""
    (state / PROGRAMS).unlink(missing_ok=True)


def prediction_token(state: Path) -> str:
    """Return the bearer token of the stack's predictions; it opens no other server, and stays."""
    return hmac.new(stack_key(state).encode(), b"predictions", hashlib.sha256).hexdigest()


def _kept_key(path: Path) -> str:
    with path.open("rb") as file:
        found, key = os.fstat(file.fileno()), file.read(1_000).decode("ascii", "replace").strip()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077 or len(key) < 32:
        raise InfrastructureError(
            f"The key of the stack, {path}, is not yours alone (or is damaged): who reads it "
            "runs code as you.",
            f"Remove it, and the next start makes another: rm {path}",
        )
    return key


def write_stack(state: Path, stack: RunningStack) -> None:
    """Record the addresses of the stack of `state`; its process holds the lock meanwhile."""
    write_whole(state / FILE, stack.model_dump_json(indent=1))


def running_stack(state: Path) -> RunningStack | None:
    """Return the stack that runs on `state`; None when no living process holds its lock."""
    try:
        found = RunningStack.model_validate_json((state / FILE).read_bytes())
        if not is_held(state / LOCK):
            return None
        # A stack of an earlier version has its key only, or none.
        name = next((name for name in (PROGRAMS, KEY) if (state / name).exists()), "")
        if not name:
            return found
        given = {
            "credentials": f"{USER}:{_kept_key(state / name)}", "token": prediction_token(state),
        }  # fmt: skip
    except (OSError, ValidationError):
        return None
    return found.model_copy(update=given)


def note_stopped(state: Path, moment: datetime) -> None:
    """Write when a person stopped the stack: what ran then was not lost."""
    write_whole(state / STOPPED, moment.isoformat())


def stopped_at(state: Path) -> datetime | None:
    """Return when the stack was stopped last; None where it never was, or was killed."""
    try:
        return datetime.fromisoformat((state / STOPPED).read_text("ascii"))
    except (OSError, ValueError):
        return None


def prefect_run_page(state: Path, flow_run: str) -> str | None:
    """Return the address of a flow run's page; None where Prefect has or serves none."""
    if not is_of_prefect(flow_run):
        return None
    stack = running_stack(state)
    named = os.environ.get("PREFECT_API_URL", "")
    base = stack.prefect if stack else without_credentials(named).rstrip("/").removesuffix("/api")
    return f"{base}/runs/flow-run/{flow_run}" if base else None


def mlflow_server(state: Path) -> str:
    """Return the address of the server with MLflow's pages, empty where none is known."""
    stack = running_stack(state)
    base = stack.mlflow if stack else os.environ.get("MLFLOW_TRACKING_URI", "")
    if not base.startswith(("http://", "https://")):
        return ""
    return without_credentials(base).rstrip("/")


def mlflow_run_page(state: Path, experiment: str, run_id: str) -> str | None:
    """Return the address of an MLflow run's page; None where no MLflow pages are served."""
    base = mlflow_server(state)
    if not base or not run_id:
        return None
    return f"{base}/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"
