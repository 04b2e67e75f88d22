"""Keeps the parts of the stack alive: what dies or hangs is started again, ever more slowly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.child_processes import end_everything, end_orphans
from deploy.stack.supervised_part import Part
from tasks.base.errors import InfrastructureError

_START_SECONDS = 180.0
_HANG_SECONDS = 30.0
_SLOW_SECONDS = 600.0
_START_SLOW_SECONDS = 1_800.0
_PROBE_EVERY = 3.0
_SWEEP_EVERY = 2.0
_STEADY_SECONDS = 60.0
_SLOWEST = 60.0
_OFTEN = 5
_TOO_OFTEN = 20


@dataclass
class _Watch:
    """State of one part."""

    part: Part
    began: float = 0.0
    well_since: float | None = None
    failing_since: float | None = None
    moved: float = 0.0
    called_slow: bool = False
    probed: float = 0.0
    failures: int = 0
    again_at: float | None = None


class Supervisor:
    """Starts parts in order, watches them, stops them in reverse; `say` gets no `secrets`."""

    def __init__(
        self, parts: Sequence[Part], say: Callable[[str], None], secrets: tuple[str, ...] = ()
    ) -> None:
        self._watched = [_Watch(part) for part in parts]
        self._say = say
        self._secrets = secrets
        self._swept = 0.0
        self.helpers: set[int] = set()
        self.stopping = threading.Event()

    def start(self) -> None:
        """Start every part and return when each is well, or when it is to stop."""
        # Raises InfrastructureError, with the end of its log, when one ends by itself, is killed
        # twice, or stands still and is not well in time.
        for watch in self._watched:
            self._start(watch)
        waiting = list(self._watched)
        while waiting and not self.stopping.is_set():
            for watch in tuple(waiting):
                if watch.part.well():
                    watch.well_since = time.monotonic()
                    waiting.remove(watch)
                    seconds = watch.well_since - watch.began
                    self._say(f"{watch.part.name} is up ({seconds:.1f} s)")
                else:
                    self._expect(watch)
            self.stopping.wait(0.1)

    def _expect(self, watch: _Watch) -> None:
        status = watch.part.ended()
        if status is not None and status < 0 and not watch.failures:
            # Killed from outside, as where memory is short: that may pass.
            watch.failures += 1
            self._say(f"{watch.part.name} ended with {_words(status)}; it is started again")
            self._sweep()
            self._start(watch)
            return
        if status is not None:
            what = f"ended with {_words(status)}"
        elif self._stands_still(watch, watch.began, _START_SECONDS, _START_SLOW_SECONDS):
            what = f"is not well after {time.monotonic() - watch.began:.0f} s"
        else:
            return
        raise InfrastructureError(
            f"{watch.part.name} {what}: {watch.part.last_words(self._secrets)}",
            f"Its log: {watch.part.log}",
        )

    def _stands_still(self, watch: _Watch, since: float, still: float, slow: float) -> bool:
        """Return whether a part, not well `since`, is past waiting: `still` idle, `slow` busy."""
        now = time.monotonic()
        if now - watch.probed >= _PROBE_EVERY or watch.moved < since:
            watch.probed = now
            if watch.part.moving():
                watch.moved = now
        failing = now - since
        works = now - watch.moved <= 2 * _PROBE_EVERY
        if failing > still and not watch.called_slow and works:
            watch.called_slow = True
            self._say(
                f"{watch.part.name} has not answered for {failing:.0f} s but works: it gets "
                f"{slow / 60:.0f} min"
            )
        return failing > slow or (failing > still and now - watch.moved > still)

    def run(self) -> None:
        """Watch the parts until it is to stop."""
        while not self.stopping.wait(0.5):
            self.look()

    def look(self) -> None:
        """Look at every part once; start again or end what needs it, or InfrastructureError."""
        for watch in self._watched:
            if watch.part.process is None:
                if watch.again_at is not None and time.monotonic() >= watch.again_at:
                    self._start(watch)
            elif (status := watch.part.ended()) is not None:
                self._lost(watch, f"ended with {_words(status)}")
            else:
                self._probe(watch)
            for line in watch.part.lines():
                self._say(line)
        if time.monotonic() - self._swept > _SWEEP_EVERY:
            self._sweep()

    def stop(self) -> None:
        """Stop the parts, last started first, and whatever they left."""
        for watch in reversed(self._watched):
            watch.part.stop()
            for line in watch.part.lines():
                self._say(line)
        end_everything()

    def _start(self, watch: _Watch) -> None:
        watch.part.start()
        watch.began = time.monotonic()
        watch.well_since = watch.failing_since = watch.again_at = None
        watch.moved, watch.called_slow = 0.0, False

    def _probe(self, watch: _Watch) -> None:
        now = time.monotonic()
        if now - watch.probed < _PROBE_EVERY:
            return
        if watch.part.well():
            watch.probed = now
            self._found_well(watch, now)
            return
        if watch.failing_since is None:
            watch.failing_since = now
        up = watch.well_since is not None
        still, slow = (
            (_HANG_SECONDS, _SLOW_SECONDS) if up else (_START_SECONDS, _START_SLOW_SECONDS)
        )
        if self._stands_still(watch, watch.failing_since, still, slow):
            watch.part.stop(0.0)
            failed = time.monotonic() - watch.failing_since
            self._lost(watch, f"did not answer for {failed:.0f} s and was ended")

    def _found_well(self, watch: _Watch, now: float) -> None:
        if watch.called_slow and watch.failing_since is not None:
            self._say(f"{watch.part.name} answers again ({now - watch.failing_since:.0f} s)")
        watch.failing_since, watch.called_slow = None, False
        if watch.well_since is None:
            watch.well_since = now
            self._say(f"{watch.part.name} is up again ({now - watch.began:.1f} s)")
        elif now - watch.well_since > _STEADY_SECONDS:
            watch.failures = 0

    def _lost(self, watch: _Watch, what: str) -> None:
        watch.part.process = None
        watch.failures += 1
        if watch.part.essential and watch.failures >= _TOO_OFTEN:
            raise InfrastructureError(
                f"{watch.part.name} {what}, for the {watch.failures}th time in a row: "
                f"{watch.part.last_words(self._secrets)}",
                f"Nothing runs without it. Its log: {watch.part.log}",
            )
        delay = min(2.0 ** (watch.failures - 1), _SLOWEST)
        watch.again_at = time.monotonic() + delay
        self._say(f"{watch.part.name} {what}; it is started again in {delay:.0f} s")
        if watch.failures >= _OFTEN:
            self._say(
                f"{watch.part.name} was lost {watch.failures} times in a row: "
                f"{watch.part.last_words(self._secrets)} (its log: {watch.part.log})"
            )
        # What it started must not go on without it.
        self._sweep()

    def _sweep(self) -> None:
        self._swept = time.monotonic()
        own = {watch.part.pid for watch in self._watched if watch.part.pid is not None}
        killed = end_orphans(own | self.helpers)
        if killed:
            self._say(f"ended {killed} left-over process{'' if killed == 1 else 'es'}")


def _words(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"
