"""Progress reporting: one reporter per process, set by the CLI."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

_LOGGER = logging.getLogger(__name__)
_lock = threading.Lock()
_reporter: Callable[[Step], None] | None = None


@dataclass(frozen=True)
class Step:
    """One thing that began, moved on or ended."""

    stage: str  # load, contract, split, fit, evaluate, gate, refit, register, report
    text: str  # what a person reads
    done: int = 0  # done, total: pieces of this stage finished and planned; 0 and 0 of one
    total: int = 0
    seconds_left: float | None = None  # estimate to the end of the stage, where there is one


def set_reporter(reporter: Callable[[Step], None] | None) -> None:
    """Send every later step to `reporter`; None sends them to the log."""
    global _reporter
    with _lock:
        _reporter = reporter


def report(step: Step) -> None:
    """Pass `step` to the reporter of this process."""
    with _lock:
        if _reporter is None:
            _LOGGER.info("%s: %s", step.stage, step.text)
        else:
            _reporter(step)


def reported(items: Iterable[T], total: int, stage: str, text: str) -> Iterator[T]:
    """Yield `total` items, and after each but a single one report how long the others will take."""
    began = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if total > 1:
            left = (time.monotonic() - began) / done * (total - done)
            report(Step(stage, text, done, total, left))
