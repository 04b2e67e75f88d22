"""Results of a check, as frozen values, and how a share is graded."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from expectations.engine.libraries import scipy
from expectations.text.phrases import Severity, say_rows, say_share

SMALL = 100
CHANCE = 1e-4
"""Probability with which chance alone breaks a limit on a share."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class CheckResult:
    """Result of one rule of a contract."""

    column: str | None
    rule: str
    severity: Severity  # a limit with a tolerance is a ``warning`` inside it
    passed: bool
    expected: str
    observed: str = ""
    failed_rows: int = 0
    failed_share: float | None = None  # of the rows checked; None for a whole table
    sample: tuple[str, ...] = ()  # up to five values of at most 40 characters
    key: tuple[str, ...] = ()  # of ``unique`` its columns; of an entry of ``rules`` the rule's

    @property
    def name(self) -> str:
        """The rule's name for people: column and rule."""
        return self.rule if self.column is None else f"{self.column}.{self.rule}"


@dataclass(frozen=True)
class CheckOutcome:
    """The outcome of checking one table; ``passed`` when no rule of severity error is broken."""

    passed: bool
    results: tuple[CheckResult, ...]
    rows: int
    seconds: float

    @classmethod
    def since(cls, started: float, results: Iterable[CheckResult], rows: int) -> CheckOutcome:
        """Return the outcome of a check that began at `started` of the monotonic clock."""
        found = tuple(results)
        passed = all(result.passed or result.severity == "warning" for result in found)
        return cls(passed, found, rows, time.monotonic() - started)

    @property
    def errors(self) -> tuple[CheckResult, ...]:
        """Broken rules of severity ``error``."""
        return tuple(r for r in self.results if not r.passed and r.severity == "error")

    @property
    def warnings(self) -> tuple[CheckResult, ...]:
        """Broken rules of severity ``warning``."""
        return tuple(r for r in self.results if not r.passed and r.severity == "warning")


def exceeds(failed: int, rows: int, limit: float, *, by_chance: bool = False) -> bool:
    """Return whether `failed` of `rows` are more than the share `limit` allows.

    A true share, of which chance may bring more rows (`by_chance`), is exceeded only by a number
    that it brings less than once in ten thousand times (binomial, one-sided). Otherwise as many may
    fail below 100 rows as would of 100.

    >>> exceeds(6, 100, 0.05), exceeds(1, 1, 0.05), exceeds(1, 1, 0.0)
    (True, False, True)
    >>> [exceeds(n, 100, 0.05, by_chance=True) for n in (6, 15, 16)]
    [False, False, True]
    """
    if failed <= limit * rows + _ROUNDING:
        return False
    if by_chance and limit > 0.0:
        return bool(scipy.special.bdtrc(failed - 1, rows, limit) < CHANCE)
    return failed > limit * max(rows, SMALL) + _ROUNDING


def grade(
    failed: int, rows: int, limit: float, severity: Severity, *, by_chance: bool = False
) -> Severity:
    """Return the severity of a rule that some rows broke."""
    return severity if exceeds(failed, rows, limit, by_chance=by_chance) else "warning"


def say_failed(failed: int, rows: int, limit: float | None = None) -> str:
    """Return a count with its share, in digits that distinguish it from the share `limit`.

    >>> say_failed(12, 300000)
    '12 rows (0.004 %)'
    """
    return f"{say_rows(failed)} ({say_share(failed / max(rows, 1), beside=limit)})"
