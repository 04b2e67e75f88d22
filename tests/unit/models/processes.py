"""The processes that fit for a test, and no other children of the process that tests."""

from __future__ import annotations

import psutil


def fitters() -> list[int]:
    """Return the processes that hand out fits: children of this one."""
    return [p.pid for p in _servers()]


def fits() -> list[int]:
    """Return the processes that fit: children of those."""
    return [child.pid for server in _servers() for child in server.children()]


def _servers() -> list[psutil.Process]:
    """Others are left alone: a Prefect API that many tests share may be a child as well."""
    return [
        p for p in psutil.Process().children() if "tasks.models.execution.fork_server" in _words(p)
    ]


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
