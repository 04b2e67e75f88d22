"""Reference of the pipeline file's keys, generated from the models that check them."""

from __future__ import annotations

from dataclasses import astuple
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tasks.base.config import PipelineConfig
from tasks.base.errors import UsageError
from tasks.base.pipeline_file import nearest
from tasks.base.settings.document_validation import models_in, tag_of
from tasks.base.training_records import Record

_BOUNDS = {"Ge": "≥", "Gt": ">", "Le": "≤", "Lt": "<", "MinLen": "length ≥", "MaxLen": "length ≤"}


class KeyEntry(Record):
    """One key: its path, allowed values, default and meaning."""

    key: str
    takes: str
    default: str
    about: str

    def sentence(self) -> str:
        """Return the entry as a line or two of text."""
        about = f"\n    {self.about}" if self.about else ""
        default = "required" if self.default == "required" else f"default {self.default}"
        return f"{self.key}: {self.takes} ({default}){about}"


def schema() -> dict[str, Any]:
    """Return the JSON schema of the pipeline file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "keepfit pipeline",
        **PipelineConfig.model_json_schema(),
    }


def explain(key: str | None = None) -> list[KeyEntry]:
    """Return the entries of `key` and below it, or all; raises UsageError with the nearest key."""
    entries = list(_entries(PipelineConfig, ""))
    if key is None:
        return entries
    found = [e for e in entries if e.key == key or e.key.startswith(f"{key}.")]
    if not found:
        found = [e for e in entries if e.key.rsplit(".", 1)[-1] == key]
    if not found:
        raise UsageError(
            f"No key {key!r} in a pipeline file.", nearest(key, [e.key for e in entries])
        )
    return found


def _entries(model: type[BaseModel], prefix: str) -> list[KeyEntry]:
    entries: list[KeyEntry] = []
    for name, field in model.model_fields.items():
        sections = [m for m in models_in(field.annotation) if m is not model]
        about = field.description or (sections[0].__doc__ or "" if len(sections) == 1 else "")
        bounds = [
            f"{_BOUNDS[type(part).__name__]} {astuple(part)[0]}"
            for part in field.metadata
            if type(part).__name__ in _BOUNDS
        ]
        entry = KeyEntry(
            key=f"{prefix}{name}",
            takes=", ".join((_words(field.annotation), *bounds)),
            default=_default(field),
            about=about.strip().splitlines()[0] if about else "",
        )
        entries += [entry, *_inner(sections, entry.key)]
    return entries


def _inner(sections: list[type[BaseModel]], key: str) -> list[KeyEntry]:
    """Return the keys of a section; of one with several kinds, each with those that have it."""
    found: dict[str, dict[str, KeyEntry]] = {}
    for section in sections:
        for entry in _entries(section, f"{key}."):
            found.setdefault(entry.key, {})[tag_of(section)] = entry
    return [_merged(of, len(sections)) for of in found.values()]


def _merged(of: dict[str, KeyEntry], kinds: int) -> KeyEntry:
    """Return one entry of those that the kinds of a section have for a key."""
    entries = list(of.values())
    about = next((e.about for e in entries if e.about), "")
    return KeyEntry(
        key=entries[0].key,
        takes=" | ".join(dict.fromkeys(e.takes for e in entries)),
        default=" | ".join(dict.fromkeys(e.default for e in entries)),
        about=": ".join(filter(None, (", ".join(of) if len(of) < kinds else "", about))),
    )


def _words(annotation: Any) -> str:
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Literal:
        return " | ".join(str(a) for a in arguments)
    if origin in (Union, UnionType):
        return " | ".join(_words(a) for a in arguments if a is not type(None))
    if origin is tuple:
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return f"mapping of {_words(arguments[0])} to {_words(arguments[1])}"
    if arguments:
        return _words(arguments[0])
    plain = {
        "str": "text", "int": "whole number", "float": "number", "bool": "true | false",
        "timedelta": "duration such as 120s, 2h, 7d", "SecretStr": "text, from ${ENV}",
    }  # fmt: skip
    name = getattr(annotation, "__name__", str(annotation))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        kind = tag_of(annotation)
        return f"section of kind {kind}" if kind else "section"
    return plain.get(name, name)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "absent"
    if isinstance(value, BaseModel):
        return "as below"
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value)
