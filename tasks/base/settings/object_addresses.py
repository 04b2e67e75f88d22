"""Addresses of objects in a store: ``s3://bucket/key``, ``gs://bucket/key``, ``abfs://…``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

SCHEMES = ("s3", "gs", "abfs", "abfss")
_SECRETS = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_SECRET",
)  # fmt: skip
_LEAST_SECRET = 8  # a shorter one, as of a test's own server, would blot out common words
_EXAMPLES = "s3://bucket/key, gs://bucket/key or abfs://container@account.dfs.core.windows.net/key"


def is_object(path: str) -> bool:
    """Return whether `path` names objects in a store, and no local file.

    >>> [is_object(path) for path in ("s3://sales/2026/*.parquet", "data/s3.parquet")]
    [True, False]
    """
    scheme, separator, _ = path.partition("://")
    return bool(separator) and scheme in SCHEMES


def object_fault(path: str) -> str:
    """Return why `path` is no usable address, without any part that may be secret; or nothing.

    >>> object_fault("s3://AKIA:secret@sales/x.csv")
    'credentials do not belong in an address: they come from the environment'
    >>> object_fault("s3://sales/x.csv")
    ''
    """
    scheme, separator, rest = path.partition("://")
    if not separator:
        return ""
    if scheme not in SCHEMES:
        return f"no store is called {scheme!r}; name local files, or {_EXAMPLES}"
    login, at, host = rest.rpartition("@")
    # Only Azure's addresses have an @ of their own, between container and account.
    if (at and (scheme[0] != "a" or ":" in login)) or re.search(r"[?&][^/]*=", rest):
        return "credentials do not belong in an address: they come from the environment"
    bucket, _, key = (host if at else rest).partition("/")
    if not bucket or not key or any(part in ("", ".", "..") for part in key.split("/")[:-1]):
        return f"it is not written as {_EXAMPLES}"
    return ""


def anchored(path: str | Path) -> str:
    """Return a local path as an absolute one; the address of an object as it is."""
    return str(path) if is_object(str(path)) else str(Path(path).absolute())


def with_stem(path: str, addition: str) -> str:
    """Return `path` with `addition` before its ending.

    >>> with_stem("s3://sales/scored.parquet", "-a1")
    's3://sales/scored-a1.parquet'
    """
    name = Path(path.rpartition("/")[2])
    return path[: len(path) - len(name.name)] + name.stem + addition + name.suffix


def store_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secrets of object stores that the environment holds."""
    held = (environ.get(name, "") for name in _SECRETS)
    return tuple(value for value in held if len(value) >= _LEAST_SECRET)
