"""Identity of a process: whether the one that owned a run, a version or a file still exists."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from pathlib import Path


def this_process() -> str:
    """Return an identity of this process: host, boot, process number and start time."""
    # Host and boot are hashed, so that neither leaks.
    pid = os.getpid()
    return f"{_hash(socket.gethostname())}-{_boot()}-{pid}-{_started(pid)}"


def has_ended(process: str) -> bool:
    """Return whether a process that `this_process` named has ended; False if unknowable."""
    # One of another host counts as running. A reused process number is told by its start time.
    named = re.fullmatch(r"([0-9a-f]{16})-([0-9a-f]{16})-([0-9]+)-([0-9]+)", process)
    if named is None or _boot() == "unknown":
        return False
    host, boot, pid, started = named.groups()
    if host != _hash(socket.gethostname()):
        return False
    return boot != _boot() or started != _started(int(pid))


def _started(pid: int) -> str | None:
    """Return when `pid` started, in clock ticks since boot; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The second field is the program's name in brackets and may hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return _hash(boot + str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        return "unknown"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
