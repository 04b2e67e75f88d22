"""A lock between processes of one host that dies with its holder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.base.errors import InfrastructureError, TransientError
from tasks.base.runtime.files import private_folder


@contextmanager
def locked(path: Path, seconds: float = 60.0) -> Iterator[None]:
    """Hold the lock file `path` exclusively; another holder is awaited for `seconds`.

    The kernel frees the lock when its holder ends, however it ends; the file stays.

    Raises
    ------
    TransientError
        When another process held it all the time.
    InfrastructureError
        When the lock file cannot be made.
    """
    try:
        private_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InfrastructureError(
            f"{path}: the lock cannot be made ({error.strerror}).",
            "Make the state folder writable, or set KEEPFIT_STATE to one that is.",
        ) from None
    try:
        _acquire(descriptor, path, time.monotonic() + seconds)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TransientError(
                    f"{path}: another process of keepfit holds this lock.",
                    "Wait for it to end and run the command again.",
                ) from None
            time.sleep(0.02)
        else:
            return
