"""Kinds of decisions, times and ages as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from tasks.base.monitoring_records import DecisionKind, HarmFinding, HarmMeasure, Window
from tasks.base.text.numbers import ABSENT, number
from tasks.base.training_records import MetricValue

Tone = Literal["good", "bad", "warn", "plain", "quiet"]

UNRECORDED = {
    "hand": "moved by hand; the next run records it",
    "registry": "moved in the registry; no decision of it is recorded",
}
# In the order of a loop's turn; the word and the tone in which it is shown.
KINDS: dict[DecisionKind, tuple[str, Tone]] = {
    "trained": ("trained", "plain"),
    "promoted": ("promoted", "good"),
    "refused": ("refused", "plain"),
    "alarmed": ("alarmed", "warn"),
    "rolled_back": ("rolled back", "bad"),
    "confirmed": ("confirmed", "good"),
    "stopped": ("stopped", "bad"),
    "quarantined": ("set aside", "warn"),
    "failed": ("failed", "bad"),
    "cancelled": ("cancelled", "quiet"),
    "reaped": ("reaped", "warn"),
    "skipped": ("skipped", "quiet"),
    "collected": ("collected", "quiet"),
    "alerted": ("alerted", "quiet"),
    "unheard": ("unheard", "warn"),
    "monitored": ("monitored", "quiet"),
    "scored": ("scored", "quiet"),
}


def day(value: datetime | None) -> str:
    """Return the day of a time, in UTC.

    >>> day(datetime(2026, 3, 1, 23, 59, tzinfo=UTC))
    '2026-03-01'
    """
    return ABSENT if value is None else f"{utc(value):%Y-%m-%d}"


def minute(value: datetime | None) -> str:
    """Return a time to the minute, in UTC.

    >>> minute(datetime(2026, 3, 1, 4, 5, tzinfo=UTC))
    '2026-03-01 04:05'
    """
    return ABSENT if value is None else f"{utc(value):%Y-%m-%d %H:%M}"


def utc(value: datetime) -> datetime:
    """Return a time in UTC; one without a zone is taken to be in UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def span(window: Window | None) -> str:
    """Return a window for a person: the days it covers, its end open.

    >>> span(Window(start=datetime(2013, 3, 4, tzinfo=UTC), end=datetime(2013, 3, 11, tzinfo=UTC)))
    '2013-03-04..2013-03-11'
    >>> span(None)
    'all rows'
    """
    return "all rows" if window is None else str(window)


def elapsed(seconds: float | None) -> str:
    """Return a time span from now, past or future, in its largest unit.

    >>> elapsed(30), elapsed(5400), elapsed(3 * 86400), elapsed(90 * 86400), elapsed(None)
    ('30 s', '90 min', '3 days', '90 days', '–')
    """
    if seconds is None:
        return ABSENT
    amount = abs(seconds)
    for unit, size in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if amount >= 2 * size or (unit == "min" and amount >= size):
            return f"{amount / size:.0f} {unit}"
    return f"{amount:.0f} s"


def valued(metric: MetricValue | None) -> str:
    """Return a metric with its interval.

    >>> valued(MetricValue(value=0.6911, low=0.67, high=0.712)), valued(None)
    ('0.691 (0.670 to 0.712)', '–')
    """
    if metric is None or metric.value is None:
        return ABSENT
    value, half = number(metric.value, metric.half), metric.half
    return (
        value
        if half is None
        else f"{value} ({number(metric.low, half)} to {number(metric.high, half)})"
    )


def differing(difference: float | None, interval: tuple[float, float] | None) -> str:
    """Return a difference with its sign and interval.

    >>> differing(0.0213, (0.008, 0.034))
    '+0.021 (0.008 to 0.034)'
    """
    if difference is None:
        return ABSENT
    if interval is None:
        return f"{'+' if difference > 0 else ''}{number(difference)}"
    low, high = interval
    text = valued(MetricValue(value=difference, low=low, high=high))
    return f"+{text}" if difference > 0 else text


def share(value: float | None) -> str:
    """Return a fraction as percent.

    >>> share(0.0), share(0.0341), share(0.00004), share(1.0), share(None)
    ('0 %', '3.41 %', '< 0.01 %', '100 %', '–')
    """
    if value is None:
        return ABSENT
    return "< 0.01 %" if 0 < value < 0.0001 else f"{round(100 * value, 2):g} %"


def brief(value: float | None) -> str:
    """Return a statistic with three digits.

    >>> brief(0.07382), brief(1.4), brief(0.00001), brief(None)
    ('0.0738', '1.40', '1.0e-05', '–')
    """
    if value is None:
        return ABSENT
    if value and abs(value) < 0.0001:
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:,.2f}"


_MEASURES: dict[HarmMeasure, str] = {
    "outside": "rows outside what was learned",
    "unseen": "rows with new levels, beyond what is usual",
    "sparse": "rows of a kind rare in training",
    "predictions": "predictions moved, SD",
    "joint": "separable from training rows, AUC",
    "columns": "effect of columns time moves, SD",
}


def harm_words(found: HarmFinding) -> tuple[str, str, str]:
    """Return a measure of harm, its value and its limit as texts.

    >>> harm_words(HarmFinding(measure="outside", value=0.26, limit=0.2))
    ('rows outside what was learned', '26 %', '20 %')
    """
    if found.measure in ("outside", "unseen", "sparse"):
        return _MEASURES[found.measure], share(found.value), share(found.limit)
    return _MEASURES[found.measure], f"{found.value:.2f}", f"{found.limit:.2f}"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "row"), plural(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return the first few names.

    >>> listed(("a", "b", "c", "d"), 2), listed(("a",))
    ('a, b and 2 more', 'a')
    """
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return ", ".join(names)


def one_line(text: str) -> str:
    """Return `text` on one line, without what cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shortened(text: str, most: int) -> str:
    """Return `text` on one line, shortened in the middle.

    >>> shortened("a" * 20, 7)
    'aaa…aaa'
    """
    line, kept = one_line(text), most - 1
    if len(line) <= most:
        return line
    return f"{line[: (kept + 1) // 2]}…{line[len(line) - kept // 2 :]}"
