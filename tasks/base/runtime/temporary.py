"""Temporary files and folders: the next process removes what a dead one left."""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_PREFIX = ".keepfit-temporary-"
_NAME = re.compile(re.escape(_PREFIX) + r"[a-z0-9_]{8}(\.\w+)?")
_FOLDER, _FILE = os.O_RDONLY | os.O_DIRECTORY, os.O_RDWR
_TRIES = 10
_HELD: dict[int, ExitStack] = {}


@contextmanager
def temporary_folder(beside: str | Path | None = None) -> Iterator[Path]:
    """Yield a new folder of this user alone in `beside` or the temporary place; removed at last."""
    # What processes that were killed left there before is removed first: an owner holds a lock on
    # its folder, which the kernel frees with the last process that shares it. systemd-tmpfiles too
    # leaves locked folders alone, however old.
    parent = Path(beside or tempfile.gettempdir())
    _remove_left(parent, _FOLDER)
    folder, descriptor = _new(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def file_replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden file of this user alone beside `path`, which it replaces once whole."""
    # Where that fails it is removed. What processes that were killed left in the folder is removed
    # first, as by `temporary_folder`; never where the folder lies on a share without locks.
    _remove_left(path.parent, _FILE)
    beside, descriptor = _new_file(path)
    try:
        yield beside
        os.fsync(descriptor)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def keep_temporary_together() -> None:
    """Let what this process, its children and all libraries make temporarily lie in one folder."""
    # Removed when the process ends, or by the next one; where none can be made nothing changes.
    if os.getpid() in _HELD:
        return
    with suppress(OSError), ExitStack() as stack:
        tempfile.tempdir = os.environ["TMPDIR"] = str(stack.enter_context(temporary_folder()))
        atexit.register(drop_temporary)
        _HELD[os.getpid()] = stack.pop_all()


def drop_temporary() -> None:
    """Remove the folder of `keep_temporary_together` before this process ends."""
    # A forked child has its parent's, which the parent removes.
    if (held := _HELD.pop(os.getpid(), None)) is not None:
        held.close()


def _new(parent: Path) -> tuple[Path, int]:
    # Between making and locking it another process may have taken it for left.
    for _ in range(_TRIES):
        if found := _locked(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))):
            return found
    raise OSError(errno.ENOLCK, "folders cannot be locked", str(parent))


def _new_file(path: Path) -> tuple[Path, int]:
    for _ in range(_TRIES):
        descriptor, name = tempfile.mkstemp(path.suffix, _PREFIX, path.parent)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return Path(name), descriptor
        os.close(descriptor)  # taken for left before it was locked
    raise OSError(errno.EAGAIN, "temporary files are removed as they are made", str(path.parent))


def _locked(path: Path, flags: int = _FOLDER) -> tuple[Path, int] | None:
    """Return a folder or file and the descriptor that locks it; None where it is held or gone."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = os.fstat(descriptor)
        # Nobody else's: others may put folders of this name where everybody writes.
        if mine.st_uid == os.getuid() and os.path.samestat(mine, path.lstat()):
            return path, descriptor
    os.close(descriptor)
    return None


def _remove_left(parent: Path, flags: int) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        if _NAME.fullmatch(path.name) and (found := _locked(path, flags)) is not None:
            if flags == _FOLDER:
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            os.close(found[1])
