"""Artifacts of a run on Prefect's pages; nothing where Prefect does not run it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Literal

from tasks.orchestration.current_run import in_prefect

_LOGGER = logging.getLogger(__name__)
_SENDER = ThreadPoolExecutor(1, "artifacts")
_sent: list[Future[Any]] = []


def leave(
    kind: Literal["link", "markdown", "table"], key: str, description: str, **what: Any
) -> None:
    """Leave an artifact on the pages of the run and of `key`, beside what follows; see `wait`."""
    # `what`, as Prefect names it: `link` and `link_text`; `markdown`; `table`, a dictionary a row.
    if in_prefect():
        from prefect import artifacts  # defers prefect

        create = getattr(artifacts, f"create_{kind}_artifact")
        create = partial(create, key=key, description=description, **what)
        _sent.append(_SENDER.submit(copy_context().run, create))


def wait() -> None:
    """Wait for the artifacts that are on their way; one that was refused is worth a warning."""
    while _sent:
        error = _sent.pop().exception()
        if error is not None:
            _LOGGER.warning("an artifact is missing on Prefect's pages: %s", error)


def emit(event: str, resource: Mapping[str, str], payload: dict[str, Any]) -> str:
    """Emit an event for automations; return its id, empty where nobody receives it."""
    if not in_prefect():
        return ""
    from prefect.events import emit_event  # defers prefect

    emitted = emit_event(event=event, resource=dict(resource), payload=payload)
    return str(emitted.id) if emitted else ""
