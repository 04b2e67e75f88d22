"""Objects in S3, Google Cloud Storage and Azure: copied here to be read, and written whole.

A source in a bucket is read from copies in the state folder, so that everything that is true of
local files is true of objects. An object is fetched once, and again when its size or time changes.

Credentials come from where each store's own tools look for them. pyarrow's file systems are used
for the time of one operation only: one that lives until the process ends may keep it from ending
(apache/arrow#50188), and a forked child must not inherit one.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tasks.base.errors import ConfigError, InfrastructureError, SourceError, TransientError
from tasks.base.runtime.files import private_folder
from tasks.base.runtime.libraries import pa, pafs
from tasks.base.runtime.temporary import temporary_folder
from tasks.base.settings.object_addresses import object_fault, store_secrets
from tasks.base.text.phrases import listed
from tasks.base.text.redaction import redact
from tasks.data.files.delta_tables import LOG

_CHUNK = 8 << 20
# A store's clock counts seconds: what was fetched in the second of its change may have changed on.
_SETTLED_NS = 2_000_000_000
_ENVIRONMENT = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or a profile, or the machine's role), "
    "AWS_REGION, and AWS_ENDPOINT_URL for a store that is not Amazon's",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account",
    "abfs": "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or "
    "AZURE_STORAGE_SAS_TOKEN, or an identity that Azure's tools find",
}
_REFUSED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE", "403", "401", "PERMISSION")
_ABSENT = ("NO_SUCH_BUCKET", "NO_SUCH_KEY", "404", "ContainerNotFound", "No such file")


def object_names(
    address: str, *, endings: Sequence[str], unfinished: Callable[[str], bool]
) -> tuple[str, ...]:
    """Return the names of the objects that `address` names; raises as `copies_of` does."""
    with _opened(address) as (store, path):
        return tuple(info.path for info in _listed(store, path, address, endings, unfinished))


def copies_of(
    address: str,
    folder: Path,
    *,
    endings: Sequence[str],
    unfinished: Callable[[str], bool],
    max_bytes: int,
) -> tuple[Path, ...]:
    """Return local copies below `folder` of the objects that `address` names, sorted."""
    # `address` is an object; a pattern, whose ``*`` stops at ``/`` and whose ``**`` does not; or a
    # prefix, which stands for the objects below it whose name ends with one of `endings`. Neither
    # prefix nor pattern stands for names that are `unfinished`. Raises SourceError for no such
    # object or bucket and beyond `max_bytes`, InfrastructureError where the store refuses access or
    # the disk is full, TransientError where the store does not respond.
    with _opened(address) as (store, path):
        found = _listed(store, path, address, endings, unfinished)
        total = sum(info.size for info in found)
        if total > max_bytes:
            raise SourceError(
                f"{address}: {total:,} bytes in {len(found)} object(s); source.max_bytes allows "
                f"{max_bytes:,}.",
                "Raise source.max_bytes, or name fewer objects.",
            )
        root = folder / address.partition("://")[0]
        return tuple(_copy(store, info, root) for info in found)


def fetch(address: str, target: Path) -> None:
    """Copy one object to the new file `target`; raises as `copies_of` does."""
    with _opened(address) as (store, path):
        info = store.get_file_info(path)
        if info.type != pafs.FileType.File:
            raise SourceError(f"{address}: no such object.", "Look at the bucket's listing.")
        _download(store, info, target)


def put(file: Path, address: str, *, new: bool = False) -> None:
    """Write a local file to the object `address`, whole or not at all; refuse one if `new`."""
    # Readers see the former object until the last byte is there. In Azure they see an empty one
    # meanwhile. Raises ConfigError without the bucket, else as `copies_of` does.
    with _opened(address, writing=True) as (store, path):
        if new and store.get_file_info(path).type == pafs.FileType.File:
            raise ConfigError(
                f"{address} is there already.", "Name an object that is not there yet."
            )
        # In one call, as a stream that is closed after a failed read would end a part as a whole.
        with pa.memory_map(str(file)) as source:
            content = source.read_buffer()
        with store.open_output_stream(path, compression=None) as sink:
            sink.write(content)
        if store.get_file_info(path).size != file.stat().st_size:
            raise TransientError(f"{address}: the store holds another size than was written.")


def _listed(
    store: Any, path: str, address: str, endings: Sequence[str], unfinished: Callable[[str], bool]
) -> list[Any]:
    fixed, pattern = _divided(path)
    if not pattern:
        info = store.get_file_info(path.rstrip("/"))
        if info.type == pafs.FileType.File:
            return [info]
    selector = pafs.FileSelector(fixed, recursive=len(pattern) != 1)

    def wanted(info: Any) -> bool:
        parts = info.path[len(fixed) + 1 :].split("/")
        if not pattern:
            hidden = any(part[:1] in ("", ".", "_") for part in parts)
            return not hidden and parts[-1].lower().endswith(tuple(endings))
        return _matches(parts, pattern) and (pattern[-1][0] in "._" or not unfinished(parts[-1]))

    try:
        every = store.get_file_info(selector)
    except FileNotFoundError:  # a bucket that is not there raises another error
        every = []
    if any(f"/{LOG}/" in info.path for info in every):
        raise SourceError(
            f"{address} holds a Delta table, whose log lists the files that are valid now; that "
            "is read of local folders only.",
            "Copy the table, or name a folder of plain Parquet files.",
        )
    found = [info for info in every if info.type == pafs.FileType.File and wanted(info)]
    if not found:
        raise SourceError(
            f"{address}: no object has this name or pattern, nor does one lie below it whose name "
            f"ends with {' or '.join(endings)}.",
            f"Objects there: {listed([info.path for info in every], 5) or 'none'}.",
        )
    return sorted(found, key=lambda info: str(info.path))


def _divided(path: str) -> tuple[str, list[str]]:
    """Return the prefix without wildcards, and the parts of the pattern below it."""
    parts = path.rstrip("/").split("/")
    first = next((i for i, part in enumerate(parts) if any(s in part for s in "*?[")), len(parts))
    return "/".join(parts[:first]), parts[first:]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _copy(store: Any, info: Any, root: Path) -> Path:
    """Return the copy of an object, fetched unless the one there is of the same size and time."""
    if any(part in ("", ".", "..") or "\0" in part for part in info.path.split("/")):
        raise SourceError(
            f"the key {info.path!r} is no path that a file can have.", "Give the object another."
        )
    target = root / str(info.path)
    try:
        stat = target.stat()
    except OSError:
        stat = None
    if (
        stat is None
        or (stat.st_size, stat.st_mtime_ns) != (info.size, info.mtime_ns)
        or stat.st_ctime_ns < info.mtime_ns + _SETTLED_NS
    ):
        private_folder(target.parent)
        _download(store, info, target)
    return target


def _download(store: Any, info: Any, target: Path) -> None:
    """Fetch an object beside `target` and let it take the place; its time is the object's."""
    with temporary_folder(target.parent) as folder:
        beside = folder / "fetched"
        # Otherwise pyarrow would unpack what is called .gz.
        stream = store.open_input_stream(info.path, compression=None)
        with beside.open("xb") as sink, stream as source:
            shutil.copyfileobj(source, sink, _CHUNK)
        size = beside.stat().st_size
        if size != info.size:
            raise TransientError(
                f"{info.path}: {size:,} of {info.size:,} bytes came; the object changed, or the "
                "connection broke.",
                "Run it again.",
            )
        os.utime(beside, ns=(info.mtime_ns, info.mtime_ns))
        beside.replace(target)


@contextmanager
def _opened(address: str, *, writing: bool = False) -> Iterator[tuple[Any, str]]:
    """Yield the store's file system and the path in it; what it raises becomes keepfit's error."""
    fault = object_fault(address)
    if fault:
        raise ConfigError(f"the address of an object cannot be used: {fault}.")
    scheme, _, path = address.partition("://")
    try:
        if scheme == "s3":
            yield _amazon(), path
        elif scheme == "gs":
            yield _google(), path
        else:
            yield _azure(path)
    except (pa.ArrowException, OSError) as error:
        raise _translated(address, error, writing=writing) from None


def _amazon() -> Any:
    environ = os.environ
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    scheme, separator, place = endpoint.rpartition("://")
    return pafs.S3FileSystem(
        endpoint_override=place.rstrip("/") or None,
        scheme=scheme if separator else "https",
        region=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"),
        connect_timeout=5,
        request_timeout=30,
        allow_delayed_open=True,
    )


def _google() -> Any:
    scheme, separator, place = os.environ.get("STORAGE_EMULATOR_HOST", "").rpartition("://")
    return pafs.GcsFileSystem(
        anonymous=bool(place),
        endpoint_override=place or None,
        scheme=(scheme if separator else "http") if place else "https",
        retry_time_limit=timedelta(seconds=30),
    )


def _azure(path: str) -> tuple[Any, str]:
    environ = os.environ
    container, at, rest = path.partition("@")
    host, _, key = rest.partition("/") if at else ("", "", "")
    account = host.partition(".")[0] or environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
    if not account:
        raise ConfigError(
            "abfs:// needs AZURE_STORAGE_ACCOUNT_NAME.", f"Set {_ENVIRONMENT['abfs']}."
        )
    scheme, _, authority = environ.get("AZURE_STORAGE_ENDPOINT", "").rpartition("://")
    options = {
        "blob_storage_authority": authority, "dfs_storage_authority": authority,
        "blob_storage_scheme": scheme, "dfs_storage_scheme": scheme,
        "account_key": environ.get("AZURE_STORAGE_ACCOUNT_KEY"),
        "sas_token": environ.get("AZURE_STORAGE_SAS_TOKEN"),
    }  # fmt: skip
    store = pafs.AzureFileSystem(
        account, **{name: value for name, value in options.items() if value}
    )
    return store, f"{container}/{key}" if at else path


def _translated(address: str, error: Exception, *, writing: bool) -> Exception:
    """Return keepfit's error for what a store or the disk raised."""
    scheme = address.partition("://")[0]
    text = str(error).strip() or type(error).__name__
    words = re.sub(r"\s*\(Request ID: [^)]*\)", "", text).splitlines()
    reason = redact(words[0][:300].rstrip("."), store_secrets(os.environ))
    remedy = f"It reads {_ENVIRONMENT['abfs' if scheme[0] == 'a' else scheme]}."
    if any(sign in reason for sign in _REFUSED):
        return InfrastructureError(f"{address}: the store refuses access: {reason}.", remedy)
    if isinstance(error, FileNotFoundError) or any(sign in reason for sign in _ABSENT):
        kind = ConfigError if writing else SourceError
        return kind(
            f"{address}: there is no such bucket or object: {reason}.",
            f"Look at its name and region. {remedy}",
        )
    if isinstance(error, OSError) and error.errno is not None:
        return InfrastructureError(f"{address}: {reason}.", "Free some space, or see `state`.")
    return TransientError(
        f"{address}: the store does not answer: {reason}.", f"Nothing was changed. {remedy}"
    )
