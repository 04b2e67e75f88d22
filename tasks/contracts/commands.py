"""Commands suggested where rows broke their contract."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

_MOST_RULES = 4


def accept_command(file: Path | str, names: Sequence[str], rows: str = "") -> str:
    """Return the command that accepts rules into the contract; with many rules, all that differ."""
    named = [quote(name) for name in names] if len(names) <= _MOST_RULES else []
    given = ["--input", quote(rows)] if rows else []
    return " ".join(["keepfit contract accept", *named, quote(str(file)), *given])


def score_command(file: Path | str, rows: str) -> str:
    """Return the command that scores a file of rows."""
    return f"keepfit score {quote(str(file))} --input {quote(rows)}"
