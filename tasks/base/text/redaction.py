"""Redaction of messages, logs and records: secrets whole and in parts, credentials of addresses."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from urllib.parse import quote, unquote

from tasks.base.errors import InfrastructureError, KeepfitError

_LEAST = 3
_RUN = re.compile(r"[^\s'\"]+")
_SECRET = re.compile("pass|secret|token|key|credential", re.IGNORECASE)
_MARKS = re.compile(r"[@:/?#\[\]&=,;]+")
# Of web addresses, such as those of alerts, the path is what lets one in.
_LEAST_OF_PATH = 8


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without any of the `secrets`, and without any part of one that is an address.

    >>> redact("postgresql://me:s3cret@db", ["s3cret"])
    'postgresql://me:***@db'
    >>> redact("invalid port: 'w0rd@db:54'", ["postgresql://me:p4ss:w0rd@db:54/x"])
    "invalid port: '***@db:54'"
    """
    parts = {part for secret in secrets for part in secret_parts(secret)}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "***")
    return text


@contextmanager
def errors_without(secrets: Collection[str]) -> Iterator[None]:
    """Let no error leave with a part of one of the `secrets`, nor with a cause that holds one."""
    # One that keepfit did not raise becomes an `InfrastructureError`.
    try:
        yield
    except Exception as error:
        if isinstance(error, KeepfitError):
            error.message = redact(error.message, secrets)
            error.remedy = redact(error.remedy, secrets)
            error.args = (error.message, error.remedy)
        if _holds(error, secrets):
            raise InfrastructureError(redact(f"{type(error).__name__}: {error}", secrets)) from None
        cause = error.__cause__ or error.__context__
        while cause is not None:
            if _holds(cause, secrets):
                raise error from None
            cause = cause.__cause__ or cause.__context__
        raise


def _holds(error: BaseException, secrets: Collection[str]) -> bool:
    return redact(str(error), secrets) != str(error)


@cache
def secret_parts(secret: str) -> frozenset[str]:
    """Return the parts of a secret that may never be shown: it and its address's credentials."""
    # Where a password holds an @, : or /, a library reads it in another way than a person meant: so
    # what stands between any two such marks before the last @ is a part, but the user.
    found = {secret, unquote(secret), quote(secret, safe="")}
    scheme, separator, rest = secret.partition("://")
    if separator:
        login, at, place = rest.rpartition("@")
        _, colon, password = login.partition(":")
        if at and colon:
            for form in (password, unquote(password)):
                found |= {form, *(piece for piece in _MARKS.split(form) if len(piece) > _LEAST)}
        if "sql" not in scheme:
            path = place.partition("/")[2]
            found |= {piece for piece in _MARKS.split(path) if len(piece) >= _LEAST_OF_PATH}
    return frozenset(part for part in found if len(part) >= _LEAST)


def without_credentials(text: str) -> str:
    """Return `text` without users and passwords in addresses, however oddly these are written.

    >>> without_credentials("postgresql://me:se@cr:et@db/x?sslpassword=s3&a=b failed")
    'postgresql://db/x?sslpassword=***&a=b failed'
    """
    return _RUN.sub(_without_login, text)


def _without_login(run: re.Match[str]) -> str:
    # By parts: a pattern of all this takes hours for a long text that somebody made for it.
    start, mark, rest = run[0].partition("://")
    options = f"{start}{mark}{rest.rpartition('@')[2]}".split("&")
    return "&".join(_hidden(option, named=place > 0) for place, option in enumerate(options))


def _hidden(option: str, *, named: bool) -> str:
    """Return an option of an address, *** for a secret value; its name follows ? unless `named`."""
    pieces = option.split("=")
    for place, piece in enumerate(pieces[:-1], start=1):
        name = piece if named and place == 1 else piece.partition("?")[2]
        if _SECRET.search(name) and any(pieces[place:]):
            return "=".join((*pieces[:place], "***"))
    return option
