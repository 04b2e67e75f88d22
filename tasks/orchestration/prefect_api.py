"""The Prefect API that runs the flows of a command, where one is named."""

from __future__ import annotations

import http.client
import os
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

from tasks.base.errors import InfrastructureError
from tasks.base.servers.stack_file import prefect_login
from tasks.base.text.redaction import without_credentials


def configured_api(environ: dict[str, str] | None = None) -> str | None:
    """Return the Prefect API that the environment or the active Prefect profile names."""
    variables = dict(os.environ) if environ is None else environ
    if variables.get("PREFECT_API_URL"):
        return variables["PREFECT_API_URL"]
    home = Path(variables.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = Path(variables.get("PREFECT_PROFILES_PATH", str(home / "profiles.toml")))
    try:
        content = tomllib.loads(profiles.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return None
    active = variables.get("PREFECT_PROFILE") or content.get("active", "")
    url = content.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")
    return str(url) if url else None


def use_api(url: str | None, credentials: str = "") -> None:
    """Let Prefect talk to the API at `url`, or none, as ``user:password`` or the environment's."""
    # Prefect reads its environment when it is imported: where that was earlier, it reads it anew.
    if url is None:
        os.environ.pop("PREFECT_API_URL", None)
    else:
        os.environ["PREFECT_API_URL"] = url
    if credentials:
        os.environ.update(prefect_login(credentials))
    if imported := sys.modules.get("prefect.context"):
        imported.refresh_global_settings_context()


def check_configured(url: str) -> None:
    """Raise when the API that the environment names does not respond."""
    if not answers(url, 5.0):
        raise InfrastructureError(
            f"The Prefect API at {without_credentials(url)} does not answer.",
            "Start it, or unset PREFECT_API_URL (and the Prefect profile's): the flow then runs "
            "without Prefect.",
        )


def answers(url: str, timeout: float) -> bool:
    """Return whether a Prefect API responds at `url` within `timeout` seconds."""
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}/health")  # noqa: S310 - http(s) only
        if request.type not in {"http", "https"}:
            return False
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code in {401, 403}
    except (OSError, ValueError, http.client.HTTPException):
        return False
