"""MLflow errors translated to keepfit's."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from tasks.base.errors import InfrastructureError, KeepfitError, TransientError
from tasks.base.text.redaction import without_credentials

_P = ParamSpec("_P")
_R = TypeVar("_R")

_FULL_WORDS = re.compile(r"disk is full|no space left|disk i/o error", re.IGNORECASE)
"""SQLite makes a file beside a database even to read it, and calls what prevents that I/O."""
_PASSING_CODES = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"}
_PASSING_WORDS = re.compile(
    r"database is locked|database table is locked|connection refused|connection aborted|"
    r"connection reset|could not connect|server closed the connection|connection is closed|"
    r"timed out|max retries exceeded|too many 50\d|failed with error code 50[234]|"
    r"name or service not known|temporary failure in name resolution",
    re.IGNORECASE,
)


def guarded(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let `function` raise only keepfit's errors for what goes wrong in a store."""

    @wraps(function)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except KeepfitError:
            raise
        except Exception as error:
            meaning = translated(error)
            if meaning is None:
                raise
            raise meaning from None

    return wrapper


def translated(error: BaseException) -> KeepfitError | None:
    """Return keepfit's error for one that came out of a store; None for any other.

    >>> import sqlite3
    >>> translated(sqlite3.OperationalError("database is locked")).kind
    'transient'
    >>> translated(ValueError("a mistake in the code")) is None
    True
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InfrastructureError(
            "The disk of the store is full; nothing was changed that was there before.",
            "Free space and run the command again.",
        )
    if isinstance(error, OSError) and isinstance(error, PermissionError):
        return InfrastructureError(
            f"The store cannot be written ({error.filename}).", "Give its owner the right to write."
        )
    if isinstance(error, Warning) or not _from_a_store(error):
        return None
    text = without_credentials(str(error))
    code = getattr(error, "error_code", "")
    if code in _PASSING_CODES or _PASSING_WORDS.search(text):
        return TransientError(
            f"The MLflow store did not respond in time: {_telling_line(text)}",
            "It may work on the next try; see that the server or database is up.",
        )
    if _FULL_WORDS.search(text):
        return InfrastructureError(
            f"The disk of the store is full, or fails: {_telling_line(text)}",
            "Free space and run the command again; what was committed is intact.",
        )
    return InfrastructureError(
        f"The MLflow store refused: {_telling_line(text)}",
        "Check MLFLOW_TRACKING_URI and the state folder.",
    )


def is_absent(error: BaseException) -> bool:
    """Return whether `error` means that a model, version or alias does not exist."""
    if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
        return True
    return "alias" in str(error) and "not found" in str(error)


def exists_already(error: BaseException) -> bool:
    """Return whether `error` means that another process made the same thing first."""
    return getattr(error, "error_code", "") == "RESOURCE_ALREADY_EXISTS"


def _from_a_store(error: BaseException) -> bool:
    modules = [cls.__module__.partition(".")[0] for cls in type(error).__mro__]
    return bool({"mlflow", "sqlalchemy", "sqlite3", "requests", "urllib3", "psycopg"} & {*modules})


def _telling_line(text: str) -> str:
    """Return the line that names the cause, else the first: the rest is SQL and its values."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line for line in lines if _PASSING_WORDS.search(line)]
    line = (causes or lines or ["no reason given"])[0]
    return line if len(line) <= 300 else f"{line[:299]}…"
