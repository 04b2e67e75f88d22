"""A part of the stack: a process, how to start it, and how to check that it is well."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.child_processes import Activity, activity, end, launch
from deploy.stack.ports import HOST, Held
from tasks.base.runtime.environment import module_command
from tasks.base.text.redaction import redact

_PROBE_SECONDS = 3.0
_SILENCE_SECONDS = 10.0
_LOG_LINES = 400


@dataclass
class Part:
    """One supervised process."""

    name: str  # what a person calls it
    slug: str  # name of its log in `logs/` of `folder`
    module: str  # module of keepfit that the process runs
    arguments: Callable[[int], tuple[str, ...]]  # of an inherited descriptor's number
    environ: Mapping[str, str]  # its whole environment
    folder: Path  # its working folder
    # The socket that it serves on, checked at `path`; a part without one reports by lines.
    held: Held | None = None
    path: str = "/health"
    patience: float = 5.0  # seconds it gets to end by itself
    essential: bool = False  # whether nothing runs without it
    process: subprocess.Popen[bytes] | None = None
    _beats: int | None = None
    _last_beat: float = field(default=0.0)
    _heard: bytes = b""
    _lines: list[str] = field(default_factory=list)
    _seen: Activity | None = None

    @property
    def log(self) -> Path:
        """File of its output."""
        return self.folder / "logs" / f"{self.slug}.log"

    @property
    def pid(self) -> int | None:
        """Its process, while there is one."""
        return self.process.pid if self.process is not None else None

    def start(self) -> None:
        """Start the process; it inherits its socket, or the pipe for its beats, and no more."""
        self.close()
        if self.held is not None:
            descriptor, own = self.held.listener.fileno(), None
        else:
            self._beats, own = os.pipe()
            os.set_blocking(self._beats, False)
            descriptor = own
        try:
            command = module_command(self.module, *self.arguments(descriptor))
            self.process = launch(command, self.environ, self.log, self.folder, (descriptor,))
        finally:
            if own is not None:
                os.close(own)
        self._last_beat = 0.0
        self._heard, self._seen = b"", None

    def ended(self) -> int | None:
        """Return the status with which the process ended; None while it runs."""
        return None if self.process is None else self.process.poll()

    def well(self) -> bool:
        """Return whether it responds, or reported within ten seconds that it is well."""
        return self._answers() if self.held is not None else self._beating()

    def moving(self) -> bool:
        """Return whether it has worked since the last call: slow is not dead."""
        if self.pid is None:
            return False
        before, self._seen = self._seen, activity(self.pid, self.log)
        if self._seen is None:
            return False
        return before is None or self._seen.moved_since(before)

    def lines(self) -> list[str]:
        """Return its lines for the person who watches, since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def stop(self, patience: float | None = None) -> None:
        """End the process, in `patience` seconds at most and then by force."""
        if self.process is not None:
            end(self.process, self.patience if patience is None else patience)
        self._beating()
        self.close()

    def close(self) -> None:
        """Let go of the pipe."""
        if self._beats is not None:
            os.close(self._beats)
            self._beats = None

    def last_words(self, secrets: tuple[str, ...] = ()) -> str:
        """Return the last line of its log, an error where there is one, without `secrets`."""
        try:
            lines = self.log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
        except OSError:
            lines = []
        spoken = [line.strip() for line in lines if line.strip()]
        # What follows an error's line are hints and links.
        spoken = [line for line in spoken if "Error" in line[:200]] or spoken
        return redact(spoken[-1][:300], secrets) if spoken else "it wrote nothing"

    def _answers(self) -> bool:
        if self.held is None:
            return False
        connection = http.client.HTTPConnection(HOST, self.held.port, timeout=_PROBE_SECONDS)
        try:
            connection.request("GET", self.path)
            return connection.getresponse().status in {200, 401}
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _beating(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            while self._beats is not None and (data := os.read(self._beats, 4096)):
                self._last_beat = time.monotonic()
                *lines, self._heard = (self._heard + data).split(b"\n")
                self._lines += [line.decode("utf-8", "replace") for line in lines if line]
        return bool(self._last_beat) and time.monotonic() - self._last_beat < _SILENCE_SECONDS
