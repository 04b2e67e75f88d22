"""Files written whole or not at all and known again by their digests; private folders."""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from tasks.base.errors import ConfigError, InfrastructureError, ModelRefusedError

Digests = dict[str, str]  # file name to the SHA-256 of its content, 64 hex digits


def private_folder(path: Path) -> Path:
    """Make `path` and what is missing above it, readable by its owner only; return it resolved."""
    whole = path.resolve()
    for folder in (*reversed(whole.parents), whole):
        if not folder.exists():
            folder.mkdir(exist_ok=True, mode=0o700)
    return whole


def require_trusted(
    path: Path, remedy: str, owners: Iterable[int] = (), others: int = stat.S_IWOTH
) -> None:
    """Refuse a folder or file that other accounts may have filled; an absent one passes.

    A group that may write is trusted unless `others` names its bit. A volume that root mounted
    there is trusted though all accounts may write: containers get such ones, and hold no other
    account. One with the sticky bit, as /tmp and /dev/shm are, is meant for several accounts.

    `remedy`: what to do where the owner or the mode cannot be changed; `owners`: user ids that are
    trusted beside this process's own and root's; `others`: bits of a mode that let somebody else
    write. Raises ConfigError with the path, its mode and its owner.
    """
    try:
        found = path.stat()
    except OSError:
        return  # whatever uses it reports why
    known = found.st_uid in {os.geteuid(), 0, *owners}
    shared = found.st_mode & stat.S_ISVTX
    if known and (
        not found.st_mode & others or (found.st_uid == 0 and path.is_mount() and not shared)
    ):
        return
    owner = str(found.st_uid)
    with suppress(KeyError):
        owner = pwd.getpwuid(found.st_uid).pw_name
    change = f"chmod go-w {path}" if known else f"chown -R {os.geteuid()} {path}"
    advice = f"If it holds nothing of another account: `{change}`. Else remove it, or {remedy}."
    if shared:
        advice = f"{remedy[:1].upper()}{remedy[1:]}; a folder inside it will do."
    raise ConfigError(
        f"{path} belongs to {owner} and has mode {stat.S_IMODE(found.st_mode):04o}: "
        "another account can exchange what keepfit trusts there.",
        advice,
    )


def require_writable(folder: Path) -> None:
    """Refuse a folder that this process may not write, such as one mounted for reading."""
    # Before a database in it is opened: SQLite writes its log beside it even to read.
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InfrastructureError(
            f"{folder} cannot be written: it is mounted read-only, or belongs to somebody else.",
            "Mount it for writing or change its owner, or name another state with KEEPFIT_STATE.",
        )


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` beside `path`, then rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_bytes(content: bytes) -> str:
    """Return the SHA-256 of `content`, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def digests_of(folder: Path, names: Iterable[str]) -> Digests:
    """Return the digests of those of the files that are in `folder`."""
    return {name: digest_of(folder / name) for name in names if (folder / name).is_file()}


def changed_file(folder: Path, digests: Mapping[str, str]) -> str | None:
    """Return the name of the first file that is absent or another one; None where all are there."""
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file() or path.is_symlink() or digest_of(path) != digest:
            return name
    return None


def write_recorded(path: Path, content: bytes) -> None:
    """Write `content`, and its digest beside it, as ``sha256sum`` does: for `read_recorded`."""
    write_whole(path, content)
    write_whole(_record_of(path), f"{digest_of_bytes(content)}  {path.name}\n")


def read_recorded(path: Path) -> bytes:
    """Return what `write_recorded` wrote; raises OSError or ValueError when it is another file."""
    content = path.read_bytes()
    if _record_of(path).read_text("ascii") != f"{digest_of_bytes(content)}  {path.name}\n":
        raise ValueError("it is not the file that was written")
    return content


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def read_unchanged(path: Path, digest: str, owner: str) -> bytes:
    """Return the content of the file of `owner`, read once: what is checked is what is used."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelRefusedError(f"{owner}: {path} cannot be read ({error.strerror}).") from None
    if digest_of_bytes(content) != digest:
        raise ModelRefusedError(
            f"{owner}: {path.name} is not the file that was stored with it.",
            "Nothing in it was used. Look at who can write to the store; train again.",
        )
    return content
