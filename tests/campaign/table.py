"""What a part of the campaign measures, and the one table that all of them fill."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar


class Named(Protocol):
    """What a part tries one by one."""

    @property
    def name(self) -> str:
        """As the table names it."""
        ...


T = TypeVar("T", bound=Named)
_RULE_OF_THREE = 3.0
"""No failure in n trials: the rate is below 3/n, 95 % sure (Hanley & Lippman-Hand 1983)."""


@dataclass(frozen=True)
class Options:
    """What a part is asked for.

    Parameters
    ----------
    folder
        Where it works; its own, empty, and removed by whoever made it.
    trials
        Trials of each command or fault, where one costs about a second; dearer ones run fewer.
    share
        Only the small share that the gate runs: each part knows its own.
    among
        Names of the commands or faults that are tried; empty: all.
    minutes
        Time after which a command is killed no more, however few its trials; a row states them.
    """

    folder: Path
    trials: int = 300
    seed: int = 0
    share: bool = False
    among: tuple[str, ...] = ()
    minutes: float = math.inf

    def trying(self, trials: int) -> Iterator[int]:
        """Yield the numbers of trials until there are enough or the time is over."""
        until = time.monotonic() + 60 * self.minutes
        return itertools.takewhile(lambda _: time.monotonic() < until, range(trials))

    def of(self, things: Sequence[T]) -> list[T]:
        """Return those of some named things that are asked for: all, unless some are named."""
        return [thing for thing in things if not self.among or thing.name in self.among]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    part
        Name of the part, such as ``kills``.
    what
        What went wrong on purpose.
    failures
        One sentence for each trial that broke an invariant.
    figure
        What was measured besides, such as ``median 1.3 s``.
    seconds
        Of all trials together; None where they were not timed.
    """

    part: str
    what: str
    trials: int
    failures: Sequence[str] = field(default_factory=tuple)
    figure: str = ""
    seconds: float | None = None

    @property
    def bound(self) -> str:
        """Upper bound of the failure rate, in percent; empty after a failure."""
        if self.failures or not self.trials:
            return ""
        return f"< {min(100.0, 100 * _RULE_OF_THREE / self.trials):.2g} %"

    @property
    def each(self) -> str:
        """Seconds of one trial on average."""
        if self.seconds is None or not self.trials:
            return ""
        return f"{self.seconds / self.trials:.2g}"

    def answer(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return {**asdict(self), "failures": list(self.failures), "bound": self.bound}


def render(rows: Sequence[Row]) -> str:
    """Return the table as text, each failure below its row."""
    head = ("part", "what", "trials", "failed", "rate", "s/trial", "figure")
    body = [(r.part, r.what, str(r.trials), str(len(r.failures)), r.bound, r.each, r.figure)
            for r in rows]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(head, widths, strict=True)).rstrip()]
    for row, cells in zip(rows, body, strict=True):
        lines.append("  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip())
        lines += [f"    {failure}" for failure in row.failures]
    return "\n".join(lines)
