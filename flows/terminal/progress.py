"""The steps of the work while it goes on: in a terminal, a log, or below a notebook's cell."""

from __future__ import annotations

import contextlib
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from flows.terminal import output
from flows.terminal.safe_console import SafeConsole, escape
from tasks.base.runtime.progress import Step, set_reporter
from tasks.base.text import numbers
from tasks.base.text.terminal import visible

_SECONDS_BETWEEN_LINES = 5.0


@contextlib.contextmanager
def progress() -> Iterator[None]:
    """Show the steps of the work on stderr, or below a notebook's cell."""
    console = SafeConsole(stderr=True, highlight=False)
    began = time.monotonic()
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    with contextlib.ExitStack() as stack:
        if hasattr(shell, "kernel"):
            set_reporter(_cell_reporter(began, shell))
        elif console.is_terminal:
            set_reporter(_terminal_reporter(began, console, stack))
        else:
            set_reporter(_log_reporter(began))
        stack.callback(set_reporter, None)
        yield


def _terminal_reporter(
    began: float, console: SafeConsole, stack: contextlib.ExitStack
) -> Callable[[Step], None]:
    """Print what is done, and show what goes on in a line that moves."""
    status = stack.enter_context(console.status("starting"))

    def show(step: Step) -> None:
        if step.done >= step.total:
            console.print(f"[dim]{_elapsed(began)}[/dim] {step.stage:<9} {escape(step.text)}")
        status.update(f"{step.stage}: {escape(_moving(step))}")

    return show


def _log_reporter(began: float) -> Callable[[Step], None]:
    """Write what is done, and every few seconds what goes on."""
    last = 0.0

    def show(step: Step) -> None:
        nonlocal last
        if step.done < step.total and time.monotonic() - last < _SECONDS_BETWEEN_LINES:
            return
        last = time.monotonic()
        output.write(_line(began, step))

    return show


def _cell_reporter(began: float, shell: Any) -> Callable[[Step], None]:
    """Keep one output of the cell: a line for each step done, the last one for what goes on."""
    done: list[str] = []
    shown: dict[str, str] = {}

    def show(step: Step) -> None:
        line = visible(_line(began, step))
        text = "\n".join([*done, line])
        if step.done >= step.total:
            done.append(line)
        update = bool(shown)
        shown.setdefault("display_id", uuid.uuid4().hex)
        shell.display_pub.publish({"text/plain": text}, transient=shown, update=update)

    return show


def _line(began: float, step: Step) -> str:
    return f"{_elapsed(began)} {step.stage:<9} {_moving(step)}"


def _elapsed(began: float) -> str:
    seconds = int(time.monotonic() - began)
    return f"{seconds // 60:3d}:{seconds % 60:02d}"


def _moving(step: Step) -> str:
    """Return a step with its progress; finished steps show no remaining time.

    >>> _moving(Step("fit", "mlp: fold 1 of 5", 9, 10, 19.0))
    'mlp: fold 1 of 5 (9 of 10 steps), about 19.0 s left'
    >>> _moving(Step("fit", "mlp: done", 10, 10, 0.0))
    'mlp: done'
    """
    if step.done >= step.total:
        return step.text
    left = "" if step.seconds_left is None else f", about {numbers.seconds(step.seconds_left)} left"
    return f"{step.text} ({step.done} of {step.total} steps){left}"
