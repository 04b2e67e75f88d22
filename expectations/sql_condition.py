"""A condition on one row, written in SQL: read into tokens, so that it can only be a condition."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MAX_LENGTH = 4_000

FUNCTIONS = frozenset({
    "abs", "coalesce", "length", "lower", "upper", "round", "substr", "instr", "trim", "ltrim",
    "rtrim", "replace", "nullif", "ifnull", "iif", "typeof", "min", "max", "date", "time",
    "datetime", "julianday", "strftime", "unixepoch", "sign", "ceil", "floor", "sqrt", "mod",
    "ln", "log", "log10", "exp", "pow", "power",
})  # fmt: skip
KEYWORDS = frozenset({
    "and", "or", "not", "in", "is", "null", "isnull", "notnull", "like", "glob", "between",
    "case", "when", "then", "else", "end", "escape", "true", "false",
})  # fmt: skip
_STATEMENTS = frozenset({
    "select", "from", "where", "insert", "update", "delete", "drop", "create", "alter",
    "attach", "detach", "pragma", "union", "with", "values", "into", "table", "join", "group",
    "order", "limit", "having", "returning", "vacuum", "explain",
})  # fmt: skip
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")+"|`(?:[^`]|``)+`|\[[^\]]+\])
    |(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<word>[^\W\d]\w*)
    |(?P<sign><>|!=|<=|>=|==|\|\||<<|>>|[-+*/%=<>&|~(),])""",
    re.VERBOSE,
)

TokenKind = Literal["name", "plain"]


@dataclass(frozen=True)
class Condition:
    """A parsed condition."""

    text: str  # as it was written
    tokens: tuple[tuple[TokenKind, str], ...]  # a ``name`` is without its quotes

    @property
    def names(self) -> tuple[str, ...]:
        """Names of columns as written, each once, in order of appearance."""
        return tuple(dict.fromkeys(text for kind, text in self.tokens if kind == "name"))

    def sql(self, aliases: Mapping[str, str]) -> str:
        """Return the condition with every name replaced by its quoted alias."""
        return " ".join(
            f'"{aliases[text]}"' if kind == "name" else text for kind, text in self.tokens
        )


def parse_condition(text: str) -> Condition:
    """Read a condition that must be true on every row, or raise ValueError.

    Names are bare words, or stand in double quotes, backticks or brackets; texts stand in single
    quotes. Statements, comments, subqueries and functions outside `FUNCTIONS` are refused, so what
    is run can only read the row.

    >>> parse_condition("distance > 0 AND origin <> dest").names
    ('distance', 'origin', 'dest')
    >>> parse_condition("1 = 1; DROP TABLE t")
    Traceback (most recent call last):
    ValueError: must be one SQL condition on a row; got ';' at character 6. ...
    """
    if not text.strip() or len(text) > MAX_LENGTH:
        raise ValueError(
            f"must be one SQL condition of 1 to {MAX_LENGTH:,} characters; got {len(text):,}"
        )
    condition = Condition(text, tuple(_classified(_scan(text))))
    _check_parentheses(condition)
    _check_syntax(condition)
    return condition


def _scan(text: str) -> list[tuple[str, str, int]]:
    found: list[tuple[str, str, int]] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or text.startswith(("--", "/*"), position):
            raise ValueError(
                f"must be one SQL condition on a row; got {text[position]!r} at character "
                f"{position + 1}. Write for example: distance > 0 AND origin <> 'JFK'; put a name "
                'with dots or spaces in double quotes: "a name" > 0'
            )
        kind = str(match.lastgroup)
        if kind != "space":
            found.append((kind, match[0], position))
        position = match.end()
    return found


def _classified(scanned: list[tuple[str, str, int]]) -> list[tuple[TokenKind, str]]:
    tokens: list[tuple[TokenKind, str]] = []
    for index, (kind, text, _) in enumerate(scanned):
        called = index + 1 < len(scanned) and scanned[index + 1][1] == "("
        if kind == "quoted":
            tokens.append(("name", _unquoted(text)))
        elif kind == "word":
            tokens.append((_word_kind(text, called), text))
        else:
            tokens.append(("plain", text))
    return tokens


def _unquoted(text: str) -> str:
    inside = text[1:-1]
    return inside if text[0] == "[" else inside.replace(text[0] * 2, text[0])


def _word_kind(word: str, called: bool) -> TokenKind:
    lower = word.lower()
    if lower in KEYWORDS:
        return "plain"
    if called:
        if lower not in FUNCTIONS:
            raise ValueError(
                f"the function {word} is not allowed; allowed are {', '.join(sorted(FUNCTIONS))}"
            )
        return "plain"
    if lower in _STATEMENTS:
        raise ValueError(
            f"must be one SQL condition, not a statement; got {word}. "
            f'A column of that name is written "{word}"'
        )
    return "name"


def _check_parentheses(condition: Condition) -> None:
    depth = 0
    for kind, text in condition.tokens:
        if kind == "plain":
            depth += (text == "(") - (text == ")")
        if depth < 0 or depth > 50:
            break
    if depth:
        raise ValueError("must have its parentheses balanced, at most 50 deep")


def _check_syntax(condition: Condition) -> None:
    aliases = {name: f"c{index}" for index, name in enumerate(condition.names)}
    columns = ", ".join(f'"{alias}"' for alias in aliases.values()) or '"c0"'
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(f"CREATE TABLE t ({columns})")
        connection.execute(f"SELECT 1 FROM t WHERE NOT ({condition.sql(aliases)})")  # noqa: S608 - tokens only
    except sqlite3.Error as error:
        problem = str(error)
        for name, alias in aliases.items():
            problem = problem.replace(f'"{alias}"', f'"{name}"')
        raise ValueError(f"SQLite cannot read this condition: {problem}") from None
    finally:
        connection.close()
