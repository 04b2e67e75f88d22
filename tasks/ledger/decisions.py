"""Decisions: appended, never changed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from tasks.base.errors import InfrastructureError
from tasks.base.monitoring_records import Decision
from tasks.base.runtime.libraries import sa
from tasks.base.text.redaction import redact
from tasks.ledger.storage.database import Database
from tasks.ledger.storage.tables import decisions, insert_absent, stored_time


def record(database: Database, decision: Decision) -> bool:
    """Append a decision, without secrets; return False when its id is there already."""
    plain = Decision.model_validate(_cleaned(decision.model_dump(), database.secrets))
    row = {
        "id": plain.id,
        "pipeline": plain.pipeline,
        "kind": plain.kind,
        "at": stored_time(plain.at),
        "correlation": plain.correlation,
        "version": plain.version,
        "body": plain.model_dump_json(),
    }
    with database.writing("decisions") as connection:
        done = connection.execute(insert_absent(connection, decisions).values(row))
        return bool(done.rowcount)


def _cleaned(value: Any, secrets: Collection[str]) -> Any:
    """Return `value` without secrets, and without what neither UTF-8 nor a database holds."""
    if isinstance(value, str):
        text = value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
        return redact(text, secrets)
    if isinstance(value, dict):
        return {_cleaned(key, secrets): _cleaned(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(inner, secrets) for inner in value]
    return value


def read(
    database: Database,
    pipeline: str | Collection[str] | None = None,
    *,
    kinds: Collection[str] = (),
    correlation: str | None = None,
    version: str | None = None,
    since: datetime | None = None,
    most: int | None = None,
) -> tuple[Decision, ...]:
    """Return decisions, newest first and `most` at most; None or nothing does not restrict."""
    # Raises InfrastructureError when a row holds what keepfit did not write.
    chosen = sa.select(decisions.c.body).order_by(decisions.c.at.desc(), decisions.c.number.desc())
    if not (pipeline is None or isinstance(pipeline, str)):
        chosen, pipeline = chosen.where(decisions.c.pipeline.in_(sorted(pipeline))), None
    equal = {"pipeline": pipeline, "correlation": correlation, "version": version}
    for name, value in equal.items():
        if value is not None:
            chosen = chosen.where(decisions.c[name] == value)
    if kinds:
        chosen = chosen.where(decisions.c.kind.in_(sorted(kinds)))
    if since is not None:
        chosen = chosen.where(decisions.c.at >= stored_time(since))
    if most is not None:
        chosen = chosen.limit(most)
    with database.reading() as connection:
        bodies = connection.execute(chosen).scalars().all()
    try:
        return tuple(Decision.model_validate_json(body) for body in bodies)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise InfrastructureError(
            f"the ledger {database.place} holds a decision that cannot be read: {fault}.",
            "Restore a backup of it, with the keepfit that wrote it or a newer one.",
        ) from None
