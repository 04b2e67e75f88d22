"""A connection to the Prefect API in use, whose failures are keepfit's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.base.errors import InfrastructureError, KeepfitError, TransientError, UsageError
from tasks.base.servers.stack_file import running_stack
from tasks.orchestration.libraries import httpx, prefect_client, prefect_errors
from tasks.orchestration.prefect_api import check_configured, configured_api

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse


def api_in_use(states: Iterable[Path]) -> tuple[str, str]:
    """Return address and ``user:password``, if not the environment's, of the API in use."""
    # Raises UsageError when there is none; InfrastructureError when it does not respond.
    api, credentials = configured_api(), ""
    for state in states:
        stack = running_stack(state) if api is None else None
        if stack is not None:
            api, credentials = stack.prefect_api, stack.credentials
    if api is None:
        raise UsageError(
            "No Prefect API is configured, and no stack runs here.",
            "Set PREFECT_API_URL (or a Prefect profile) to a server's address, or start "
            "`keepfit up`.",
        )
    check_configured(api)
    return api, credentials


@contextmanager
def speaking_to(api: str, credentials: str = "") -> Iterator[None]:
    """Let this block talk to the API at `api`, as ``user:password`` or the environment's."""
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        temporary_settings,
    )  # defers prefect

    login = {PREFECT_API_AUTH_STRING: credentials} if credentials else {}
    with temporary_settings({PREFECT_API_URL: api, **login}):
        yield


@contextmanager
def connected() -> Iterator[SyncPrefectClient]:
    """Yield a client of the Prefect API in use; TransientError when that does not respond."""
    try:
        with prefect_client.get_client(sync_client=True) as client:
            yield client
    except KeepfitError:
        raise
    except httpx.HTTPStatusError as error:
        raise _refusal(error) from None
    except httpx.HTTPError as error:
        raise TransientError(
            f"The Prefect API does not answer: {type(error).__name__}.",
            "See that its server runs, and that PREFECT_API_URL names it.",
        ) from None


def _refusal(error: object) -> InfrastructureError:
    response = error.response  # type: ignore[attr-defined]
    if response.status_code in (401, 403):
        return InfrastructureError(
            "The Prefect API requires authentication.",
            "Set PREFECT_API_AUTH_STRING (a server of your own) or PREFECT_API_KEY (Cloud).",
        )
    return InfrastructureError(
        f"The Prefect API refused {response.request.method} {response.request.url.path} with "
        f"status {response.status_code}: {response.text[:300]}",
        "`keepfit doctor` compares the server's version with the tested ones.",
    )


def deployment_named(client: SyncPrefectClient, name: str) -> DeploymentResponse:
    """Return the deployment `name`, such as ``training/flights``, or InfrastructureError."""
    try:
        return client.read_deployment_by_name(name)
    except prefect_errors.ObjectNotFound:
        raise InfrastructureError(
            f"The Prefect API has no deployment {name}.",
            "`keepfit up` or `keepfit deploy --pool NAME` makes it.",
        ) from None
