"""Ends a process of the worker from within, as the system does when memory runs out."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def end_a_process(victim: str, times: int, log: str) -> str:
    """Kill this process or the one that forked it, the first `times` that it is called."""
    path = Path(log)
    path.touch()
    if len(path.read_text()) >= times:
        return "done"
    with path.open("a") as file:
        file.write("x")
    os.kill({"os:getpid": os.getpid, "os:getppid": os.getppid}[victim](), signal.SIGKILL)
    time.sleep(60)
    return "alive"
