"""A lock between processes of one host that dies with its holder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.base.errors import InfrastructureError, TransientError
from tasks.base.runtime.files import private_folder

_HELD: set[int] = set()


@contextmanager
def locked(path: Path, seconds: float = 60.0) -> Iterator[None]:
    """Hold the lock file `path` exclusively; TransientError when another does for `seconds`."""
    # The kernel frees the lock when its holder ends, however it ends; the file stays.
    with lock_file(path) as descriptor:
        deadline = time.monotonic() + seconds
        while not take(descriptor):
            if time.monotonic() >= deadline:
                raise TransientError(
                    f"{path}: another process of keepfit holds this lock.",
                    "Wait for it to end and run the command again.",
                )
            time.sleep(0.02)
        yield


@contextmanager
def lock_file(path: Path) -> Iterator[int]:
    """Give the descriptor of a lock file that nobody else may read; closing it frees the lock."""
    try:
        private_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InfrastructureError(
            f"{path}: the lock cannot be made ({error.strerror}).",
            "Make the state folder writable, or set KEEPFIT_STATE to one that is.",
        ) from None
    try:
        with released_in_forks(descriptor):
            yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def released_in_forks(descriptor: int) -> Iterator[None]:
    """Let processes forked meanwhile have no part in a lock, which would outlive its holder."""
    _HELD.add(descriptor)
    try:
        yield
    finally:
        _HELD.discard(descriptor)


def _let_go() -> None:
    """Give locks up in a forked process; their numbers stay taken: closing them closes no other."""
    if not _HELD:
        return
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in _HELD:
        os.dup2(nowhere, descriptor, inheritable=False)
    os.close(nowhere)
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go)


def take(descriptor: int) -> bool:
    """Take the lock of a lock file, unless somebody holds it; the file then names this process."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return True


def holder(descriptor: int) -> str:
    """Return the process id that a lock file names; empty where it names none."""
    with suppress(OSError, ValueError):
        return str(int(os.pread(descriptor, 20, 0)))
    return ""


def is_held(path: Path) -> bool:
    """Return whether a living process holds the lock file; OSError when there is no such file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
