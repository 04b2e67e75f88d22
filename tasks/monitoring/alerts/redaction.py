"""Secrets that are removed from messages and records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import JsonValue, SecretStr

from tasks.base.monitoring_records import Decision
from tasks.base.pipeline_file import Pipeline
from tasks.base.text.redaction import redact, secret_parts


def secrets_of(pipeline: Pipeline) -> tuple[str, ...]:
    """Return every secret of the pipeline file, the longest first."""
    # They are what came from the environment, every address that may hold a password, and those
    # passwords alone: errors of drivers quote them without the rest.
    whole = {*pipeline.secrets, *_values(pipeline.config)}
    parts = {part for value in whole for part in secret_parts(value)}
    return tuple(sorted(parts, key=len, reverse=True))


def without_secrets(decision: Decision, secrets: Sequence[str]) -> Decision:
    """Return `decision` without any of the `secrets`, before anything is cut or escaped."""
    return decision.model_copy(
        update={
            "sentence": redact(decision.sentence, secrets),
            "evidence": {key: _hidden(value, secrets) for key, value in decision.evidence.items()},
            "links": {key: redact(value, secrets) for key, value in decision.links.items()},
        }
    )


def _hidden(value: JsonValue, secrets: Sequence[str]) -> JsonValue:
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, list):
        return [_hidden(item, secrets) for item in value]
    if isinstance(value, dict):
        return {redact(key, secrets): _hidden(item, secrets) for key, item in value.items()}
    return value


def _values(section: Any) -> Iterator[str]:
    if isinstance(section, SecretStr):
        yield section.get_secret_value()
    elif isinstance(section, tuple):
        for item in section:
            yield from _values(item)
    elif hasattr(type(section), "model_fields"):
        for name in type(section).model_fields:
            yield from _values(getattr(section, name))
