"""The process environment that keeps telemetry off and stores in the state folder."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

_TELEMETRY_OFF = {
    "DO_NOT_TRACK": "true",  # MLflow ignores "1"
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
}


_RUN_MODULE = (
    "import sys, runpy; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of keepfit in a process of its own.

    The working folder is not searched (-P): it is a person's, and a file there may have the name
    of a package.
    """
    root = str(Path(__file__).resolve().parents[2])
    return [sys.executable, "-P", "-c", _RUN_MODULE, root, module, *arguments]


def turn_telemetry_off(environ: MutableMapping[str, str] | None = None) -> None:
    """Turn off what Prefect, MLflow and Great Expectations would send; call before importing them.

    Overrides what is set: no telemetry leaves a machine that runs keepfit.
    """
    (os.environ if environ is None else environ).update(_TELEMETRY_OFF)


def keep_prefect_in(state: Path, environ: MutableMapping[str, str] | None = None) -> None:
    """Let Prefect keep its database and results in `state`, unless the environment says where."""
    target = os.environ if environ is None else environ
    target.setdefault("PREFECT_HOME", str(state / "prefect"))
    # What fails is said once, by the front door; the whole log stands in the Prefect run.
    target.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    target.setdefault("PREFECT_RESULTS_DEFAULT_SERIALIZER", "json")
    target.setdefault("PREFECT_CLI_PROMPT", "false")
