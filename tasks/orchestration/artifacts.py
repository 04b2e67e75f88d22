"""What a run leaves on Prefect's pages; nothing where Prefect does not run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tasks.orchestration.current_run import in_prefect


def leave(
    kind: Literal["link", "markdown", "table"], key: str, description: str, **what: Any
) -> None:
    """Leave an artifact on the pages of the run and of `key`.

    Parameters
    ----------
    what
        As Prefect names it: ``link`` and ``link_text``; ``markdown``; ``table``, one dictionary a
        row.
    """
    if in_prefect():
        from prefect import artifacts  # defers prefect

        create = getattr(artifacts, f"create_{kind}_artifact")
        create(key=key, description=description, **what)


def emit(event: str, resource: Mapping[str, str], payload: dict[str, Any]) -> str:
    """Emit an event that automations answer; return its id, empty where nobody receives it."""
    if not in_prefect():
        return ""
    from prefect.events import emit_event  # defers prefect

    emitted = emit_event(event=event, resource=dict(resource), payload=payload)
    return str(emitted.id) if emitted else ""
