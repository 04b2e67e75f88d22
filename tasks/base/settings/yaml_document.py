"""YAML read safely, with the line of every value, for errors that point at the place."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expectations.engine.lazy_imports import Deferred
from tasks.base.errors import ConfigError
from tasks.base.text.terminal import know_names, without_marks

if TYPE_CHECKING:
    from ruamel import yaml
    from ruamel.yaml import comments as yaml_comments
    from ruamel.yaml import error as yaml_error
    from ruamel.yaml import scalarstring as yaml_scalars
else:
    yaml = Deferred("ruamel.yaml")
    yaml_comments = Deferred("ruamel.yaml.comments")
    yaml_error = Deferred("ruamel.yaml.error")
    yaml_scalars = Deferred("ruamel.yaml.scalarstring")

Location = tuple[str | int, ...]

MAX_BYTES = 5_000_000
MAX_DEPTH = 40
_ONE_LINE = 90
_HARMLESS = re.compile(r"[^\W_][\w .+/()-]*(?<! )")


@dataclass(frozen=True)
class Document:
    """Plain values of a YAML file and the line (from 1) on which each of them starts."""

    path: Path
    text: str
    values: Any
    lines: dict[Location, int]

    def line_of(self, location: Location) -> int:
        """Return the line of the deepest part of `location` that is in the file."""
        for length in range(len(location), -1, -1):
            if location[:length] in self.lines:
                return self.lines[location[:length]]
        return 1


_QUOTE = (
    "Put a text that holds one of : # { } [ ] , & * ? | > % @ ` in quotes; close what is opened."
)


def read_yaml(path: Path, example: str = "keepfit init") -> Document:
    """Read one YAML 1.2 document of plain values; raises ConfigError when it is anything else."""
    # Anchors, aliases and tags are refused: none is needed, and each can hide something.
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file.", f"Write one with `{example}`, or name another file."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: {len(raw):,} bytes; at most {MAX_BYTES:,} are read.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}, line {line}: not UTF-8 text.", "Save the file as UTF-8."
        ) from None
    return parse_yaml(text, path)


@lru_cache(maxsize=1024)
def parse_yaml(text: str, path: Path) -> Document:
    """Parse `text`; `path` only names it in errors."""
    # A process that shows many pipelines again and again parses what changed only.
    lines: dict[Location, int] = {}
    try:
        loader = yaml.YAML(typ="safe", pure=True)
        parser = loader.parser
        parser.get_event = _plain_events(parser.get_event, path)
        node = loader.compose(text)
        constructor = loader.constructor
        values = {} if node is None else _plain(node, constructor, path, (), lines)
    except yaml_error.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(
            f"{path}, line {line}: not valid YAML: {error.problem or error.context}.", _QUOTE
        ) from None
    except (yaml_error.YAMLError, ValueError, RecursionError) as error:
        line = text.count("\n", 0, getattr(error, "position", None) or 0) + 1
        raise ConfigError(
            f"{path}, line {line}: not valid YAML: {str(error).splitlines()[0]}.", _QUOTE
        ) from None
    know_names(part for location in lines for part in location)
    know_names(_words(values))
    return Document(path, text, values, lines)


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _words(inner)


def _plain_events(get_event: Callable[[], Any], path: Path) -> Callable[[], Any]:
    """Return `get_event` of a parser, refusing what is more than plain values."""
    depth = 0

    def checked() -> Any:
        nonlocal depth
        event = get_event()
        line = event.start_mark.line + 1
        name = type(event).__name__
        if name == "AliasEvent" or getattr(event, "anchor", None):
            raise ConfigError(
                f"{path}, line {line}: anchors and aliases (& and *) are not allowed.",
                "Write the value out, or put it in quotes.",
            )
        tag = getattr(event, "tag", None)
        if name in {"ScalarEvent", "MappingStartEvent", "SequenceStartEvent"} and tag:
            raise ConfigError(
                f"{path}, line {line}: the tag {tag} is not allowed; values are plain.",
                "Remove the tag, or put the value in quotes.",
            )
        if "\0" in str(getattr(event, "value", "")):
            raise ConfigError(
                f"{path}, line {line}: a NUL character; no name or path holds one.", "Remove it."
            )
        depth += name.endswith("StartEvent") - name.endswith("EndEvent")
        if depth > MAX_DEPTH:
            raise ConfigError(
                f"{path}, line {line}: nested deeper than {MAX_DEPTH} levels.",
                "Nothing in a file needs that: see `keepfit config schema`.",
            )
        return event

    return checked


def _plain(
    node: Any, constructor: Any, path: Path, location: Location, lines: dict[Location, int]
) -> Any:
    lines[location] = node.start_mark.line + 1
    kind = type(node).__name__
    if kind == "MappingNode":
        return _mapping(node, constructor, path, location, lines)
    if kind == "SequenceNode":
        return [
            _plain(child, constructor, path, (*location, index), lines)
            for index, child in enumerate(node.value)
        ]
    try:
        return constructor.construct_object(node)
    except ValueError:
        line = lines[location]
        raise ConfigError(
            f"{path}, line {line}: no number or date that can be used.",
            "Put it in quotes if it is a text.",
        ) from None


def _mapping(
    node: Any, constructor: Any, path: Path, location: Location, lines: dict[Location, int]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if type(key_node).__name__ != "ScalarNode":
            raise ConfigError(f"{path}, line {line}: a key must be plain text.", _QUOTE)
        key = str(key_node.value)
        if key in values:
            first = lines[(*location, key)]
            raise ConfigError(
                f"{path}, line {line}: the key {key!r} stands twice; first on line {first}.",
                "Keep one of the two.",
            )
        values[key] = _plain(value_node, constructor, path, (*location, key), lines)
        lines[(*location, key)] = line
    return values


def edited_yaml(text: str, edits: Iterable[tuple[Location, Any]], gone: object) -> str:
    """Return a YAML text with values put at locations (`gone` removes); comments and order stay."""
    editor = yaml.YAML(typ="rt", pure=True)
    editor.preserve_quotes = True
    editor.allow_unicode = True
    editor.width = 1_000_000
    editor.indent(mapping=2, sequence=4, offset=2)
    document = editor.load(text)
    for location, value in edits:
        here = document
        for part in location[:-1]:
            if isinstance(part, str) and here.get(part) is None:
                here[_quoted(part)] = yaml_comments.CommentedMap()
            here = here[part]
        last = location[-1]
        if value is gone:
            here.pop(last, None)
        else:
            new = isinstance(last, str) and last not in here
            here[_laid_out(last) if new else last] = _laid_out(value)
    out = io.StringIO()
    editor.dump(document, out)
    made = out.getvalue()
    return made if without_marks(text) != text else without_marks(made)


def dump_yaml(values: Any) -> str:
    """Return `values` (plain dicts, lists and scalars) as YAML in the order given."""
    # What is short and innermost is on one line. No text is wrapped: a split key is not read.
    writer = yaml.YAML(typ="rt", pure=True)
    writer.allow_unicode = True
    writer.width = 1_000_000
    writer.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    writer.dump(_laid_out(values), out)
    # What holds such marks is quoted doubly, where they are written so.
    return without_marks(out.getvalue())


def _laid_out(value: Any) -> Any:
    if isinstance(value, str):
        return _quoted(value)
    if not isinstance(value, dict | list):
        return value
    made: Any
    if isinstance(value, dict):
        made = yaml_comments.CommentedMap(
            (_laid_out(key), _laid_out(inner)) for key, inner in value.items()
        )
        inner_values = list(value.values())
    else:
        made = yaml_comments.CommentedSeq(_laid_out(inner) for inner in value)
        inner_values = value
    innermost = not any(isinstance(inner, dict | list) and inner for inner in inner_values)
    if innermost and len(str(value)) <= _ONE_LINE:
        made.fa.set_flow_style()
    else:
        made.fa.set_block_style()
    return made


def _quoted(text: str) -> str:
    """Return `text` marked to be quoted unless it is made of harmless characters."""
    # ruamel.yaml quotes what would be read as another type, but writes `? y` in a list bare.
    if _HARMLESS.fullmatch(text):
        return text
    made = (
        yaml_scalars.SingleQuotedScalarString
        if text.isprintable()
        else yaml_scalars.DoubleQuotedScalarString
    )
    quoted: str = made(text)
    return quoted
