"""A checker for many commands: Great Expectations is imported once, and each check runs in a child.

A command that finds one in its environment calls it, over a socket that only its owner can reach;
where it finds none, or that one does not respond, it brings a checker of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import expectations.check
import expectations.suite
from tasks.contracts.checker_process import reply_to

VARIABLE = "KEEPFIT_CHECKER"
"""The folder in which the socket lies."""
SOCKET = "checker.sock"
_WAITING = 64
_BEAT_SECONDS = 2.0


def listening(folder: Path) -> socket.socket:
    """Return a socket in `folder` for requests of checks; one that was left is replaced."""
    listener = socket.socket(socket.AF_UNIX)
    former = os.umask(0o077)
    try:
        with _near(folder) as path:
            Path(path).unlink(missing_ok=True)
            listener.bind(path)
            Path(path).chmod(0o600)
    finally:
        os.umask(former)
    listener.listen(_WAITING)
    return listener


def serve(listener: socket.socket, beat: Callable[[], None]) -> None:
    """Check on request, in a child each, until this process is ended; `beat` every two seconds."""
    expectations.suite.warm_up()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a child
    while True:
        ready, _, _ = select.select([listener], [], [], _BEAT_SECONDS)
        beat()
        if not ready:
            continue
        asking, _ = listener.accept()
        if os.fork() == 0:
            _answer(listener, asking)
        asking.close()


def _answer(listener: socket.socket, asking: socket.socket) -> None:
    """Reply to the one request of a connection, and end; runs in a child."""
    try:
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with asking.makefile("r", encoding="utf-8") as requests:
            line = requests.readline()
        if line:
            asking.sendall(f"{reply_to(line)}\n".encode())
    finally:
        os._exit(0)


def standing() -> bool:
    """Return whether the environment names a checker that may be there."""
    folder = os.environ.get(VARIABLE)
    return bool(folder) and Path(str(folder), SOCKET).is_socket()


def ask_standing(request: dict[str, Any]) -> str:
    """Return the reply of the standing checker; empty where there is none or it died."""
    if not standing():
        return ""
    try:
        with _near(Path(os.environ[VARIABLE])) as path, socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(f"{json.dumps(request)}\n".encode())
            with client.makefile("r", encoding="utf-8") as reply:
                return whole_line(reply)
    except OSError:
        return ""


def whole_line(reply: IO[str]) -> str:
    """Return a line; empty where who wrote it was killed before its end."""
    line = reply.readline()
    return line if line.endswith("\n") else ""


@contextlib.contextmanager
def _near(folder: Path) -> Iterator[str]:
    """Yield a path of the socket that is short enough, however deep `folder` lies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
