"""pydantic's findings as sentences that name file, line, key, rule, value and remedy."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tasks.base.errors import ConfigError
from tasks.base.settings.yaml_document import Document, Location

Model = TypeVar("Model", bound=BaseModel)


def validate_document(
    model: type[Model], values: Any, document: Document, explain: str = ""
) -> Model:
    """Return `values` as a `model`; ConfigError has a line per finding, in the file's order."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        findings = [_finding(model, detail, values, document) for detail in error.errors()]
    sentences = [text for _, text in sorted(findings, key=lambda f: f[0])]
    raise ConfigError("\n".join(sentences), f"`{explain} KEY` explains a key." if explain else "")


def _finding(
    model: type[BaseModel], detail: ErrorDetails, values: Any, document: Document
) -> tuple[int, str]:
    location = _in_file(detail["loc"], values)
    key = ".".join(str(part) for part in location)
    kind = detail["type"]
    missing = ""
    if kind == "missing":
        missing = str(detail["loc"][-1])
        text = f"the key `{missing}` is required"
    elif kind == "extra_forbidden":
        text = _unknown(model, detail["loc"], str(location[-1]))
    elif kind == "union_tag_invalid":
        context = detail.get("ctx", {})
        text = f"`{key}.kind` is {context.get('tag')!r}; one of: {context.get('expected_tags')}"
        location = (*location, "kind")
    elif kind == "union_tag_not_found":
        text = f"`{key}` needs a `kind`"
    elif kind == "contradiction":
        text = detail["msg"]
        at = detail["ctx"]["at"]
        location = (*location, *(at if isinstance(at, tuple) else (at,)))
    else:
        # As the file writes it: what ${ENV} brought in is never shown.
        text = _sentence(key, detail, _value_at(document.values, location))
    line = document.line_of(location)
    return line, f"{document.path}, line {line}: {text.rstrip('.')}."


def _sentence(key: str, detail: ErrorDetails, value: Any) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if not key:
        return message
    if isinstance(value, dict | list) and len(str(value)) > 60:
        return f"`{key}`: {message}"
    share = isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 100
    hint = f". Write {value / 100:g} for {value:g} %" if share and "than 1" in message else ""
    if detail["type"] == "literal_error" and isinstance(value, str):
        near = get_close_matches(value, re.findall(r"'([^']*)'", message), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
    if detail["type"] == "string_pattern_mismatch" and key == "name":
        message = (
            "a name is 1 to 64 lower-case letters, digits, - and _, starting with a letter or digit"
        )
    return f"`{key}`: {message}; got {_short(value)}{hint}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _unknown(model: type[BaseModel], location: tuple[int | str, ...], name: str) -> str:
    owner = _model_at(model, location[:-1])
    allowed = sorted(owner.model_fields) if owner else []
    near = get_close_matches(name, allowed, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else "."
    return f"unknown key `{name}`{hint} Allowed here: {', '.join(allowed)}"


def _in_file(location: tuple[int | str, ...], values: Any) -> Location:
    """Drop the parts that pydantic adds (tags of unions) and the file does not have."""
    kept: list[int | str] = []
    here = values
    for part in location:
        named = isinstance(here, dict) and part in here
        placed = isinstance(here, list) and isinstance(part, int) and part < len(here)
        if named or placed:
            here = here[part]
            kept.append(part)
    return tuple(kept)


def _value_at(values: Any, location: Location) -> Any:
    for part in location:
        values = values[part]
    return values


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the model that holds the key at `location` of an error in `model`."""
    here: list[type[BaseModel]] = [model]
    for part in location:
        tagged = [m for m in here if tag_of(m) == part]
        if tagged:
            here = tagged
            continue
        fields = [owner.model_fields.get(str(part)) for owner in here]
        here = [m for field in fields if field for m in models_in(field.annotation)] or here
    return here[0] if here else None


def tag_of(model: type[BaseModel]) -> str:
    """Return the `kind` by which the file names a section; empty for one without."""
    field = model.model_fields.get("kind")
    options = get_args(field.annotation) if field else ()
    return str(options[0]) if len(options) == 1 else ""


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a key may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in get_args(annotation) for m in models_in(a)]
