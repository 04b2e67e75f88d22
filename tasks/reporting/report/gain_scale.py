"""What the gate weighed, placed on a scale for the report."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from tasks.base.text.numbers import number
from tasks.base.training_records import GateEvidence, Verdict


@dataclass(frozen=True)
class Gain:
    """A gain with its interval, and where it lies on a scale from 0 to 100."""

    over: str
    text: str
    low: float
    high: float
    middle: float
    zero: float
    sure: bool


def gains(verdict: Verdict) -> tuple[Gain, ...]:
    """Return the challenger's gains over champion and baseline, each on a scale of its own."""
    evidence = verdict.evidence
    if evidence is None:
        return ()
    sides = (
        (f"champion v{verdict.champion_version}", _champion_side(evidence)),
        ("trivial baseline", _baseline_side(evidence)),
    )
    return tuple(_gain(over, *numbers) for over, numbers in sides if numbers is not None)


def _champion_side(evidence: GateEvidence) -> tuple[float, float, float] | None:
    return _numbers(evidence.difference, evidence.low, evidence.high)


def _baseline_side(evidence: GateEvidence) -> tuple[float, float, float] | None:
    return _numbers(evidence.baseline_difference, evidence.baseline_low, evidence.baseline_high)


def _numbers(*values: float | None) -> tuple[float, float, float] | None:
    known = [v for v in values if v is not None and isfinite(v)]
    return (known[0], known[1], known[2]) if len(known) == 3 else None


def _gain(over: str, middle: float, low: float, high: float) -> Gain:
    half = (high - low) / 2
    left, right = min(low, 0.0, middle), max(high, 0.0, middle)
    room = 0.08 * (right - left) or 1.0
    left, span = left - room, right - left + 2 * room
    places = [100 * (v - left) / span for v in (low, high, middle, 0.0)]
    text = f"{number(middle, half)} ({number(low, half)} to {number(high, half)})"
    return Gain(over, text, places[0], places[1], places[2], places[3], sure=low > 0)
