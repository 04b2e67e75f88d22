"""What a run leaves on Prefect's pages; nothing where Prefect does not run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.orchestration.current_run import in_prefect


def leave_markdown(key: str, markdown: str, description: str) -> None:
    """Leave a text on the pages of the run and of `key`."""
    if in_prefect():
        from prefect.artifacts import create_markdown_artifact

        create_markdown_artifact(key=key, markdown=markdown, description=description)


def leave_table(key: str, table: list[dict[str, Any]], description: str) -> None:
    """Leave a table, one dictionary a row, on the pages of the run and of `key`."""
    if in_prefect():
        from prefect.artifacts import create_table_artifact

        create_table_artifact(key=key, table=table, description=description)


def leave_link(key: str, link: str, text: str, description: str) -> None:
    """Leave a link on the pages of the run and of `key`."""
    if in_prefect():
        from prefect.artifacts import create_link_artifact

        create_link_artifact(key=key, link=link, link_text=text, description=description)


def emit(event: str, resource: Mapping[str, str], payload: dict[str, Any]) -> str:
    """Emit an event that automations answer; return its id, empty where nobody receives it."""
    if not in_prefect():
        return ""
    from prefect.events import emit_event

    emitted = emit_event(event=event, resource=dict(resource), payload=payload)
    return str(emitted.id) if emitted else ""
