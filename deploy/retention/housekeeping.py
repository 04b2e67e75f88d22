"""Daily housekeeping of the stack: retention, in a process of its own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.child_processes import end, launch
from tasks.base.runtime.environment import module_command

_FIRST_AFTER = 600.0
_EVERY = 86_400.0
_AT_MOST = 3_600.0


@dataclass
class Housekeeping:
    """Starts the retention of the pipelines' state once a day; `say` receives sentences."""

    state: Path
    files: Sequence[str]
    environ: Mapping[str, str]
    say: Callable[[str], None]
    _due: float = field(default_factory=lambda: time.monotonic() + _FIRST_AFTER)
    _began: float = 0.0
    _process: subprocess.Popen[bytes] | None = None

    def look(self) -> set[int]:
        """Start or collect the process by the clock; return the running one."""
        if self._process is not None:
            self._collect(self._process)
        elif time.monotonic() >= self._due:
            self._begin()
        return set() if self._process is None else {self._process.pid}

    def stop(self) -> None:
        """End the running process."""
        if self._process is not None:
            end(self._process, 0.0)
            self._process = None

    def _begin(self) -> None:
        self._began = time.monotonic()
        self._due = self._began + _EVERY
        command = module_command("deploy.retention.state_folder", *self.files)
        log = self.state / "logs" / "retention.log"
        self._process = launch(command, self.environ, log, self.state)

    def _collect(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            if time.monotonic() - self._began > _AT_MOST:
                end(process, 0.0)
            return
        if process.returncode:
            self.say(f"retention ended with status {process.returncode}; see its log")
        self._process = None
