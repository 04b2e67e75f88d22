"""Delivers predictions from the spool to the ledger, in a process beside the server.

`python -m deploy.serving.delivery_process FILE…` looks every second. It ends with the
server, on SIGTERM after a last delivery; the rest is delivered by the next one.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tasks.base.errors import KeepfitError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.environment import keep_private, turn_telemetry_off
from tasks.registry.open_pipeline import open_pipeline
from tasks.serving.delivery import deliver

logger = logging.getLogger(__name__)
_EVERY_SECONDS = 1.0
_REPEATED_SECONDS = 60.0


class Deliveries:
    """The pipeline files of one server, with what was last wrong with each."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self._pipelines: dict[str, Pipeline] = {}  # of the files that could be read
        self._warned: dict[str, tuple[str, float]] = {}

    def once(self) -> None:
        """Bring what waits to the ledgers; a failure is logged and tried again."""
        # Seconds of imports, in which a signal must be handled already.
        for file in self._files:
            try:
                if file not in self._pipelines:
                    self._pipelines[file] = load_pipeline(Path(file))
                deliver(open_pipeline(self._pipelines[file]))
            except KeepfitError as error:
                self._warn(file, str(error))
            except OSError as error:
                self._warn(file, f"{type(error).__name__}: {error}")

    def _warn(self, name: str, text: str) -> None:
        last, at = self._warned.get(name, ("", 0.0))
        if last != text or time.monotonic() - at > _REPEATED_SECONDS:
            self._warned[name] = (text, time.monotonic())
            logger.warning("%s: predictions wait in the spool. %s", name, text)


def _main(*files: str) -> None:
    turn_telemetry_off()
    keep_private()
    os.nice(5)  # requests come first
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    deliveries = Deliveries(files)
    while not stopping.wait(_EVERY_SECONDS):
        deliveries.once()
    deliveries.once()


if __name__ == "__main__":
    _main(*sys.argv[1:])
